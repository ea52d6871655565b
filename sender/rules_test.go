package sender_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackd/sender"
)

// tables reports whether the full tables are asked for.
func tables() bool { return os.Getenv("TRACKD_TABLES") != "" }

// head is a run of bad events that stands before the good ones.
type head struct {
	n       int
	trouble trouble
	behind  int // good events that stand behind from the start; 0: one arrives each second
}

// outcome is what came of the good events.
type outcome struct {
	passed   int
	first    time.Duration // until the first passed
	full     float64       // good events a second, thirty seconds after that
	last     time.Duration // until all had passed; 0: not yet
	requests int
}

// run plays h for as long as limit.
func (h head) run(t *testing.T, limit time.Duration) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: bad(h.trouble)}
		q.add(ids("bad", h.n)...)
		q.add(ids("good", h.behind)...)
		snd := toFar(t, q, f)
		from := time.Now()
		good := h.behind
		for time.Since(from) < limit && (h.behind == 0 || len(f.passes()) < good) {
			if h.behind == 0 {
				q.add(fmt.Sprintf("good%d", good))
				good++
			}
			time.Sleep(time.Second)
		}
		passed := f.passes()
		if o.passed = len(passed); o.passed > 0 {
			o.first = passed[0].Sub(from)
			o.last = passed[len(passed)-1].Sub(from)
			begin := passed[0].Add(30 * time.Second)
			then := 0
			for _, at := range passed {
				if !at.Before(begin) && at.Before(begin.Add(5*time.Second)) {
					then++
				}
			}
			o.full = float64(then) / 5
		}
		if len(passed) < good-1 {
			o.last = 0
		}
		o.requests = f.requests(from)
		snd.end(t)
	})
	return o
}

func TestARunOfBadEventsAtTheHeadHoldsNobody(t *testing.T) {
	counts := []int{16, 64, 1000}
	if tables() {
		counts = []int{1, 10, 16, 17, 32, 64, 100, 200, 500, 1000, 2000, 4000, 8000}
	}
	table := "| trouble | N | behind | first good | good/s 30 s later | all good | requests |\n|---|---|---|---|---|---|---|\n"
	for _, trouble := range eachTrouble {
		for _, n := range counts {
			for _, behind := range []int{12_000, 0} {
				o := head{n, trouble, behind}.run(t, 4*time.Minute)
				table += fmt.Sprintf("| %s | %d | %d | %.1f s | %.0f | %.0f s | %d |\n", trouble.name, n, behind, o.first.Seconds(), o.full, o.last.Seconds(), o.requests)
				if n > 1000 {
					continue
				}
				if limit := map[bool]time.Duration{true: 60 * time.Second, false: 15 * time.Second}[behind > 0]; o.passed == 0 || o.first > limit {
					t.Errorf("%d × %s with %d behind: first good after %v", n, trouble.name, behind, o.first)
				}
				if behind > 0 && o.full < 0.8*250 || behind == 0 && o.full < 0.9 || o.last == 0 {
					t.Errorf("%d × %s with %d behind: %.0f good/s 30 s after the first, all after %v", n, trouble.name, behind, o.full, o.last)
				}
			}
		}
	}
	t.Logf("\n%s", table)
}

// TestATotalOutageCostsFewRequestsAndEndsSoon has one event a second arrive for
// six hours of it.
func TestATotalOutageCostsFewRequestsAndEndsSoon(t *testing.T) {
	table := "| trouble | requests in 6 h | in the busiest hour | opened after |\n|---|---|---|---|\n"
	for _, trouble := range eachTrouble {
		synctest.Test(t, func(t *testing.T) {
			q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: all(none)}
			snd := toFar(t, q, f)
			q.add(ids("before", 20)...)
			time.Sleep(time.Minute)
			f.set(all(trouble))
			down, worst, before := time.Now(), 0, 0
			for i := range 6 * 3600 {
				q.add(fmt.Sprintf("e%d", i))
				time.Sleep(time.Second)
				if i%3600 == 3599 {
					n := f.requests(down)
					worst, before = max(worst, n-before), n
				}
			}
			up := time.Now()
			f.set(all(none))
			n := f.requests(down)
			time.Sleep(10 * time.Minute)
			var opened time.Duration
			for _, at := range f.passes() {
				if !at.Before(up) {
					opened = at.Sub(up)
					break
				}
			}
			table += fmt.Sprintf("| %s | %d | %d | %.0f s |\n", trouble.name, n, worst, opened.Seconds())
			if worst > 80 {
				t.Errorf("%s: %d requests in one hour of outage", trouble.name, worst)
			}
			if limit := 5*time.Minute + 10*time.Second; opened == 0 || opened > limit {
				t.Errorf("%s: opened after %v", trouble.name, opened)
			}
			time.Sleep(10 * time.Minute)
			snd.end(t)
			wantAccount(t, q, 20+6*3600, 0)
		})
	}
	t.Logf("\n%s", table)
}

