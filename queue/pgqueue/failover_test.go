package pgqueue_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"trackd/internal/pgtest"
	"trackd/queue"
	"trackd/queue/pgqueue"
)

// cluster is a primary with standbys, and the URL that names them all.
type cluster struct {
	primary  *pgtest.Server
	standbys []*pgtest.Server
	url      string
}

// newCluster starts a primary with n standbys that have applied the tables.
func newCluster(t testing.TB, n int, settings map[string]string) cluster {
	t.Helper()
	server(t) // skips
	c := cluster{primary: pgtest.Start(t, pgtest.Options{Settings: settings})}
	newDatabase(t, c.primary, "fleet", "template1")
	var names []string
	for i := range n {
		name := fmt.Sprintf("standby%d", i+1)
		c.standbys = append(c.standbys, c.primary.Standby(name))
		names = append(names, name)
	}
	c.url = pgtest.URLs("fleet", append([]*pgtest.Server{c.primary}, c.standbys...)...)
	c.primary.Synchronous(fmt.Sprintf("FIRST %d (%s)", n, strings.Join(names, ", ")))
	return c
}

// traffic appends and delivers until its context ends, and notes what was
// acknowledged and what was delivered.
type traffic struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	delivered    map[string]int
	fillers      sync.WaitGroup
	drainers     sync.WaitGroup
}

func newTraffic() *traffic {
	return &traffic{acknowledged: map[string]bool{}, delivered: map[string]int{}}
}

func (tr *traffic) fill(ctx context.Context, t *testing.T, q *pgqueue.Queue, name string) {
	tr.fillers.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			batch := events(fmt.Sprint(name, "-", n), 5)
			if q.Append(t.Context(), queue.Batch{Events: batch}) != nil {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			tr.mu.Lock()
			for _, ev := range batch {
				tr.acknowledged[ev.ID] = true
			}
			tr.mu.Unlock()
		}
	})
}

func (tr *traffic) drain(ctx context.Context, q *pgqueue.Queue) {
	tr.drainers.Go(func() {
		for {
			held, err := q.Lease(ctx, 50)
			if err != nil {
				return
			}
			tr.mu.Lock()
			for _, d := range held {
				tr.delivered[d.Event.ID]++
			}
			tr.mu.Unlock()
			_ = q.Settle(ctx, same(held, queue.Outcome{Verb: queue.Delivered})...) // the end of the test ends it
		}
	})
}

// missing counts what was acknowledged and not delivered, and repeated what was
// delivered more than once.
func (tr *traffic) missing() (missing, repeated, all int) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for id := range tr.acknowledged {
		if tr.delivered[id] == 0 {
			missing++
		}
	}
	for _, n := range tr.delivered {
		if n > 1 {
			repeated++
		}
	}
	return missing, repeated, len(tr.acknowledged)
}

func TestAKilledPrimaryLosesNothingWhereTheRightStandbyIsPromoted(t *testing.T) {
	c := newCluster(t, 1, nil)
	holder := open(t, pgqueue.Options{URL: c.url, Lease: 3 * time.Second, Timeout: 2 * time.Second})
	eventually(t, "the first centre to deliver", holder.Clear)
	other := open(t, pgqueue.Options{URL: c.url, Lease: 3 * time.Second, Timeout: 2 * time.Second})
	filling, stopFilling := context.WithCancel(t.Context())
	draining, stopDraining := context.WithCancel(t.Context())
	defer stopDraining()
	tr := newTraffic()
	for i, q := range []*pgqueue.Queue{holder, other} {
		tr.fill(filling, t, q, fmt.Sprint("centre", i))
		tr.drain(draining, q)
	}
	time.Sleep(500 * time.Millisecond)
	c.primary.Kill()
	c.standbys[0].Promote()
	c.standbys[0].Synchronous("")
	promoted := time.Now()
	eventually(t, "an append at the new primary", func() bool {
		return other.Append(t.Context(), queue.Batch{Events: events("after", 1)}) == nil
	})
	t.Logf("appends go on %v after the promotion", time.Since(promoted).Round(time.Millisecond))
	time.Sleep(300 * time.Millisecond)
	stopFilling()
	tr.fillers.Wait() // then nothing more is acknowledged
	eventually(t, "all that was acknowledged to be delivered", func() bool {
		missing, _, _ := tr.missing()
		return missing == 0
	})
	stopDraining()
	tr.drainers.Wait()
	missing, repeated, all := tr.missing()
	t.Logf("%d acknowledged, %d missing, %d delivered twice", all, missing, repeated)
	if missing > 0 {
		t.Errorf("%d acknowledged events were not delivered", missing)
	}
	if s := stats(t, holder); s.Lost != 0 || !s.Balances() {
		t.Errorf("got %+v", s.Account)
	}
}

