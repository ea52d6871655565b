package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestARestartRefusesNoClient is systemd to a daemon: it holds the socket open
// while one process ends and another starts.
func TestARestartRefusesNoClient(t *testing.T) {
	t.Parallel()
	_, upstream := newSandbox(t)
	d := newProcess(t, upstream)
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: d.path("events.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for range 3 {
		conn, err := net.Dial("unix", d.path("events.sock")) // nobody runs
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(lifecycleLine("") + "\n")); err != nil {
			t.Fatal(err)
		}
		d.startActivated(t, socket)
		d.awaitReady()
		conn.SetReadDeadline(time.Now().Add(patience))
		if reply, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(reply, `"accepted":1`) {
			t.Fatalf("got %q, %v", reply, err)
		}
		if code, _ := d.terminate(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
}

// startActivated starts the process with socket as its door for events, as
// sd_listen_fds(3) has it.
func (d *process) startActivated(t *testing.T, socket *net.UnixListener) {
	t.Helper()
	file, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// Only the process itself can know its number before it begins.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" serve`, d.link(t))
	cmd.ExtraFiles = []*os.File{file}
	cmd.Env = append(withoutSettings(os.Environ()), append(slices.Clone(d.env), "LISTEN_FDS=1", "LISTEN_FDNAMES=events")...)
	d.run(t, cmd)
}

// link gives this binary the name by which it is trackd.
func (d *process) link(t *testing.T) string {
	t.Helper()
	link := d.path("trackd")
	if err := os.Symlink(d.exe, link); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	return link
}

// run runs cmd as the process.
func (d *process) run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	d.cmd, d.ended = cmd, ended
	go func() {
		d.err = cmd.Wait()
		close(ended)
	}()
}

func TestSystemdSocketActivateStartsTheDaemonAtTheFirstClient(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skipf("no systemd-socket-activate here: %v", err)
	}
	_, upstream := newSandbox(t)
	d := newProcess(t, upstream)
	args := []string{"--listen=" + d.path("events.sock"), "--fdname=events"}
	for _, setting := range d.env {
		args = append(args, "--setenv="+setting)
	}
	d.run(t, exec.Command(tool, append(args, d.link(t), "serve")...))
	var conn net.Conn
	until(t, "somebody to listen", func() bool {
		conn, err = net.Dial("unix", d.path("events.sock"))
		return err == nil
	})
	defer conn.Close()
	if _, err := conn.Write([]byte(lifecycleLine("one") + "\n")); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(patience))
	if reply, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(reply, `"accepted":1`) {
		t.Fatalf("got %q, %v", reply, err)
	}
	if code, _ := d.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(d.path("events.sock")); err != nil {
		t.Errorf("the socket is not ours to remove: %v", err)
	}
}
