package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"trackd/config"
)

// startRoom is the disk that a queue wants to begin with, besides what must
// stay free: its first files and their reservations.
const startRoom = 128 << 20

// inspection looks at what a configuration names on this host.
type inspection struct {
	euid     int
	findings []string
	notes    []string
}

func (in *inspection) find(key, format string, args ...any) {
	in.findings = append(in.findings, key+": "+fmt.Sprintf(format, args...))
}

func (in *inspection) inspect(c config.Config) {
	if in.euid == 0 {
		in.notes = append(in.notes, "checked as root, who may do anything: to see what the daemon may, run this as its user")
	}
	in.keyFile("upstream.api_key_file", c.Upstream.APIKeyFile)
	in.keyFile("ingest.key_file", c.Ingest.KeyFile)
	in.place("queue.dir", c.Queue.Dir)
	in.private("queue.dir", c.Queue.Dir)
	in.room(c.Queue)
	for _, socket := range []struct{ key, path string }{
		{"ingest.socket", c.Ingest.Socket}, {"ingest.http_socket", c.Ingest.HTTPSocket}, {"admin.socket", c.Admin.Socket},
	} {
		if socket.path != "" {
			in.socket(socket.key, socket.path)
		}
	}
	in.everybody(c)
	in.limits(c)
}

// limits tells of a rate that is above what Customer.io takes.
func (in *inspection) limits(c config.Config) {
	if c.Sender.Rate > 1000 || c.Sender.Burst > 1000 {
		in.notes = append(in.notes, fmt.Sprintf("sender.rate %g and sender.burst %d are more than Customer.io takes of one account: right only if upstream.url is an endpoint of your own",
			c.Sender.Rate, c.Sender.Burst))
	}
}

// keyFile wants a key to be its owner's alone. Its content has been read
// already.
func (in *inspection) keyFile(key, path string) {
	if path == "" {
		return
	}
	info, err := os.Stat(path)
	if err != nil {
		in.find(key, "%v", err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		in.find(key, "%s can be read by everybody (mode %04o): chmod o= %s", path, mode, path)
	} else if mode&0o020 != 0 {
		in.find(key, "%s can be changed by its group (mode %04o): chmod g-w %s", path, mode, path)
	}
}

// place wants dir to be a directory to write to, or to be makeable.
func (in *inspection) place(key, dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if above := existing(dir); unix.Access(above, unix.W_OK|unix.X_OK) != nil {
			in.find(key, "%s does not exist and user %d cannot make it in %s", dir, in.euid, above)
		}
	case err != nil:
		in.find(key, "%v", err)
	case !info.IsDir():
		in.find(key, "%s is no directory", dir)
	case unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) != nil:
		in.find(key, "%s cannot be written to by user %d: chown it", dir, in.euid)
	}
}

// private wants nobody else to look into dir.
func (in *inspection) private(key, dir string) {
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		in.find(key, "%s is open to others (mode %04o) and holds what users do: chmod 0700 %s", dir, info.Mode().Perm(), dir)
	}
}

// existing is the nearest directory above path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// room wants the disk to have what the queue needs to begin with.
func (in *inspection) room(q config.Queue) {
	var st unix.Statfs_t
	if err := unix.Statfs(existing(q.Dir), &st); err != nil {
		in.find("queue.dir", "how much room is there: %v", err)
		return
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	least := int64(q.MinFreeBytes)
	switch {
	case free < least+startRoom:
		in.find("queue.min_free_bytes", "%s are free at %s, which is too little to take events: %s must stay free and the queue begins with %s",
			size(free), q.Dir, size(least), size(startRoom))
	case free < int64(q.MaxBytes):
		in.notes = append(in.notes, fmt.Sprintf("queue.max_bytes is %s, but only %s are free at %s: the queue is full when %s are left",
			q.MaxBytes, size(free), q.Dir, size(least)))
	}
}

// socket wants a place for a socket that nobody else can take away.
func (in *inspection) socket(key, path string) {
	dir := filepath.Dir(path)
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		in.find(key, "something that is no socket is at %s: move it away", path)
	}
	in.place(key, dir)
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
		in.find(key, "everybody may write to %s (mode %04o) and put a socket of their own there: chmod o-w %s", dir, info.Mode().Perm(), dir)
	}
}

// everybody tells of doors that are open wider than they look.
func (in *inspection) everybody(c config.Config) {
	if fs.FileMode(c.Ingest.SocketMode)&0o002 != 0 {
		in.notes = append(in.notes, fmt.Sprintf("ingest.socket_mode %s lets every user of this host send events", c.Ingest.SocketMode))
	}
	if host := c.Admin.HTTP; host != "" && !strings.HasPrefix(host, "127.") && !strings.HasPrefix(host, "localhost:") && !strings.HasPrefix(host, "[::1]") {
		in.notes = append(in.notes, fmt.Sprintf("admin.http %s shows status and metrics to whoever reaches it; it acts on nothing and shows no events", host))
	}
}
