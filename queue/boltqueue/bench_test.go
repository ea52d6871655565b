package boltqueue_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"testing"

	"trackd/internal/bench/floor"
	"trackd/queue"
	"trackd/queue/boltqueue"
	"trackd/queue/queuetest"
)

// The two are run together: go test -run '^$' -bench . ./queue/boltqueue
func BenchmarkQueue(b *testing.B) {
	h := harness()
	h.Open = func(t testing.TB) queue.Queue { // with fsync, unlike the tests
		return open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{})
	}
	queuetest.Benchmark(b, h)
}

// BenchmarkFloor is what BenchmarkQueue's appends cost at the least.
func BenchmarkFloor(b *testing.B) {
	for _, callers := range []int{1, 64, 1_000} {
		b.Run(fmt.Sprintf("append/callers=%d", callers), func(b *testing.B) { benchFloor(b, callers, 1) })
	}
	b.Run("append/callers=4/batch=256", func(b *testing.B) { benchFloor(b, 4, 256) })
}

func benchFloor(b *testing.B, callers, size int) {
	c, err := floor.Open(filepath.Join(b.TempDir(), "floor.db"))
	if err != nil {
		b.Fatal(err)
	}
	batch := make([][]byte, size)
	for i := range batch {
		batch[i] = fmt.Appendf(nil, "%430d", i)
	}
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := c.Append(batch...); err != nil {
				b.Errorf("append: %v", err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "events/s")
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
}
