package main

import (
	"sync"
	"testing"
	"time"
)

// TestAStopUnderLoadLosesNothingAndRepeatsNothing stops the daemon in good
// order while clients at both doors send and events are on their way out. What
// was answered is kept, what was settled is not sent again, and the stop takes
// no longer than it may.
func TestAStopUnderLoadLosesNothingAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	const within = 10 * time.Second
	c := newCrash(t)
	c.env = append(c.env, "TRACKD_SHUTDOWN_TIMEOUT="+within.String())
	var longest time.Duration
	for range 3 {
		c.start()
		c.awaitReady()
		reached := c.expect(500)
		var clients sync.WaitGroup
		clients.Go(func() { c.rush(c.process) })
		select {
		case <-reached:
		case <-time.After(patience):
			t.Fatalf("waited %v for acknowledgements", patience)
		}
		before := c.box.Received().Unique
		until(t, "deliveries during the load", func() bool { return c.box.Received().Unique > before })
		code, took := c.terminate()
		clients.Wait()
		longest = max(longest, took)
		if code != 0 || took > within {
			t.Errorf("stopped with exit code %d after %v, want 0 within %v", code, took, within)
		}
		if _, missing := c.audit(t); len(missing) > 0 {
			t.Errorf("%d of %d acknowledged events are nowhere: %.5q …", len(missing), len(c.yes), missing)
		}
	}
	c.start()
	c.awaitReady()
	c.awaitDrained()
	if code, _ := c.terminate(); code != 0 {
		t.Errorf("stopped idle with exit code %d", code)
	}
	stats, missing := c.audit(t)
	got := c.box.Received()
	t.Logf("3 stops of at most %v, %d events acknowledged, %d arrived, %d of those more than once",
		longest.Round(time.Millisecond), len(c.yes), got.Unique, got.Duplicates)
	if len(missing) > 0 || got.Duplicates > 0 || stats.Queued+stats.Dead+stats.Lost > 0 {
		t.Errorf("%d missing, %d more than once, account %+v", len(missing), got.Duplicates, stats.Account)
	}
}
