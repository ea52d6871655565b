//go:build unix

package segment

import (
	"os"
	"syscall"
)

// blocksOf is how much disk is behind a file.
func blocksOf(info os.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	return st.Blocks * 512
}

// hasName reports whether a file still has a name.
func hasName(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return !ok || st.Nlink > 0
}
