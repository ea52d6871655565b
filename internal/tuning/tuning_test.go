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
	t.Cleanup(func() {
		runtime.GOMAXPROCS(threads)
		debug.SetGCPercent(gc)
	})
	return threads, 100
}

func TestOneMoreThreadThanCPUsAndLessCollecting(t *testing.T) {
	t.Setenv("GOMAXPROCS", "")
	t.Setenv("GOGC", "")
	threads, gc := whatIs(t)
	tuning.Apply()
	if got := runtime.GOMAXPROCS(0); got != threads+1 {
		t.Errorf("%d threads, want %d", got, threads+1)
	}
	if got := debug.SetGCPercent(gc); got <= gc {
		t.Errorf("garbage is collected at %d %%, want more than %d", got, gc)
	}
}

func TestOperatorDecidesInstead(t *testing.T) {
	t.Setenv("GOMAXPROCS", "7")
	t.Setenv("GOGC", "50")
	threads, gc := whatIs(t)
	tuning.Apply()
	if got := runtime.GOMAXPROCS(0); got != threads {
		t.Errorf("%d threads, want the %d there were", got, threads)
	}
	if got := debug.SetGCPercent(gc); got != gc {
		t.Errorf("garbage is collected at %d %%, want the %d there were", got, gc)
	}
}
