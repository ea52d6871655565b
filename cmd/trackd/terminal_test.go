package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSendShowsProgressToATerminalAlone has somebody watch a slow pipe being
// sent, on a terminal and then with the messages going to a file.
func TestSendShowsProgressToATerminalAlone(t *testing.T) {
	_, url := newSandbox(t)
	d := newProcess(t, url)
	d.start()
	d.awaitReady()

	screen, terminal := newTerminal(t)
	cmd, input, output := sendProcess(t, d, terminal)
	io.WriteString(input, lifecycleLine("one")+"\n")
	seen := readUntil(t, screen, "1 events sent, ")
	io.WriteString(input, lifecycleLine("two")+"\n")
	seen += readUntil(t, screen, "2 events sent, ")
	if !strings.Contains(seen, "/s ") || strings.Contains(seen, "\n") {
		t.Errorf("the terminal showed %q, want a rate, on one line", seen)
	}
	input.Close()
	readUntil(t, screen, "\r\033[K") // wiped at the end
	if got, err := io.ReadAll(output); string(got) != "2 accepted, 0 rejected, 0 refused\n" {
		t.Errorf("printed %q, %v", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}

	messages, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer messages.Close()
	cmd, input, output = sendProcess(t, d, messages)
	io.WriteString(input, lifecycleLine("three")+"\n")
	d.awaitTaken(3)
	input.Close()
	if got, err := io.ReadAll(output); string(got) != "1 accepted, 0 rejected, 0 refused\n" {
		t.Errorf("printed %q, %v", got, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if said, err := os.ReadFile(messages.Name()); len(said) > 0 || err != nil {
		t.Errorf("a file was told %q, %v, want nothing", said, err)
	}
}

// sendProcess starts trackd send, reading a pipe.
func sendProcess(t *testing.T, d *process, stderr *os.File) (cmd *exec.Cmd, input io.WriteCloser, output io.Reader) {
	t.Helper()
	cmd = exec.Command(d.exe, "send", "--socket", d.path("events.sock"))
	cmd.Args[0] = "trackd"
	cmd.Stderr = stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if output, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, input, output
}

// newTerminal returns the two sides of a pseudo-terminal, or skips the test
// where there is none.
func newTerminal(t *testing.T) (screen, terminal *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("needs a pseudo-terminal: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	raw, err := screen.SyscallConn() // Fd would turn deadlines off
	if err != nil {
		t.Fatal(err)
	}
	var number int
	control := raw.Control(func(fd uintptr) {
		if err = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); err == nil {
			number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err := errors.Join(control, err, screen.SetReadDeadline(time.Now().Add(patience))); err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return screen, terminal
}

// readUntil reads until text was seen, and returns what it read.
func readUntil(t *testing.T, from io.Reader, text string) string {
	t.Helper()
	var seen []byte
	for buf := make([]byte, 256); !strings.Contains(string(seen), text); {
		n, err := from.Read(buf)
		if err != nil {
			t.Fatalf("read %q, then %v, want %q", seen, err, text)
		}
		seen = append(seen, buf[:n]...)
	}
	return string(seen)
}
