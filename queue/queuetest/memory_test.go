package queuetest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/queuetest"
)

func memory(opts queuetest.Options) func(testing.TB) queue.Queue {
	return func(testing.TB) queue.Queue { return queuetest.NewMemory(opts) }
}

func harness() queuetest.Harness {
	return queuetest.Harness{
		Open:   memory(queuetest.Options{}),
		Reopen: func(_ testing.TB, q queue.Queue) queue.Queue { return q.(*queuetest.Memory).Reopen() },
		Crash: func(_ testing.TB, q queue.Queue) queue.Queue {
			unflushed := q.(*queuetest.Memory).Unflushed()
			return q.(*queuetest.Memory).Crash(unflushed[:len(unflushed)/2]...)
		},
		Bounded: func(_ testing.TB, bytes int64) queue.Queue {
			return queuetest.NewMemory(queuetest.Options{MaxBytes: bytes})
		},
		Full:        memory(queuetest.Options{MaxEvents: 250}),
		RejectsFull: memory(queuetest.Options{MaxRejectBytes: 2 << 20}),
		Properties:  queue.Properties{Ordered: true},
		Remembers:   true, Virtual: true,
	}
}

func TestMemoryKeepsTheContract(t *testing.T) { queuetest.Run(t, harness()) }

func TestASharedMemoryKeepsTheContract(t *testing.T) {
	queuetest.Run(t, queuetest.Harness{
		Open: func(testing.TB) queue.Queue {
			return queuetest.NewShared(queuetest.NewMemory(queuetest.Options{}))
		},
		Join:       func(_ testing.TB, q queue.Queue) queue.Queue { return q.(*queuetest.Member).Join() },
		Properties: queue.Properties{Ordered: true, Shared: true},
		Remembers:  true, Virtual: true,
	})
}

func BenchmarkMemory(b *testing.B) { queuetest.Benchmark(b, harness()) }

func TestMemoryAgreesWithTheLedger(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) { queuetest.Compare(t, harness(), seed, 200) })
	}
}

func ExampleMemory() {
	q := queuetest.NewMemory(queuetest.Options{MaxEvents: 1})
	ctx := context.Background()
	one := queue.Batch{Events: []event.Event{{ID: "a", Name: "Application Opened", Body: []byte(`{}`)}}}
	fmt.Println(q.Append(ctx, one), q.Append(ctx, one))

	held, _ := q.Lease(ctx, 10)
	_ = q.Settle(ctx, queue.Outcome{Address: held[0].Address, Verb: queue.Delivered})
	q = q.Crash() // the outcome was not flushed
	stats, _ := q.Stats(ctx)
	fmt.Println("queued after the crash:", stats.Queued)
	// Output:
	// <nil> queue is full
	// queued after the crash: 1
}
