package sender_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trackd/sender"
)

// TestOutagesOfAnyLengthLoseNothingAndEndSoon prints the table of
// docs/operations.md: TRACKD_TABLES=1 go test -v -run TestOutagesOfAnyLength ./sender
func TestOutagesOfAnyLengthLoseNothingAndEndSoon(t *testing.T) {
	kinds := []struct {
		name  string
		reply reply
		slack time.Duration // until a probe that began before the recovery has failed
	}{
		{"refused", nil, 0},
		{"503", says(503, `{}`), 0},
		{"hanging", hangs, 10 * time.Second},
	}
	long := 4 * time.Hour // past every wait there is
	if tables() {
		long = 72 * time.Hour
	}
	table := "| outage | lasts | requests | in the busiest hour | first delivery | full pace after that |\n|---|---|---|---|---|---|\n"
	for _, kind := range kinds {
		for _, length := range []time.Duration{time.Second, 10 * time.Minute, long} {
			t.Run(fmt.Sprintf("%s for %v", kind.name, length), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					table += fmt.Sprintf("| %s | %v | %s |\n", kind.name, length, outage(t, kind.reply, length, kind.slack))
				})
			})
		}
	}
	t.Logf("\n%s", table)
}

// outage has 200 events in the queue when the site fails, one more every five
// minutes meanwhile, and 600 when it recovers. It returns the table's columns.
func outage(t *testing.T, trouble reply, length, slack time.Duration) string {
	const retryMax = 5 * time.Minute
	q, s := newMemQueue(), newSite(t)
	snd := start(t, q, s, nil)
	q.add("before")
	time.Sleep(time.Second)

	s.set(trouble)
	down := time.Now()
	taken := 1
	add := func(n int) { q.add(ids(fmt.Sprintf("%d-", taken), n)...); taken += n }
	add(200)
	for time.Since(down) < length-5*time.Minute {
		time.Sleep(5 * time.Minute)
		add(1)
	}
	time.Sleep(length - time.Since(down))
	up := time.Now()
	s.set(passes)
	add(600)
	time.Sleep(3 * retryMax)

	first := s.firstPass(t, up)
	if wait := first.Sub(up); wait > min(retryMax, 3*length+3*time.Second)+slack {
		t.Errorf("first delivery %v after the recovery", wait)
	}
	worst := busiestHour(s, down, up)
	if worst > 100 {
		t.Errorf("%d requests within one hour of outage", worst)
	}
	ramp := s.fullPace(t, first).Sub(first)
	if ramp > 10*time.Second {
		t.Errorf("at full pace %v after the first delivery", ramp)
	}
	snd.end(t)
	wantAccount(t, q, taken, 0)
	return fmt.Sprintf("%d | %d | %.1f s | %.1f s", s.within(down, up), worst, first.Sub(up).Seconds(), ramp.Seconds())
}

func busiestHour(s *site, down, up time.Time) (worst int) {
	for from := down; from.Before(up); from = from.Add(time.Hour) {
		to := from.Add(time.Hour)
		if to.After(up) {
			to = up
		}
		worst = max(worst, s.within(from, to))
	}
	return worst
}

// fullPace returns when, at or after from, the first second began that saw nine
// tenths of the default rate.
func (s *site) fullPace(t testing.TB, from time.Time) time.Time {
	t.Helper()
	var recent []time.Time
	for _, h := range s.seen() {
		if h.at.Before(from) {
			continue
		}
		if recent = append(recent, h.at); len(recent) < 225 {
			continue
		}
		if begun := recent[len(recent)-225]; h.at.Sub(begun) < time.Second {
			return begun
		}
	}
	t.Fatal("never at full pace again")
	return time.Time{}
}

func TestAfterAnOutageThePaceRampsUpWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		s.set(says(500, ""))
		q.add(ids("e", 1800)...)
		time.Sleep(10 * time.Minute)
		s.set(passes)
		from := s.firstPassWait(t, 5*time.Minute)
		time.Sleep(20 * time.Second)

		if n := s.within(from, from.Add(time.Second)); n > 60 {
			t.Errorf("%d requests in the first second: a stampede", n)
		}
		if n := s.within(from.Add(6*time.Second), from.Add(7*time.Second)); n < 225 {
			t.Errorf("%d requests in the seventh second, want about 250", n)
		}
		time.Sleep(10 * time.Minute)
		snd.end(t)
		wantAccount(t, q, 1800, 0)
	})
}

// firstPassWait waits for the next event to pass and returns when it did.
func (s *site) firstPassWait(t testing.TB, limit time.Duration) time.Time {
	t.Helper()
	from := time.Now()
	for time.Since(from) < limit {
		time.Sleep(10 * time.Millisecond)
		if hits := s.seen(); len(hits) > 0 && hits[len(hits)-1].status == 200 && !hits[len(hits)-1].at.Before(from) {
			return s.firstPass(t, from)
		}
	}
	t.Fatalf("nothing passed within %v", limit)
	return time.Time{}
}

func TestAnOutageWithOneEventInTheQueueEndsForItToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		s.set(nil)
		q.add("lone")
		time.Sleep(72 * time.Hour)
		if got := snd.Upstream().State; got != sender.Probing {
			t.Errorf("upstream is %s, want probing", got)
		}
		if n := len(s.seen()); n > 72*36 {
			t.Errorf("%d requests in 72 hours for one event", n)
		}
		s.set(passes)
		snd.ProbeNow()
		time.Sleep(time.Second)
		snd.end(t)
		wantAccount(t, q, 1, 0)
	})
}

func TestHalfDeadDestinationsKeepFlowing(t *testing.T) {
	var n atomic.Int64
	third := func(odd reply) reply {
		return func(w http.ResponseWriter, r *http.Request, id string) int {
			if n.Add(1)%10 < 3 {
				return odd(w, r, id)
			}
			return passes(w, r, id)
		}
	}
	for _, c := range []struct {
		name   string
		reply  reply
		events int
		within time.Duration
	}{
		{"30 % errors", third(says(500, "")), 2000, 2 * time.Minute},
		{"30 % resets", third(resets), 2000, 2 * time.Minute},
		{"9 s latency", late(9*time.Second, passes), 160, 2 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := newMemQueue(), newSite(t)
				snd := start(t, q, s, nil)
				s.set(c.reply)
				q.add(ids("e", c.events)...)
				time.Sleep(c.within)
				snd.end(t)
				wantAccount(t, q, c.events, 0)
			})
		})
	}
}

func TestDeadKeptAliveConnectionsAreNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		s.set(late(100*time.Millisecond, passes)) // so that there are many connections
		q.add(ids("a", 16)...)
		time.Sleep(10 * time.Second)
		s.forget()
		q.add(ids("b", 16)...)
		time.Sleep(250 * time.Millisecond)
		if up := snd.Upstream(); up.Delivered != 32 || up.Failures != 0 {
			t.Errorf("upstream is %+v, want 32 delivered and no failure", up)
		}
		snd.end(t)
	})
}

func TestTheFirstProbeDialsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		q.add("a")
		time.Sleep(time.Second)
		s.set(says(401, ""))
		q.add("b")
		time.Sleep(time.Millisecond)
		if n := len(s.seen()); n != 2 || s.dialled() != 1 {
			t.Fatalf("%d requests on %d connections before the probe, want 2 on 1", n, s.dialled())
		}
		q.add("c")
		time.Sleep(3 * time.Second)
		if n := s.dialled(); n < 2 {
			t.Errorf("the probe went over the old connection: the name may mean another address now")
		}
		snd.end(t)
	})
}
