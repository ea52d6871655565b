//go:build !linux

package segment

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeBytes is what is left on the medium of dir for this user.
func freeBytes(dir string) (int64, error) {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	return int64(fs.Bavail) * int64(fs.Bsize), err
}

// reserve claims nothing: what other systems offer does not survive the
// truncation that bbolt and a seal need.
func reserve(string, int64) (bool, error) { return false, nil }

// JudgeMedium refuses filesystems that are not on this machine, and warns of the
// weaker promise.
func JudgeMedium(dir string) (warning string, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	if fs.Flags&unix.MNT_LOCAL == 0 {
		return "", fmt.Errorf("%s is on a network filesystem, where locks and fsync do not hold; put the queue on a local disk", dir)
	}
	return "disk cannot be reserved on this system, so a full disk may hold up settling, and nothing was tested by cutting its power", nil
}
