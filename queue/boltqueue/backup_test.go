package boltqueue_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"trackd/queue"
	"trackd/queue/boltqueue"
)

// A copy made at work is a sound queue with all that was acknowledged before.
// What was delivered after the copy is sent again by whoever starts it.
func TestABackupIsASoundQueue(t *testing.T) {
	dir, to := t.TempDir(), filepath.Join(t.TempDir(), "deep", "copy")
	q := small(t, dir)
	n := fillSegments(t, q, dir, 4)
	must(t, q.Append(t.Context(), queue.Batch{Rejects: []queue.Reject{{Body: []byte("x"), Reason: queue.Invalid, Detail: "y"}}}))
	held := leaseIDs(t, q, 100)
	for _, d := range held[:10] {
		must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
	}
	must(t, q.Flush())

	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() { // events come and go all the while
		for i := 0; ctx.Err() == nil; i++ {
			_ = q.Append(ctx, queue.Batch{Events: batch(fmt.Sprint("later-", i), 3)})
		}
	})
	done, err := q.Backup(t.Context(), to)
	must(t, err)
	stop()
	others.Wait()
	for _, d := range held[10:] { // after the copy
		must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
	}
	must(t, q.Close())

	report, err := boltqueue.Check(t.Context(), to, nil)
	must(t, err)
	if len(report.Problems) > 0 || report.Account != done.Account || done.Files < 3 {
		t.Errorf("check of the copy: %q, %+v; the backup said %+v", report.Problems, report.Account, done)
	}
	restored := small(t, to)
	stats := exactStats(t.Context(), t, restored)
	if stats.Dead != 1 || stats.Queued < uint64(n-10) || len(stats.Alarms) > 0 {
		t.Errorf("got %+v, alarms %q, want at least %d queued", stats.Account, stats.Alarms, n-10)
	}
	again := map[string]bool{}
	for d, err := range restored.Queued(t.Context(), queue.Filter{}) {
		must(t, err)
		again[d.Event.ID] = true
	}
	for i, d := range held {
		if again[d.Event.ID] != (i >= 10) {
			t.Errorf("%s, delivered %d: queued in the copy: %t", d.Event.ID, i, again[d.Event.ID])
		}
	}
}

func TestABackupOverwritesNothing(t *testing.T) {
	q := open(t, boltqueue.Options{Dir: t.TempDir()}, boltqueue.Knobs{NoSync: true})
	must(t, q.Append(t.Context(), queue.Batch{Events: batch("ev", 3)}))
	to := filepath.Join(t.TempDir(), "copy")
	_, err := q.Backup(t.Context(), to)
	must(t, err)
	before := files(t, to, "*")
	if _, err := q.Backup(t.Context(), to); err == nil || !slices.Equal(files(t, to, "*"), before) {
		t.Errorf("a second backup to the same place: got %v", err)
	}
}
