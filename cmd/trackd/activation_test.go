package main

import (
	"bufio"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackd/config"
)

func TestSocketsOfSystemdBecomeTheDoorsTheyAreNamedFor(t *testing.T) {
	dir := t.TempDir()
	configured := config.Config{Ingest: config.Ingest{
		Socket: filepath.Join(dir, "configured"), HTTP: "127.0.0.1:1", HTTPSocket: filepath.Join(dir, "http"),
	}}
	for _, test := range []struct {
		name   string
		socket *os.File
		left   string // what is still to be opened
		wrong  string // what the error says
	}{
		{name: "events on a Unix socket", socket: unixFile(t, "events"), left: "http http_socket"},
		{name: "http on a Unix socket", socket: unixFile(t, "http"), left: "socket http"},
		{name: "http on TCP", socket: tcpFile(t, "http", "127.0.0.1:0"), left: "socket http_socket"},
		{name: "http for everybody without a key", socket: tcpFile(t, "http", ":0"), wrong: "allowed only with a key"},
		{name: "events on TCP", socket: tcpFile(t, "events", "127.0.0.1:0"), wrong: "over a Unix socket only"},
		{name: "a name we do not know", socket: unixFile(t, "trackd.socket"), wrong: "FileDescriptorName= must be events or http"},
		{name: "no name at all", socket: unixFile(t, "LISTEN_FD_3"), wrong: "FileDescriptorName= must be events or http"},
		{name: "a datagram socket", socket: datagramFile(t, "events"), wrong: "no stream socket that listens"},
		{name: "no socket", socket: plainFile(t, "events"), wrong: "it is no socket"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &trackd{log: slog.New(slog.DiscardHandler), reload: &reloader{}}
			defer d.close()
			rest, err := d.takeOver([]*os.File{test.socket}, configured)
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Fatalf("got error %v, want %q", err, test.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for _, door := range []struct{ name, address string }{
				{"socket", rest.Ingest.Socket}, {"http", rest.Ingest.HTTP}, {"http_socket", rest.Ingest.HTTPSocket},
			} {
				if door.address != "" {
					left = append(left, door.name)
				}
			}
			if got := strings.Join(left, " "); got != test.left || len(d.listeners.Lines)+len(d.listeners.HTTP) != 1 {
				t.Errorf("got %q still to be opened and doors %+v, want %q and one", got, d.listeners, test.left)
			}
		})
	}
}

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

// unixFile is a listening socket as a file of that name.
func unixFile(t *testing.T, name string) *os.File {
	t.Helper()
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return named(t, name, ln)
}

func tcpFile(t *testing.T, name, address string) *os.File {
	t.Helper()
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return named(t, name, ln.(*net.TCPListener))
}

func datagramFile(t *testing.T, name string) *os.File {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return named(t, name, conn)
}

func plainFile(t *testing.T, name string) *os.File {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return rename(t, name, file)
}

func named(t *testing.T, name string, socket interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	file, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	return rename(t, name, file)
}

func rename(t *testing.T, name string, file *os.File) *os.File {
	t.Helper()
	fd, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), name)
}
