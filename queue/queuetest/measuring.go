package queuetest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"trackd/event"
	"trackd/queue"
)

const (
	benchBytes = 430   // of an event, about what an SDK sends
	benchLease = 256   // events of one Lease
	benchFill  = 1_000 // events of one Append that fills a queue to be drained
)

// Benchmark measures the calls that decide how fast trackd is, in events/s:
// Append of one event by 1, 64 and 1,000 callers at once, of 256 by 4 as the
// socket does it; draining; and one caller's Append of 256 while two drain.
func Benchmark(b *testing.B, h Harness) {
	for _, callers := range []int{1, 64, 1_000} {
		b.Run(fmt.Sprintf("append/callers=%d", callers), func(b *testing.B) { h.benchAppend(b, callers, 1) })
	}
	b.Run("append/callers=4/batch=256", func(b *testing.B) { h.benchAppend(b, 4, 256) })
	b.Run("drain", h.benchDrain)
	b.Run("mixed", h.benchMixed)
}

// benchEvents returns n events of benchBytes.
func benchEvents(n int) []event.Event {
	events := sample("bench", n)
	for i, ev := range events {
		events[i] = newEvent(ev.ID, ev.Name, "user", benchBytes-len(ev.Body))
	}
	return events
}

// benchAppend has callers goroutines append batches of size events. Which
// event it is does not matter, so all send the same.
func (h Harness) benchAppend(b *testing.B, callers, size int) {
	r := h.rig(b)
	batch := queue.Batch{Events: benchEvents(size)}
	b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := r.Append(context.Background(), batch); err != nil {
				b.Errorf("append: %v", err)
				return
			}
		}
	})
	report(b, b.N*size)
}

// benchDrain leases and settles what was appended while the clock stood still.
func (h Harness) benchDrain(b *testing.B) {
	r := h.rig(b)
	events, n := benchEvents(benchFill), 0
	for b.Loop() {
		b.StopTimer()
		r.append(events...)
		b.StartTimer()
		for left := benchFill; left > 0; {
			left -= r.drain(context.Background())
		}
		n += benchFill
	}
	report(b, n)
}

// drain delivers one lease and returns how many events it held.
func (r *rig) drain(ctx context.Context) int {
	held, err := r.Lease(ctx, benchLease)
	if err != nil {
		return 0
	}
	if err := r.Settle(r.Context(), same(held, queue.Outcome{Verb: queue.Delivered})...); err != nil {
		r.Errorf("settle %d outcomes: %v", len(held), err)
	}
	return len(held)
}

// benchMixed counts events taken, and beside them events delivered.
func (h Harness) benchMixed(b *testing.B) {
	r := h.rig(b)
	batch := queue.Batch{Events: benchEvents(benchLease)}
	ctx, stop := context.WithCancel(context.Background())
	var sent atomic.Int64
	var senders sync.WaitGroup
	for range 2 {
		senders.Go(func() {
			for ctx.Err() == nil {
				sent.Add(int64(r.drain(ctx)))
			}
		})
	}
	n := 0
	for b.Loop() {
		r.appendBatch(batch)
		n += len(batch.Events)
	}
	delivered := sent.Load()
	stop()
	senders.Wait()
	report(b, n)
	b.ReportMetric(float64(delivered)/b.Elapsed().Seconds(), "delivered/s")
}

func report(b *testing.B, events int) {
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}
