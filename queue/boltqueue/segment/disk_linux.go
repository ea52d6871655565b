package segment

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// freeBytes is what is left on the medium of dir for this user.
func freeBytes(dir string) (int64, error) {
	var fs unix.Statfs_t
	err := unix.Statfs(dir, &fs)
	return int64(fs.Bavail) * fs.Bsize, err
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

// JudgeMedium refuses filesystems on which fsync or locks do not hold, and
// returns a warning for those that weaken a promise.
func JudgeMedium(dir string) (warning string, err error) {
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