// TestNothingBut429IsToldAndCostsLittle has an hour of it, with a backlog and
// with one event.
func TestNothingBut429IsToldAndCostsLittle(t *testing.T) {
	for _, events := range []int{3000, 1} {
		synctest.Test(t, func(t *testing.T) {
			var log logbook
			q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: all(says429)}
			snd := toFar(t, q, f, func(o *sender.Options) { o.Log = log.logger() })
			q.add(ids("e", events)...)
			from := time.Now()
			time.Sleep(30 * time.Second)
			if got := snd.Upstream(); got.State != sender.Throttled || !strings.Contains(got.Why, "429") {
				t.Errorf("%d events: after 30 s the upstream is %+v, want throttled", events, got)
			}
			if n := log.count("the destination throttles everything: sending slowly until something passes"); n != 1 {
				t.Errorf("%d events: logged %d times that all is throttled, want once", events, n)
			}
			time.Sleep(time.Hour - 30*time.Second)
			n := f.requests(from)
			t.Logf("%d events: %d requests in an hour of nothing but 429", events, n)
			if n > 400 {
				t.Errorf("%d events: %d requests in an hour of nothing but 429", events, n)
			}
			f.set(all(none))
			time.Sleep(10 * time.Minute)
			if got := snd.Upstream().State; got != sender.Open || log.count("delivery recovered") != 1 {
				t.Errorf("%d events: then the upstream is %s, recovery logged %d times", events, got, log.count("delivery recovered"))
			}
			snd.end(t)
			wantAccount(t, q, events, 0)
		})
	}
}

func TestAfterSixSecondsOf429TheFullRateIsSoonBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: all(says429)}
		snd := toFar(t, q, f)
		q.add(ids("e", 3000)...)
		time.Sleep(6 * time.Second)
		f.set(all(none))
		time.Sleep(25 * time.Second)
		passed := f.passes()
		if len(passed) != 3000 {
			t.Errorf("%d delivered 25 s after 6 s of 429, want all 3000", len(passed))
		} else {
			t.Logf("all delivered %v after the 429s", passed[2999].Sub(passed[0]))
		}
		snd.end(t)
	})
}

// TestADenialIsSeenWhateverStrikesEventsHave leaves only events with strikes in
// the queue, and then revokes the key.
func TestADenialIsSeenWhateverStrikesEventsHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: bad(fails500)}
		snd := toFar(t, q, f)
		q.add(ids("bad", 20)...)
		for i := range 60 {
			q.add(ids(fmt.Sprintf("ok%d-", i), 20)...)
			time.Sleep(time.Second)
		}
		time.Sleep(10 * time.Minute)
		f.set(all(says401))
		from := time.Now()
		for f.requests(from) == 0 {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		if got := snd.Upstream().State; got != sender.Denied {
			t.Errorf("a minute after the first 401 the upstream is %s, want denied", got)
		}
		time.Sleep(12 * time.Hour)
		if n := f.requests(from); n > 12*80 {
			t.Errorf("%d requests in 12 h of 401", n)
		}
		snd.end(t)
	})
}

// quiet is a host with few good events and some that always fail.
type quiet struct {
	bad   int
	every time.Duration // between good events
}

