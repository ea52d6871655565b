//go:build unix

package tuning

import (
	"fmt"
	"math"
	"syscall"
)

// OpenFiles returns how many files and sockets this process may have open. Go
// has raised the soft limit to the hard one before main began.
func OpenFiles() (int, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("ask for the limit of open files: %w", err)
	}
	return int(min(uint64(limit.Cur), math.MaxInt32)), nil
}
