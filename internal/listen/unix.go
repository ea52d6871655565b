// Package listen opens the sockets that trackd is reached by, with permissions
// that hold from their first moment, and says in words what is in the way when
// one cannot be opened.
//
// It removes what a dead process left behind and nothing else: neither a socket
// that somebody listens on nor a file that is no socket.
//
// Reading order: unix.go (the socket and its directory), owner_linux.go (who has
// it already), tcp.go, inherited.go (sockets that somebody else opened).
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// dirMode is for directories that have to be made: others have no business there.
const dirMode = 0o750

// Unix listens on a stream socket at path. Until it has the group and the mode
// asked for, only this user can connect. The group is a name or a number; empty
// leaves that of the process. A missing directory is made, mode 0750 and of the
// same group. Closing the listener removes the socket.
//
// Two processes that find the same dead socket at the same instant may both
// take it, and the later one has it; the lock of the queue keeps that from two
// daemons of one queue.
func Unix(path string, mode fs.FileMode, group string) (net.Listener, error) {
	listener, err := listenUnix(path, mode, group)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return listener, nil
}

func listenUnix(path string, mode fs.FileMode, group string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("the path has %d bytes and a socket's may have %d: choose a shorter one, or one relative to the working directory",
			len(path), maxPath)
	}
	gid, err := groupID(group)
	if err != nil {
		return nil, err
	}
	if err := makeDir(filepath.Dir(path), gid); err != nil {
		return nil, err
	}
	if err := removeDead(path); err != nil {
		return nil, err
	}
	private := net.ListenConfig{Control: makePrivate}
	listener, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, withoutAddress(err)
	}
	if err := open(path, mode, gid); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// makePrivate runs between socket and bind. Linux gives the file it makes in
// bind the mode of the socket, less the umask, so the file is never open to
// others, whatever the umask; changing the umask instead would be felt by every
// goroutine. Systems that refuse to do so leave it to the umask and to open.
func makePrivate(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), 0o600) })
}

// open lets those connect who may. The group comes first: with the mode first,
// the group of the process could connect for a moment.
func open(path string, mode fs.FileMode, gid int) error {
	if err := chown(path, gid); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// keepGroup stands for no group asked for.
const keepGroup = -1

// chown gives path to the group. If none is asked for it does not even call the
// kernel: a sandbox may forbid chown(2) altogether.
func chown(path string, gid int) error {
	if gid == keepGroup {
		return nil
	}
	err := os.Lchown(path, -1, gid)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: user %d must be a member of group %d", err, os.Geteuid(), gid)
	}
	return err
}

// groupID resolves a name or a number.
func groupID(group string) (int, error) {
	if group == "" {
		return keepGroup, nil
	}
	if gid, err := strconv.ParseUint(group, 10, 31); err == nil {
		return int(gid), nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, fmt.Errorf("group %q: %w: give one that exists, or its number", group, err)
	}
	return strconv.Atoi(g.Gid)
}

// makeDir makes dir if it is missing. In a directory where everybody may make
// files, as /tmp, it trusts no directory that somebody else made first: its
// owner could put a socket of their own in place of ours.
func makeDir(dir string, gid int) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// The group must be able to pass through every new directory.
		if err := makeDir(filepath.Dir(dir), gid); err != nil {
			return err
		}
		if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return chown(dir, gid)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	}
	above, err := os.Stat(filepath.Join(dir, ".."))
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && above.Mode()&fs.ModeSticky != 0 &&
		owner.Uid != 0 && int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, who could take the socket's place: choose another directory", dir, owner.Uid)
	}
	return nil
}

// removeDead removes a socket at path that nobody listens on.
func removeDead(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("something that is no socket is there: move it away or choose another path")
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	switch {
	case err == nil:
		defer conn.Close()
		return fmt.Errorf("%s listens there: stop it or choose another path", owner(conn))
	case errors.Is(err, syscall.ECONNREFUSED): // bound once, and its process is gone
		return os.Remove(path)
	default:
		return fmt.Errorf("a socket is there and it is not known whether it is in use: %w", withoutAddress(err))
	}
}

// withoutAddress strips what package net repeats of the address.
func withoutAddress(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
