package boltqueue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// usage is what the queue's directory and its medium hold.
type usage struct {
	bytes int64 // allocated to files in the directory, reservations included
	free  int64 // left on the medium for this user
}

func diskUsage(dir string) (usage, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return usage{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	bytes, err := allocated(dir)
	return usage{bytes: bytes, free: int64(fs.Bavail) * fs.Bsize}, err
}

// allocated sums the blocks behind the files of dir. Damaged files that were
// set aside do not count: they must not keep the queue from taking events.
func allocated(dir string) (int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, fmt.Errorf("list the queue's directory: %w", err)
	}
	var sum int64
	for _, e := range entries {
		var st unix.Stat_t
		if strings.Contains(e.Name(), ".bad") {
			continue
		}
		// A file that was removed since the listing holds nothing.
		if unix.Lstat(filepath.Join(dir, e.Name()), &st) == nil {
			sum += st.Blocks * 512
		}
	}
	return sum, nil
}

// reserve claims disk for the file at path up to size bytes from its start,
// without changing its length. It reports false where the filesystem cannot.
func reserve(path string, size int64) (bool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("reserve %d bytes for %s: %w", size, path, err)
	}
	return true, nil
}

// allocatedTo is how much disk is behind the file at path.
func allocatedTo(path string) (int64, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Blocks * 512, err
}

// remove removes a file that may be there.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes created, renamed and removed names of dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// noRoom reports whether err says that the medium is full. bbolt flattens
// some errors to text, so that is looked at too.
func noRoom(err error) bool {
	return err != nil && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) ||
		strings.Contains(err.Error(), unix.ENOSPC.Error()) || strings.Contains(err.Error(), unix.EDQUOT.Error()))
}

// Filesystem types, from linux/magic.h and the filesystems' own headers.
const (
	typeNFS   = 0x6969
	typeSMB   = 0x517b
	typeSMB2  = 0xfe534d42
	typeCIFS  = 0xff534d42
	type9P    = 0x01021997
	typeCeph  = 0x00c36400
	typeAFS   = 0x5346414f
	typeFUSE  = 0x65735546
	typeTmpfs = 0x01021994
	typeBtrfs = 0x9123683e
	typeZFS   = 0x2fc12fc1
)

// judgeMedium refuses filesystems on which fsync or locks do not hold, and
// returns a warning for those that weaken a promise.
func judgeMedium(dir string) (warning string, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	switch uint32(fs.Type) {
	case typeNFS, typeSMB, typeSMB2, typeCIFS, type9P, typeCeph, typeAFS:
		return "", fmt.Errorf("%s is on a network filesystem, where locks and fsync do not hold; put the queue on a local disk", dir)
	case typeTmpfs:
		return "the queue is on tmpfs: a reboot loses it", nil
	case typeBtrfs, typeZFS:
		return "the queue is on a copy-on-write filesystem: disk cannot be reserved, so a full disk may hold up settling", nil
	case typeFUSE:
		return "the queue is on a FUSE filesystem: durability depends on what is behind it", nil
	}
	return "", nil
}

// makeDir makes dir and the directories above it that are missing, durably: a
// file is only as durable as the names that lead to it.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) { // it may be closed to us, and then is older than us
		return err
	}
	return nil
}

// prepareDir makes dir if needed and closes it to others.
func prepareDir(dir string) error {
	if err := makeDir(dir); err != nil {
		return fmt.Errorf("make the queue's directory: %w", err)
	}
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case info.Mode().Perm()&0o077 != 0:
		if err := os.Chmod(dir, 0o700); err != nil && !errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("close the queue's directory to others: %w", err)
		}
	}
	return nil
}

// inUnits writes a size for people.
func inUnits(n int64) string {
	unit, f := "bytes", float64(n)
	for _, larger := range [...]string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		unit, f = larger, f/1024
	}
	return fmt.Sprintf("%.4g %s", f, unit)
}
