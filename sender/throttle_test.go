package sender_test

import (
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"trackd/sender"
)

func TestThrottlingHalvesThePaceAndItClimbsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		bucket := rate.NewLimiter(100, 10)
		var throttled atomic.Int64
		s.set(func(w http.ResponseWriter, r *http.Request, id string) int {
			if !bucket.Allow() {
				throttled.Add(1)
				return says(429, "")(w, r, id)
			}
			return passes(w, r, id)
		})
		q.add(ids("e", 6000)...)
		from := time.Now()
		time.Sleep(40 * time.Second)
		delivered, _, _, dead := q.account()
		if delivered < 2000 || dead != 0 {
			t.Errorf("%d of about 4000 delivered in 40 s behind 100/s, %d buried", delivered, dead)
		}
		if share := float64(throttled.Load()) / float64(len(s.seen())); share > 0.15 {
			t.Errorf("%.0f %% of the requests were throttled", 100*share)
		}
		if state := snd.Upstream().State; state != sender.Open {
			t.Errorf("upstream is %s, want open", state)
		}
		low := snd.Upstream().Rate
		s.set(passes)
		time.Sleep(20 * time.Second)
		if high := snd.Upstream().Rate; high < low+30 || high > low+60 {
			t.Errorf("rate went from %.0f to %.0f in 20 s, want 2.5/s each second", low, high)
		}
		t.Logf("%d delivered in 40 s, %d throttled", delivered, throttled.Load())
		for time.Since(from) < 10*time.Minute {
			time.Sleep(time.Second)
		}
		snd.end(t)
		wantAccount(t, q, 6000, 0)
	})
}

func TestSimultaneous429sHalveOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		s.set(late(3*time.Second, says(429, "")))
		q.add(ids("e", 16)...)
		time.Sleep(3100 * time.Millisecond)
		if got := snd.Upstream().Rate; got != 125 {
			t.Errorf("rate = %v after 16 simultaneous 429s, want 125", got)
		}
		snd.end(t)
	})
}

func TestRetryAfterKeepsTheLineQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inAMinute := func() string { return time.Now().Add(time.Minute).UTC().Format(http.TimeFormat) }
		for _, c := range []struct {
			name   string
			status int
			ask    func() string
			want   time.Duration // silence of the whole line
		}{
			{"429 in seconds", 429, func() string { return "60" }, time.Minute},
			{"503 in seconds", 503, func() string { return "60" }, time.Minute},
			{"429 with a date", 429, inAMinute, 59 * time.Second},
			{"503 for a day is bounded", 503, func() string { return "86400" }, 5 * time.Minute},
			{"500 concerns the event", 500, func() string { return "60" }, 0},
			{"nonsense", 429, func() string { return "soon" }, 0},
			{"negative", 429, func() string { return "-5" }, 0},
			{"a date in the past", 503, func() string { return "Tue, 02 Jan 1990 15:04:05 GMT" }, 0},
		} {
			q, s := newMemQueue(), newSite(t)
			snd := start(t, q, s, func(o *sender.Options) { o.Workers = 1 })
			first := true
			s.set(func(w http.ResponseWriter, r *http.Request, id string) int {
				if !first {
					return passes(w, r, id)
				}
				first = false
				w.Header().Set("Retry-After", c.ask())
				w.WriteHeader(c.status)
				io.WriteString(w, "later")
				return c.status
			})
			q.add(ids("e", 5)...)
			time.Sleep(time.Second)
			if c.want > 0 && snd.Upstream().HoldUntil.IsZero() {
				t.Errorf("%s: Line does not tell of the silence", c.name)
			}
			snd.ProbeNow() // must not shorten it
			time.Sleep(10 * time.Minute)
			hits := s.seen()
			silence := hits[1].at.Sub(hits[0].at)
			if silence < c.want || silence > c.want+2*time.Second {
				t.Errorf("%s: silence of %v, want %v", c.name, silence, c.want)
			}
			snd.end(t)
			wantAccount(t, q, 5, 0)
		}
	})
}

func TestRetryAfterOnAnyStatusDelaysItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		var tries []time.Time
		s.set(except(is("slow"), func(w http.ResponseWriter, r *http.Request, id string) int {
			if tries = append(tries, time.Now()); len(tries) > 1 {
				return passes(w, r, id)
			}
			w.Header().Set("Retry-After", "200")
			w.WriteHeader(500)
			return 500
		}, passes))
		q.add("slow", "quick")
		time.Sleep(10 * time.Minute)
		snd.end(t)
		wantAccount(t, q, 2, 0)
		if wait := tries[1].Sub(tries[0]); wait < 200*time.Second {
			t.Errorf("tried again after %v, want 200 s", wait)
		}
	})
}

func TestRetryAfterHoldsProbesBackTooAndAKickDoesNotShortenIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		s.set(says(401, ""))
		q.add(ids("e", 5)...)
		time.Sleep(100 * time.Millisecond)
		s.set(func(w http.ResponseWriter, r *http.Request, _ string) int {
			w.Header().Set("Retry-After", "100")
			w.WriteHeader(503)
			return 503
		})
		snd.ProbeNow()
		time.Sleep(time.Second)
		asked := time.Now().Add(-time.Second)
		s.set(passes)
		snd.ProbeNow()
		if up := snd.Upstream(); !up.NextProbe.Equal(up.HoldUntil) {
			t.Errorf("upstream is %+v, want the next probe when the silence ends", up)
		}
		time.Sleep(5 * time.Minute)
		if wait := s.firstPass(t, asked).Sub(asked); wait < 100*time.Second || wait > 102*time.Second {
			t.Errorf("first delivery after %v, want 100 s", wait)
		}
		snd.end(t)
		wantAccount(t, q, 5, 0)
	})
}
