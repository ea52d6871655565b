package listen

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The moment between bind and chmod cannot be caught from outside, so the half
// before it is looked at alone.
func TestASocketIsPrivateFromItsFirstMoment(t *testing.T) {
	dir, err := os.MkdirTemp("", "listen")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "a.sock")
	defer syscall.Umask(syscall.Umask(0))
	l, err := (&net.ListenConfig{Control: makePrivate}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got mode %o, want 600", got)
	}
}
