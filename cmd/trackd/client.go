package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"trackd/admin"
)

// daemon returns a client of the running daemon.
func (w *world) daemon() (*admin.Client, error) {
	cfg, err := w.config(true)
	if err != nil {
		return nil, err
	}
	if cfg.Admin.Socket == "" {
		return nil, &fault{code: exitUsage, err: errors.New("admin.socket is turned off, so the daemon takes no orders"),
			hint: "set admin.socket (TRACKD_ADMIN_SOCKET) and restart the daemon"}
	}
	return admin.NewClient(cfg.Admin.Socket), nil
}

// explain turns the error of a command that did not reach the daemon into one
// that says what to do about it.
func (w *world) explain(err error) error {
	if !errors.Is(err, admin.ErrUnreachable) {
		return err
	}
	cfg, configErr := w.config(true)
	if configErr != nil {
		return err
	}
	return &fault{code: exitUnreachable, err: err, hint: socketHint(err, cfg.Admin.Socket)}
}

// socketHint says what to do when a socket could not be reached.
func socketHint(err error, path string) string {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return whoMay(path)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the socket is there but nobody listens: the daemon has died; trackd serve, or systemctl start trackd, starts it"
	default:
		return "is it running? trackd serve starts it; --config or TRACKD_ADMIN_SOCKET says where it listens"
	}
}

// whoMay says who gets through to a socket: the first thing on the way that
// keeps this user out decides.
func whoMay(path string) string {
	for _, at := range onTheWay(path) {
		info, err := os.Stat(at)
		if err != nil {
			break // what hides it was named before
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			break
		}
		if syscall.Access(at, needed(info.Mode())) != nil {
			return keptOut(at, info.Mode(), owner.Uid, owner.Gid)
		}
	}
	return "run this as the user the daemon runs as"
}

// needed is the permission one must have: to write to a socket, to walk through
// a directory.
func needed(mode fs.FileMode) uint32 {
	if mode.IsDir() {
		return 1
	}
	return 2
}

// keptOut says who is let in at a place that keeps this user out.
func keptOut(at string, mode fs.FileMode, uid, gid uint32) string {
	name, group := userName(uid), groupName(gid)
	if uint32(mode.Perm())>>3&needed(mode) != 0 {
		return fmt.Sprintf("%s lets in user %s and group %s: join that group (usermod -aG %s YOU, then log in again) or use sudo -u %s",
			at, name, group, group, name)
	}
	return fmt.Sprintf("%s lets in user %s alone (mode %04o): run this as that user, sudo -u %s", at, name, mode.Perm(), name)
}

// onTheWay lists a path and its directories, the outermost first.
func onTheWay(path string) []string {
	if above := filepath.Dir(path); above != path {
		return append(onTheWay(above), path)
	}
	return []string{path}
}

func userName(uid uint32) string {
	id := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return id
}

func groupName(gid uint32) string {
	id := strconv.FormatUint(uint64(gid), 10)
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}
