package tuning_test

import (
	"runtime"
	"runtime/debug"
	"testing"

	"trackd/internal/tuning"
)

// whatIs returns what the runtime is set to and puts it back at the end.
func whatIs(t *testing.T) (threads, gc int) {
	threads, gc = runtime.GOMAXPROCS(0), debug.SetGCPercent(100)
	limit := debug.SetMemoryLimit(1 << 40)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(threads)
		debug.SetGCPercent(gc)
		debug.SetMemoryLimit(limit)
	})
	return threads, 100
}

func TestOneMoreThreadThanCPUsAndLessCollecting(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	threads, gc := whatIs(t)
	tuning.Apply()
	if got := runtime.GOMAXPROCS(0); got != threads+1 {
		t.Errorf("%d threads, want %d", got, threads+1)
	}
	if got := debug.SetGCPercent(gc); got <= gc {
		t.Errorf("garbage is collected at %d %%, want more than %d", got, gc)
	}
	if got := debug.SetMemoryLimit(-1); got > 128<<20 {
		t.Errorf("%d bytes of memory before garbage is collected at any rate, want a bound", got)
	}
}

func TestOperatorDecidesInstead(t *testing.T) {
	t.Setenv("GOMAXPROCS", "7")
	t.Setenv("GOGC", "50")
	t.Setenv("GOMEMLIMIT", "1GiB")
	threads, gc := whatIs(t)
	tuning.Apply()
	if got := runtime.GOMAXPROCS(0); got != threads {
		t.Errorf("%d threads, want the %d there were", got, threads)
	}
	if got := debug.SetGCPercent(gc); got != gc {
		t.Errorf("garbage is collected at %d %%, want the %d there were", got, gc)
	}
	if got := debug.SetMemoryLimit(-1); got != 1<<40 {
		t.Errorf("memory is bounded by %d bytes, want the bound there was", got)
	}
}
