package boltqueue_test

import (
	"fmt"
	"testing"

	"trackd/queue"
	"trackd/queue/boltqueue"
	"trackd/queue/queuetest"
)

// open opens a queue in dir as the suite wants it.
func open(t testing.TB, o boltqueue.Options, k boltqueue.Knobs) *boltqueue.Queue {
	t.Helper()
	q, err := boltqueue.OpenWith(o, k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() }) // the suite may have closed it; twice is fine
	return q
}

// harness does without fsync: what an abandoned queue wrote is in the page
// cache, as it is after a kill. That the production queue does sync is proven
// where it matters, by system calls and by cutting the power.
func harness() queuetest.Harness {
	knobs := boltqueue.Knobs{NoSync: true}
	dirs := map[queue.Queue]string{}
	at := func(t testing.TB, dir string) queue.Queue {
		q := open(t, boltqueue.Options{Dir: dir}, knobs)
		dirs[q] = dir
		return q
	}
	small := boltqueue.Knobs{SegmentBytes: 1 << 20, NoSync: true}
	return queuetest.Harness{
		Open: func(t testing.TB) queue.Queue { return at(t, t.TempDir()) },
		Reopen: func(t testing.TB, q queue.Queue) queue.Queue {
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			return at(t, dirs[q])
		},
		Crash: func(t testing.TB, q queue.Queue) queue.Queue {
			q.(*boltqueue.Queue).Abandon()
			return at(t, dirs[q])
		},
		Full: func(t testing.TB) queue.Queue {
			return open(t, boltqueue.Options{Dir: t.TempDir(), MaxBytes: 16 << 20}, small)
		},
		Bounded: func(t testing.TB, bytes int64) queue.Queue {
			return open(t, boltqueue.Options{Dir: t.TempDir(), MaxBytes: bytes + 4<<20}, small)
		},
		RejectsFull: func(t testing.TB) queue.Queue {
			return open(t, boltqueue.Options{Dir: t.TempDir(), RejectBytes: 1 << 20}, knobs)
		},
		Properties: queue.Properties{Ordered: true},
		Remembers:  true,
	}
}

func TestQueueKeepsTheContract(t *testing.T) { queuetest.Run(t, harness()) }

func TestRandomCallsRestartsAndCrashesMatchTheLedger(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { queuetest.Compare(t, harness(), seed, 100) })
	}
}
