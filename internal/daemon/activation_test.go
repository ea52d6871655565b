package daemon

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"trackd/config"
)

func TestSocketsOfSystemdBecomeTheListenersTheyAreNamedFor(t *testing.T) {
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
			d := &Daemon{log: slog.New(slog.DiscardHandler)}
			defer d.Close()
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
			for _, l := range []struct{ name, address string }{
				{"socket", rest.Ingest.Socket}, {"http", rest.Ingest.HTTP}, {"http_socket", rest.Ingest.HTTPSocket},
			} {
				if l.address != "" {
					left = append(left, l.name)
				}
			}
			if got := strings.Join(left, " "); got != test.left || len(d.clients.Lines)+len(d.clients.HTTP) != 1 {
				t.Errorf("got %q still to be opened and listeners %+v, want %q and one", got, d.listeners, test.left)
			}
		})
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
