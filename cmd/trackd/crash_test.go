package main

import (
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"trackd/internal/sandbox"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// crash is a test of the first promise: a daemon under load over both doors is
// killed at random moments, again and again, while its destination comes and
// goes.
type crash struct {
	*process
	*crowd
	box   *sandbox.Server
	kills int

	weighed uint64          // the most events that an audit found in the files
	letters map[string]bool // ids of the dead letters that the last audit found
}

func newCrash(tb testing.TB) *crash {
	box, url := newSandbox(tb)
	return &crash{process: newProcess(tb, url), crowd: newCrowd(tb), box: box}
}

// strike runs the daemon once and kills it: every sixth time somewhere in its
// start, else under load.
func (c *crash) strike(tb testing.TB) {
	if err := c.box.SetTrouble(anyTrouble()); err != nil {
		tb.Fatal(err)
	}
	c.start()
	defer func() { c.kill(); c.kills++ }()
	if rand.N(6) == 0 {
		<-time.After(rand.N(80 * time.Millisecond))
		return
	}
	c.awaitReady()
	reached := c.expect(1 + rand.N(600))
	var clients sync.WaitGroup
	clients.Go(func() { c.rush(c.process) })
	select {
	case <-reached:
	case <-time.After(patience):
		tb.Errorf("waited %v for acknowledgements", patience)
	}
	<-time.After(rand.N(2 * time.Millisecond)) // into the midst of a commit
	c.kill()
	clients.Wait()
}

// anyTrouble is none half of the time.
func anyTrouble() sandbox.Trouble {
	presets := []string{"down", "flaky", "unavailable", "well", "well", "well"}
	return sandbox.Trouble{{Preset: presets[rand.N(len(presets))]}}
}

// audit reads the files of the daemon, which is not running, and returns their
// account and the acknowledged events that are neither there, be it as dead
// letters, nor at the destination.
func (c *crash) audit(tb testing.TB) (queue.Stats, []string) {
	tb.Helper()
	q, err := boltqueue.Open(boltqueue.Options{Dir: c.path("queue")})
	if err != nil {
		tb.Fatal(err)
	}
	var stats queue.Stats
	until(tb, "the queue's books", func() bool {
		if stats, err = q.Stats(tb.Context()); err != nil {
			tb.Fatal(err)
		}
		return stats.Exact
	})
	if !stats.Balances() {
		tb.Errorf("after %d kills the files do not balance: %+v", c.kills, stats.Account)
	}
	c.weighed = max(c.weighed, stats.Taken)
	missing := maps.Clone(c.yes)
	for delivery, err := range q.Queued(tb.Context(), queue.Filter{}) {
		if err != nil {
			tb.Fatal(err)
		}
		delete(missing, delivery.Event.ID)
	}
	c.letters = map[string]bool{}
	for letter, err := range q.DeadLetters(tb.Context(), queue.Filter{}) {
		if err != nil {
			tb.Fatal(err)
		}
		c.letters[letter.Event.ID] = true
		delete(missing, letter.Event.ID)
	}
	if err := q.Close(); err != nil {
		tb.Fatal(err)
	}
	for id := range c.box.IDs() {
		delete(missing, id)
	}
	return stats, slices.Sorted(maps.Keys(missing))
}

// TestWhatWasAcknowledgedArrivesThroughFiftyKills kills the daemon fifty times
// (ten times with -short or under the race detector, where a start takes
// seconds), looks into its files between, and at the end compares who was told
// yes with what arrived.
func TestWhatWasAcknowledgedArrivesThroughFiftyKills(t *testing.T) {
	t.Parallel()
	kills := 50
	if testing.Short() || raceDetector {
		kills = 10
	}
	c, begin := newCrash(t), time.Now()
	for c.kills < kills {
		c.strike(t)
		if c.kills%5 == 0 {
			if _, missing := c.audit(t); len(missing) > 0 {
				t.Fatalf("after %d kills %d of %d acknowledged events are nowhere: %.5q …", c.kills, len(missing), len(c.yes), missing)
			}
		}
	}
	if err := c.box.SetTrouble(nil); err != nil {
		t.Fatal(err)
	}
	c.start()
	c.awaitReady()
	c.awaitDrained()
	if code, _ := c.terminate(); code != 0 {
		t.Errorf("the daemon ended with exit code %d", code)
	}

	stats, missing := c.audit(t)
	segments, err := filepath.Glob(c.path("queue/*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("the queue has no segments: %v", err)
	}
	got := c.box.Received()
	t.Logf("%d kills, %d events sent, %d acknowledged, %d arrived, %d of those more than once, files of up to %d events balanced, newest file %s, %v",
		c.kills, c.sent, len(c.yes), got.Unique, got.Duplicates, c.weighed, filepath.Base(slices.Max(segments)), time.Since(begin).Round(time.Millisecond))
	if len(missing) > 0 {
		t.Errorf("%d of %d acknowledged events never arrived: %.5q …", len(missing), len(c.yes), missing)
	}
	if c.weighed == 0 {
		t.Error("the files were empty whenever their account was looked at")
	}
	if stats.Queued+stats.Dead+stats.Discarded+stats.Lost != 0 || len(stats.Damaged) > 0 {
		t.Errorf("the files hold more than what was delivered: %+v, damaged %q", stats.Account, stats.Damaged)
	}
	if want := uint64(c.sent); got.Unique > want || got.Dropped+got.WithoutID > 0 {
		t.Errorf("%d events were sent and %d different ones arrived: %+v", want, got.Unique, got)
	}
}

// TestAcknowledgingBeforeTheCommitLosesEvents shows that the crash test can
// fail: the same kills, on a daemon that says yes too early.
func TestAcknowledgingBeforeTheCommitLosesEvents(t *testing.T) {
	c := newCrash(t)
	c.exe = yesBeforeCommit.build(t)
	for c.kills < 20 {
		c.strike(t)
		if _, missing := c.audit(t); len(missing) > 0 {
			t.Logf("after %d kills %d of %d acknowledged events are nowhere", c.kills, len(missing), len(c.yes))
			return
		}
	}
	t.Errorf("%d kills lost none of %d events that were acknowledged before they were committed", c.kills, len(c.yes))
}
