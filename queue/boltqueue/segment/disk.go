package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Usage is what the queue's directory and its medium hold.
type Usage struct {
	Bytes int64 // allocated to files in the directory, reservations included
	Free  int64 // left on the medium for this user
}

// DiskUsage returns what the files of dir take, and what is left on its medium.
func DiskUsage(dir string) (Usage, error) {
	free, err := freeBytes(dir)
	if err != nil {
		return Usage{}, fmt.Errorf("statfs %s: %w", dir, err)
	}
	bytes, err := allocated(dir)
	return Usage{Bytes: bytes, Free: free}, err
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
		if strings.Contains(e.Name(), ".bad") {
			continue
		}
		// A file that was removed since the listing holds nothing.
		if info, err := e.Info(); err == nil {
			sum += blocksOf(info)
		}
	}
	return sum, nil
}

// AllocatedTo is how much disk is behind the file at path.
func AllocatedTo(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return blocksOf(info), nil
}

// Remove removes a file that may be there.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SyncDir makes created, renamed and removed names of dir durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// NoRoom reports whether err says that the medium is full. bbolt flattens
// some errors to text, so that is looked at too.
func NoRoom(err error) bool {
	return err != nil && (errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), syscall.EDQUOT.Error()))
}

// MakeDir makes dir and the directories above it that are missing, durably: a
// file is only as durable as the names that lead to it.
func MakeDir(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := MakeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) { // it may be closed to us, and then is older than us
		return err
	}
	return nil
}

// PrepareDir makes dir if needed and closes it to others.
func PrepareDir(dir string) error {
	if err := MakeDir(dir); err != nil {
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

// InUnits writes a size for people.
func InUnits(n int64) string {
	unit, f := "bytes", float64(n)
	for _, larger := range [...]string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		unit, f = larger, f/1024
	}
	return fmt.Sprintf("%.4g %s", f, unit)
}

// SegmentNumbers returns the numbers of the segments in dir, in order.
func SegmentNumbers(dir string) ([]uint64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, e := range entries {
		digits, _ := strings.CutSuffix(e.Name(), ".seg")
		n, err := strconv.ParseUint(digits, 10, 62)
		if err == nil && e.Name() == filepath.Base(SegmentPath(dir, n)) {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
