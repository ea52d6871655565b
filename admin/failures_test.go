package admin_test

import (
	"testing"
	"time"

	"trackd/admin"
	"trackd/queue"
)

// Long before an event is buried as poison, what speaks against it is there to
// be seen.
func TestAQueuedEventShowsItsFailures(t *testing.T) {
	r := newRig(t, 0).serve()
	r.append(events("e", 2))
	leased, err := r.queue.Lease(t.Context(), 1)
	check(t, err)
	since := time.Now().Add(-3 * time.Hour).Truncate(time.Millisecond)
	check(t, r.queue.Settle(t.Context(), queue.Outcome{Address: leased[0].Address, Verb: queue.Retry, Delay: time.Hour,
		Attempts: 7, Strikes: 3.5, FirstFailed: since, Status: 500, Detail: "boom"}))
	var got []admin.QueuedEvent
	for e, err := range r.client.Queued(t.Context(), queue.Filter{}) {
		check(t, err)
		got = append(got, e)
	}
	if len(got) != 2 || got[0].Failures == nil || got[1].Failures != nil {
		t.Fatalf("got %+v, want failures of the first alone", got)
	}
	f := got[0].Failures
	if f.Attempts != 7 || f.Strikes != 3.5 || !f.Since.Equal(since) || f.LastStatus != 500 || f.LastDetail != "boom" {
		t.Errorf("got %+v", f)
	}
}
