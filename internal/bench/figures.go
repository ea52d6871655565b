package main

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"time"
)

// figures are what one measurement brought, by name. A figure that the side
// cannot have, such as the commits of a loop without a disk, is not there.
type figures map[string]float64

// The names, each with its unit.
const (
	counted   = "events"    // answered or delivered in all; with 0 the pair says nothing
	taken     = "taken"     // events/s answered
	delivered = "delivered" // events/s
	megabytes = "megabytes" // MB/s answered
	p50       = "p50"       // ms from the call to its answer
	p99       = "p99"
	p999      = "p99.9"
	cpu       = "cpu"       // µs of the server, per event
	written   = "written"   // bytes to disk, per event
	commits   = "commits"   // per event
	fsyncs    = "fsyncs"    // per event: bbolt calls fdatasync twice a commit
	ready     = "ready"     // ms from the start of the process
	anonymous = "anonymous" // MiB of memory that no file backs
	resident  = "resident"  // MiB of memory
	disk      = "disk"      // MiB allocated
	idle      = "idle"      // s of processor while there is nothing to do
	binary    = "binary"    // MiB
	ns        = "ns"        // per event
	cpuNs     = "cpu_ns"    // of all threads, per event
	heap      = "heap"      // bytes, per event
	allocs    = "allocs"    // per event
)

func (f figures) print() error { return json.NewEncoder(os.Stdout).Encode(f) }

// with returns f and what other has besides.
func (f figures) with(other figures) figures {
	both := figures{}
	maps.Copy(both, other)
	maps.Copy(both, f)
	return both
}

// timed are the figures of what was answered within length. It sorts times.
func timed(events int, times []time.Duration, length time.Duration) figures {
	f := figures{counted: float64(events), taken: float64(events) / length.Seconds()}
	if len(times) == 0 {
		return f
	}
	slices.Sort(times)
	for name, q := range map[string]float64{p50: 0.5, p99: 0.99, p999: 0.999} {
		f[name] = 1000 * times[int(q*float64(len(times)-1))].Seconds()
	}
	return f
}

// median returns the middle of v, which must not be empty.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
