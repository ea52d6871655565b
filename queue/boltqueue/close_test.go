package boltqueue_test

import (
	"errors"
	"testing"
	"time"

	"trackd/queue"
)

// A listing that was begun before Close must not open a file again after it:
// the next process would wait for its lock, and a test of ours for ever.
func TestAListingEndsWhenTheQueueIsClosed(t *testing.T) {
	c := newCrowd(t, t.TempDir(), 1<<30)
	for len(files(t, c.dir, "*.seg")) < 4 {
		must(t, c.append(t))
	}
	var last error
	for _, err := range c.Queued(t.Context(), queue.Filter{}) {
		if last = err; err == nil {
			must(t, c.Close())
		}
	}
	if !errors.Is(last, queue.ErrClosed) {
		t.Errorf("got %v at the end of the listing, want ErrClosed", last)
	}
	begin := time.Now()
	c.open(t)
	waitFor(t, "not every book can be read", func() bool { return mustStats(t, c.Queue).Exact })
	if alarms := mustStats(t, c.Queue).Alarms; len(alarms) > 0 {
		t.Errorf("after %v: %q", time.Since(begin), alarms)
	}
	c.drain(t)
}