// The standby that is promoted was not asked for the last commits: "ANY 1" lets
// the other one answer alone.
func TestAPromotedStandbyThatWasBehindIsDetected(t *testing.T) {
	c := newCluster(t, 2, nil)
	q := open(t, pgqueue.Options{URL: c.url, Timeout: 2 * time.Second, Lease: time.Minute}) // so that the append is first to see it
	must(t, q.Append(t.Context(), queue.Batch{Events: events("before", 10)}))
	take(t, q, 10) // leased, and neither forgotten nor leased again
	c.primary.Synchronous("ANY 1 (standby1, standby2)")
	behind := c.standbys[1]
	behind.Stop()
	must(t, q.Append(t.Context(), queue.Batch{Events: events("gone", 7)}))
	c.primary.Kill()
	c.standbys[0].Kill()
	behind.Run()
	behind.Promote()
	behind.Synchronous("")
	eventually(t, "an append at the new primary", func() bool {
		return q.Append(t.Context(), queue.Batch{Events: events("after", 5)}) == nil
	})
	var s queue.Stats
	eventually(t, "statistics over a connection to the new primary", func() bool {
		var err error
		s, err = q.Stats(t.Context())
		return err == nil
	})
	if s.Lost != 7 || s.Queued != 15 || !s.Balances() {
		t.Errorf("got %+v, want 7 lost of 22", s.Account)
	}
	if !strings.Contains(strings.Join(s.Alarms, "\n"), "forgot up to 7 acknowledged events") {
		t.Errorf("alarms: %q", s.Alarms)
	}
	got := take(t, q, 5)
	for _, d := range got {
		if !strings.HasPrefix(d.Event.ID, "after") || d.Address.Lo <= 17 {
			t.Errorf("leased %s at %v, want an event taken after, at an address never given before", d.Event.ID, d.Address.Lo)
		}
	}
}

// Where nobody remembers what was acknowledged, ids are given again, and the
// holder's cursor has passed them.
func TestIdsGivenAgainAfterAFailoverNameOtherEvents(t *testing.T) {
	c := newCluster(t, 1, nil)
	q := open(t, pgqueue.Options{URL: c.url, Timeout: 2 * time.Second, Lease: 6 * time.Second})
	eventually(t, "the centre to deliver", q.Clear)
	c.primary.Synchronous("")
	c.standbys[0].Stop()
	must(t, q.Append(t.Context(), queue.Batch{Events: events("gone", 7)}))
	take(t, q, 7)
	c.primary.Kill()
	c.standbys[0].Run()
	c.standbys[0].Promote()
	c.standbys[0].Synchronous("")
	newcomer := open(t, pgqueue.Options{URL: c.url, Timeout: 2 * time.Second, Lease: 6 * time.Second})
	must(t, newcomer.Append(t.Context(), queue.Batch{Events: events("other", 8)}))
	for _, d := range take(t, q, 8) {
		if !strings.HasPrefix(d.Event.ID, "other") {
			t.Errorf("leased %s", d.Event.ID)
		}
	}
}

// This is what a synchronous standby is for: without one the same death loses.
func TestAnAsynchronousStandbyLosesWhatWasAcknowledged(t *testing.T) {
	c := newCluster(t, 1, nil)
	q := open(t, pgqueue.Options{URL: c.url, Timeout: 2 * time.Second})
	c.primary.Synchronous("")
	eventually(t, "an alarm once the server has read its new configuration", func() bool {
		return strings.Contains(strings.Join(stats(t, q).Alarms, "\n"), "no synchronous standby")
	})
	c.standbys[0].Stop()
	must(t, q.Append(t.Context(), queue.Batch{Events: events("gone", 7)}))
	c.primary.Kill()
	c.standbys[0].Run()
	c.standbys[0].Promote()
	c.standbys[0].Synchronous("")
	if got := query[int](t, c.standbys[0].URL("fleet"), "SELECT count(*) FROM trackd.events"); got != 0 {
		t.Errorf("%d events survived: the tests of synchronous standbys prove nothing", got)
	}
	eventually(t, "the loss to be told", func() bool {
		s, err := q.Stats(t.Context())
		return err == nil && s.Lost == 7
	})
}

func TestACommitThatIsPerhapsNotReplicatedIsNotAYes(t *testing.T) {
	c := newCluster(t, 1, nil)
	q := open(t, pgqueue.Options{URL: c.url, Timeout: 20 * time.Second})
	eventually(t, "the centre to deliver", q.Clear)
	c.standbys[0].Stop()
	answered := make(chan error, 1)
	go func() { answered <- q.Append(context.Background(), queue.Batch{Events: events("e", 1)}) }()
	waiting := "FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE '-- Append%'"
	eventually(t, "the commit to wait for the standby", func() bool { return c.primary.Value("SELECT count(*) "+waiting) == "1" })
	c.primary.Exec("SELECT pg_cancel_backend(pid) " + waiting)
	if err := <-answered; err == nil || !strings.Contains(err.Error(), "perhaps not replicated") {
		t.Errorf("got %v, want no yes", err)
	}
}
