package queuetest_test

import (
	"testing"
	"testing/synctest"

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
		Full:        memory(queuetest.Options{MaxEvents: 250}),
		RejectsFull: memory(queuetest.Options{MaxRejectBytes: 2 << 20}),
		Properties:  queue.Properties{Ordered: true},
		Remembers:   true, Virtual: true,
	}
}

func TestMemoryKeepsTheContract(t *testing.T) { queuetest.Run(t, harness()) }

func BenchmarkMemory(b *testing.B) { queuetest.Benchmark(b, harness()) }

func TestMemoryAgreesWithTheLedger(t *testing.T) {
	for seed := range uint64(12) {
		synctest.Test(t, func(t *testing.T) { queuetest.Compare(t, harness(), seed, 200) })
	}
}