// TestPoisonIsBuriedAtAnyTraffic also restarts the sender once a day.
func TestPoisonIsBuriedAtAnyTraffic(t *testing.T) {
	cases := []quiet{{1, 10 * time.Second}, {1, time.Hour}, {20, 5 * time.Minute}, {100, time.Hour}, {1000, time.Hour}}
	troubles := []trouble{fails500, timingOut}
	if tables() {
		cases, troubles = nil, eachTrouble
		for _, n := range []int{1, 5, 20, 100, 500, 1000} {
			for _, every := range []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, time.Hour} {
				cases = append(cases, quiet{n, every})
			}
		}
	}
	table := "| trouble | bad events | a good one every | first buried after | all buried after | good delivered, slowest | requests |\n|---|---|---|---|---|---|---|\n"
	for _, trouble := range troubles {
		for _, c := range cases {
			if trouble == timingOut && c.bad == 1000 && c.every == time.Hour {
				continue // each keeps a worker for ten seconds: too many for the minutes after each pass
			}
			synctest.Test(t, func(t *testing.T) {
				q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: bad(trouble)}
				snd := toFar(t, q, f)
				q.add(ids("bad", c.bad)...)
				from, restart := time.Now(), time.Now().Add(24*time.Hour)
				var first, last time.Duration
				good := 0
				for time.Since(from) < 60*time.Hour && last == 0 {
					q.add(fmt.Sprintf("ok%d", good))
					good++
					time.Sleep(c.every)
					if time.Now().After(restart) {
						snd.end(t)
						q.restart()
						snd, restart = toFar(t, q, f), restart.Add(24*time.Hour)
					}
					switch _, _, _, dead := q.account(); {
					case dead == c.bad:
						last = time.Since(from)
						fallthrough
					case dead > 0 && first == 0:
						first = time.Since(from)
					}
				}
				delivered, _, _, dead := q.account()
				table += fmt.Sprintf("| %s | %d | %v | %.1f h | %.1f h | %d of %d | %d |\n", trouble.name, c.bad, c.every, first.Hours(), last.Hours(), delivered, good, f.requests(from))
				if dead != c.bad || last > 48*time.Hour || first < 24*time.Hour {
					t.Errorf("%+v %s: %d buried, the first after %v, the last after %v; want all between 24 and 48 h", c, trouble.name, dead, first, last)
				}
				if delivered < good-1 {
					t.Errorf("%+v %s: %d of %d good events delivered", c, trouble.name, delivered, good)
				}
				snd.end(t)
			})
		}
	}
	t.Logf("\n%s", table)
}

// TestRandomErrorsBuryNobody offers twelve thousand good events to a destination
// at which a share of all attempts fails for a day, with poison_after off.
func TestRandomErrorsBuryNobody(t *testing.T) {
	table := "| errors | delivered | buried | requests |\n|---|---|---|---|\n"
	for _, share := range []float64{0.3, 0.5, 0.7, 0.9} {
		events := 12_000
		if !tables() {
			events = 1200
		}
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(1, uint64(100*share)))
			q, f := newMemQueue(), &far{took: 20 * time.Millisecond}
			f.set(func(string) trouble { // under the lock of f
				if dice.Float64() < share {
					return fails500
				}
				return none
			})
			snd := toFar(t, q, f, func(o *sender.Options) { o.PoisonAfter = -1 })
			from := time.Now()
			for i := range 600 {
				q.add(ids(fmt.Sprintf("e%d-", i), events/600)...)
				time.Sleep(time.Second)
			}
			time.Sleep(24*time.Hour - 10*time.Minute)
			delivered, _, _, dead := q.account()
			table += fmt.Sprintf("| %.0f %% | %d | %d | %d |\n", 100*share, delivered, dead, f.requests(from))
			if dead > events/1000 || delivered+dead != events {
				t.Errorf("%.0f %% errors: %d delivered, %d buried of %d good events", 100*share, delivered, dead, events)
			}
			snd.end(t)
		})
	}
	t.Logf("\n%s", table)
}

// TestAShardThatIsDownBuriesNobody lets one event in ten fail for six hours, at
// as many failures a second as there are places for.
func TestAShardThatIsDownBuriesNobody(t *testing.T) {
	every, failing := 10*time.Second, 1 // arrivals that fail
	if tables() {
		every, failing = time.Second, 4
	}
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: bad(trouble{"503", 503, false})}
		snd := toFar(t, q, f)
		rounds := int(6 * time.Hour / every)
		for i := range rounds {
			q.add(ids(fmt.Sprintf("ok%d-", i), 9*failing)...)
			q.add(ids(fmt.Sprintf("bad%d-", i), failing)...)
			time.Sleep(every)
		}
		_, queued, _, dead := q.account()
		u := snd.Upstream()
		t.Logf("after six hours: %d queued, %d buried, %d suspects, upstream %s", queued, dead, u.Suspects, u.State)
		if dead > 0 || u.Suspects < rounds*failing*9/10 || u.Alarm != "" {
			t.Errorf("%d buried, upstream %+v", dead, u)
		}
		f.set(all(none))
		time.Sleep(2 * time.Hour)
		snd.end(t)
		wantAccount(t, q, rounds*10*failing, 0)
	})
}
