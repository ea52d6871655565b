package queuetest_test

import (
	"bytes"
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/queuetest"
)

func FuzzMemoryAgreesWithTheLedger(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0, 9, 5, 4, 14, 8, 14, 3, 12, 15, 13}, 30))
	f.Add(bytes.Repeat([]byte("every call follows from a byte of this"), 10))
	f.Fuzz(func(t *testing.T, input []byte) {
		synctest.Test(t, func(t *testing.T) { queuetest.CompareBytes(t, harness(), input) })
	})
}

// The model says exactly what a crash undoes: all that was not flushed, and of
// that nothing the test lets reach the disk.
func TestACrashUndoesWhatWasNotFlushed(t *testing.T) {
	m := queuetest.NewMemory(queuetest.Options{})
	held := leased(t, m, "one", "two", "three")
	must(t, m.Settle(t.Context(),
		queue.Outcome{Address: held[0].Address, Verb: queue.Delivered},
		queue.Outcome{Address: held[1].Address, Verb: queue.Bury, Reason: queue.Poison},
	))
	want := []queue.Address{held[0].Address, held[1].Address}
	if got := m.Unflushed(); !slices.Equal(got, want) {
		t.Errorf("unflushed: got %v, want %v", got, want)
	}
	m = m.Crash(held[1].Address)
	if got := queuedIDs(t, m); !slices.Equal(got, []string{"one", "three"}) {
		t.Errorf("queued after the crash: got %v, want the delivered and the leased one", got)
	}
	if got := m.Unflushed(); len(got) != 0 {
		t.Errorf("unflushed after a start: got %v", got)
	}
}

// A ledger accepts every outcome of a call that failed, and after having seen
// one only that.
func TestALedgerSettlesOnWhatItSaw(t *testing.T) {
	for _, stored := range []bool{true, false} {
		m, ledger := queuetest.NewMemory(queuetest.Options{}), queuetest.NewLedger()
		batch := queue.Batch{Events: []event.Event{{ID: "maybe", Name: "A", Body: []byte(`{}`)}}}
		if stored {
			must(t, m.Append(t.Context(), batch))
		}
		ledger.Appended(batch, context.DeadlineExceeded)
		must(t, ledger.Check(t.Context(), m))
		if stored {
			m = queuetest.NewMemory(queuetest.Options{})
		} else {
			must(t, m.Append(t.Context(), batch))
		}
		if err := ledger.Check(t.Context(), m); err == nil {
			t.Errorf("stored first: %t: the ledger accepts both outcomes one after the other", stored)
		}
	}
}

func leased(t testing.TB, q queue.Queue, ids ...string) []queue.Delivery {
	t.Helper()
	for _, id := range ids {
		must(t, q.Append(t.Context(), queue.Batch{Events: []event.Event{{ID: id, Name: "A", Body: []byte(`{}`)}}}))
	}
	held, err := q.Lease(t.Context(), len(ids))
	must(t, err)
	return held
}

func queuedIDs(t testing.TB, q queue.Queue) (ids []string) {
	t.Helper()
	for d, err := range q.Queued(t.Context(), queue.Filter{}) {
		must(t, err)
		ids = append(ids, d.Event.ID)
	}
	return ids
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
