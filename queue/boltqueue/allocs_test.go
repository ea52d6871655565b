//go:build !race

// The race detector allocates, too.

package boltqueue_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// usual returns n events such as apps send.
func usual(n int) (events []event.Event) {
	dice := rand.New(rand.NewPCG(1, 1))
	for range n {
		events = append(events, realistic(dice))
	}
	return events
}

// atMost fails the test if so many allocations per event are too many.
func atMost(t testing.TB, most, got float64) {
	t.Helper()
	t.Logf("%.2f allocations per event", got)
	if got > most {
		t.Errorf("%.2f allocations per event, want at most %v", got, most)
	}
}

// What is left is two commits' of bbolt, shared by the 64.
func TestAnEventOf64CallersCostsFewAllocations(t *testing.T) {
	const callers = 64
	synctest.Test(t, func(t *testing.T) {
		c := newThrong(callers)
		q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true, Fault: c.fault})
		leave := c.serve(t, q)
		one := queue.Batch{Events: usual(1)}
		atMost(t, 4.5, testing.AllocsPerRun(50, func() { c.round(t, one) })/callers)
		leave()
		must(t, q.Close())
	})
}

func TestAnEventOfABatchCostsLessThanAnAllocation(t *testing.T) {
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true})
	batch := queue.Batch{Events: usual(256)}
	atMost(t, 0.6, testing.AllocsPerRun(50, func() { must(t, q.Append(t.Context(), batch)) })/256)
}

// An event that is leased costs its ID and its name; outcomes cost nothing but
// the marks that are written now and then.
func TestAnEventLeasedAndSettledCostsFewAllocations(t *testing.T) {
	const at, runs = 64, 100
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true})
	batch := queue.Batch{Events: usual(at)}
	for range runs + 1 {
		must(t, q.Append(t.Context(), batch))
	}
	outcomes := make([]queue.Outcome, at)
	atMost(t, 2.5, testing.AllocsPerRun(runs, func() {
		leased, err := q.Lease(t.Context(), at)
		must(t, err)
		if len(leased) != at {
			t.Fatalf("%d events leased, want %d", len(leased), at)
		}
		for i, d := range leased {
			outcomes[i] = queue.Outcome{Address: d.Address, Verb: queue.Delivered}
		}
		must(t, q.Settle(t.Context(), outcomes...))
	})/at)
	if stats, err := q.Stats(t.Context()); err != nil || stats.Delivered != (runs+1)*at {
		t.Errorf("%d events delivered, want %d (%v)", stats.Delivered, (runs+1)*at, err)
	}
}
