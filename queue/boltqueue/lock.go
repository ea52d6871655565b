package boltqueue

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"trackd/queue/boltqueue/segment"
)

// ErrLocked means that another process has the queue open.
var ErrLocked = errors.New("the queue is in use")

// lock takes dir/lock for this process. The file is never unlinked: a
// process that waits for it would otherwise hold a lock on nothing.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the queue's lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
		return nil, fmt.Errorf("%w by %s; stop it, or give this one another queue directory than %s", ErrLocked, holder(f), dir)
	}
	if err := sign(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("sign %s: %w", f.Name(), err)
	}
	return f, nil
}

// unlock gives the lock back, also for a child that this process is starting
// just now and that still shares the file.
func unlock(f *os.File) error {
	return errors.Join(unix.Flock(int(f.Fd()), unix.LOCK_UN), f.Close())
}

// sign leaves the holder's process id in the lock, for the message another
// process prints. A full disk must not keep the queue from starting.
func sign(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(f, "process %d\n", os.Getpid())
	if segment.NoRoom(err) {
		return nil
	}
	return err
}

func holder(f *os.File) string {
	buf := make([]byte, 64)
	n, _ := f.ReadAt(buf, 0)
	if who := strings.TrimSpace(string(buf[:n])); who != "" {
		return who
	}
	return "another process"
}
