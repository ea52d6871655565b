// Package tuning sets the Go runtime up for a process that waits on a disk as
// much as trackd does, and whose memory is bounded. It decides three numbers, all
// of which an operator may decide instead with the environment variables that Go
// reads itself, and is not for libraries: only a main may call it.
package tuning

import (
	"os"
	"runtime"
	"runtime/debug"
)

// gcPercent is how much may be allocated before garbage is collected, relative
// to what is live. Little is live in trackd, some 10 MiB, so that Go's default
// of 100 collects dozens of times a second under load; this costs as much memory
// again instead.
const gcPercent = 200

// memoryLimit is what Go may have in use, garbage included, before it collects
// whatever gcPercent says. It keeps garbage from multiplying what clients can make
// trackd hold, 26 MiB (see package ingest): all in all that is to add at most
// 64 MiB to the some 10 MiB of an idle process. It stops nothing: where more is
// live than this, Go spends up to half of its time on collecting.
const memoryLimit = 60 << 20

// forDisk is how many threads may run Go code at a time beyond the one for each
// CPU that Go allows: the writer of the queue spends its time in fsync, and when
// it comes back it must not queue for a CPU behind all those who wait for it.
const forDisk = 1

// Apply sets the runtime up, once, at the start of a process. A CPU quota that
// changes later is not followed.
func Apply() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + forDisk)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}
