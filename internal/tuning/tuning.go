// Package tuning sets the Go runtime up for a process that waits on a disk as
// much as trackd does. It decides two numbers, both of which an operator may
// decide instead with the environment variables that Go reads itself, and is
// not for libraries: only a main may call it.
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

// Apply sets the runtime up, once, at the start of a process.
func Apply() {
	runtime.GOMAXPROCS(procs(os.Getenv("GOMAXPROCS"), runtime.GOMAXPROCS(0)))
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

// procs is how many threads may run Go code at a time, where the runtime would
// take as many as there are CPUs. One more, because the writer of the queue
// spends its time in fsync: when it comes back it must not queue for a CPU
// behind all those who wait for it.
func procs(asked string, cpus int) int {
	if asked != "" {
		return cpus // which is then what was asked for
	}
	return cpus + 1
}
