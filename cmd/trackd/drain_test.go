package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	"trackd/internal/status"
)

// Whoever waits for a drain learns whether it is the destination or single
// events that keep it from ending.
func TestADrainThatDoesNotEndSaysWhatIsLeft(t *testing.T) {
	left := func(queued uint64, parked int, delivered uint64) status.Report {
		return status.Report{Account: status.Balance{Account: status.Account{Queued: queued}, Exact: true},
			Queue: status.Backlog{Parked: parked}, Upstream: status.Upstream{State: status.Open, Delivered: delivered}}
	}
	interrupted, interrupt := context.WithCancel(t.Context())
	interrupt()
	for _, test := range []struct {
		name  string
		ctx   context.Context
		after status.Report
		want  string
	}{
		{"bad events", t.Context(), left(3, 3, 170), "after 5m 0s, 3 events still waiting, 3 of which failed and wait for another attempt, while 70 were delivered; the upstream is open"},
		{"too many", t.Context(), left(9000, 0, 75100), "after 5m 0s, 9000 events still waiting, while 75000 were delivered; the upstream is open"},
		{"nothing moves", t.Context(), left(9000, 0, 100), "after 5m 0s, 9000 events still waiting; the upstream is open"},
		{"somebody gave up", interrupted, left(1, 0, 100), "interrupted after 5m 0s, 1 event still waiting; the upstream is open"},
	} {
		w := &world{ctx: test.ctx, stdout: &bytes.Buffer{}}
		err := drainCmd{Timeout: time.Hour}.conclude(w, left(10, 0, 100), test.after, 5*time.Minute)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s:\n got %v\nwant %s", test.name, err, test.want)
		}
	}
}
