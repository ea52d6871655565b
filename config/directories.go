package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
)

// Where state and sockets lie on a host set up by systemd or root.
const (
	systemState   = "/var/lib/trackd"
	systemRuntime = "/run/trackd"
)

// directories says where state and sockets lie by default: where systemd tells
// a unit, else the system's places for root, else the user's own by the XDG
// base directory specification. A user without a home has no place for state
// and must name one, since anything in a temporary directory is lost.
func directories(o LoadOptions) (state, runtime string) {
	state, runtime = systemState, systemRuntime
	if o.EUID != 0 {
		state = cmp.Or(
			under(o.Getenv("XDG_STATE_HOME"), "trackd"),
			under(o.Getenv("HOME"), ".local/state/trackd"))
		runtime = cmp.Or(
			under(o.Getenv("XDG_RUNTIME_DIR"), "trackd"),
			filepath.Join(cmp.Or(o.Getenv("TMPDIR"), "/tmp"), fmt.Sprintf("trackd-%d", o.EUID)))
	}
	return cmp.Or(first(o.Getenv("STATE_DIRECTORY")), state),
		cmp.Or(first(o.Getenv("RUNTIME_DIRECTORY")), runtime)
}

// under joins name to dir, or returns "" if dir is not absolute: the
// specification has such values ignored.
func under(dir, name string) string {
	if !filepath.IsAbs(dir) {
		return ""
	}
	return filepath.Join(dir, name)
}

// first is the first of the directories that systemd joins by colons.
func first(list string) string {
	dir, _, _ := strings.Cut(list, ":")
	return dir
}
