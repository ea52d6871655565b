package boltqueue_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"

	"trackd/event"
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

// BenchmarkBlock is what a full block costs on the way in and on the way out,
// and the disk it takes, when its events pass through and when they wait.
func BenchmarkBlock(b *testing.B) {
	for name, wait := range map[string]bool{"passing": false, "waiting": true} {
		blocks, err := boltqueue.NewBlocks(wait)
		if err != nil {
			b.Fatal(err)
		}
		var events []event.Event
		dice := rand.New(rand.NewPCG(1, 1))
		for size := 0; size < blocks.Full(); {
			ev := realistic(dice)
			events = append(events, ev)
			size += len(ev.ID) + len(ev.Name) + len(ev.Body)
		}
		stored := blocks.Pack(events)
		b.Run("pack/"+name, func(b *testing.B) {
			for b.Loop() {
				stored = blocks.Pack(events)
			}
			reportBlocks(b, events, stored)
		})
		b.Run("unpack/"+name, func(b *testing.B) {
			for b.Loop() {
				if _, err := blocks.Unpack(stored); err != nil {
					b.Fatal(err)
				}
			}
			reportBlocks(b, events, stored)
		})
	}
}

func reportBlocks(b *testing.B, events []event.Event, stored []byte) {
	b.ReportMetric(float64(b.N*len(events))/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(len(stored))/float64(len(events)), "B/event")
}
