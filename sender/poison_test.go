package sender_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
	"trackd/sender"
)

func TestAnEventThatAlwaysFailsIsBuriedAndHoldsNobody(t *testing.T) {
	for name, odd := range map[string]reply{
		"500":   says(500, "boom"),
		"403":   says(403, "<html>blocked</html>"),
		"reset": resets,
		"hang":  hangs,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := newMemQueue(), newSite(t)
				snd := start(t, q, s, func(o *sender.Options) { o.PoisonAfter = time.Hour })
				s.set(except(is("bad"), odd, passes))
				q.add("bad")
				for i := range 2 * 60 * 6 { // ten seconds apart, for two hours
					q.add(ids("ok"+strings.Repeat("x", i%3), 1)[0] + time.Now().String())
					time.Sleep(10 * time.Second)
				}
				o, dead := q.letter("bad")
				if !dead || o.Reason != queue.Poison || o.Attempts < 20 {
					t.Errorf("letter of the bad event: %+v, %v; want it buried as poison", o, dead)
				}
				if worst := s.longestGap(); worst > 15*time.Second {
					t.Errorf("the others stood still for %v", worst)
				}
				snd.end(t)
				wantAccount(t, q, 2*60*6, 1)
			})
		})
	}
}

// longestGap is the longest time between two passes.
func (s *site) longestGap() (worst time.Duration) {
	var last time.Time
	for _, h := range s.seen() {
		if h.status != 200 {
			continue
		}
		if !last.IsZero() {
			worst = max(worst, h.at.Sub(last))
		}
		last = h.at
	}
	return worst
}

func TestPoisonDoesNotHoldUpARecovery(t *testing.T) {
	for name, odd := range map[string]reply{"500": says(500, ""), "403": says(403, "blocked")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := newMemQueue(), newSite(t)
				snd := start(t, q, s, func(o *sender.Options) { o.PoisonAfter = -1 })
				bad := ids("bad", 5)
				s.set(says(503, ""))
				for i, id := range bad {
					q.add(id)
					q.add(ids(fmt.Sprintf("ok%d-", i), 20)...)
				}
				time.Sleep(2 * time.Hour)
				if got := snd.Upstream().State; got != sender.Probing {
					t.Fatalf("upstream is %s, want probing", got)
				}
				s.set(except(is(bad...), odd, passes))
				up := time.Now()
				time.Sleep(15 * time.Minute)
				// It takes two bad events in a row to cost a second interval.
				if first := s.firstPass(t, up).Sub(up); first > 10*time.Minute {
					t.Errorf("first delivery %v after the recovery", first)
				}
				for range 6 * 60 { // others pass, so that there is something to compare with
					q.add(ids("later"+time.Now().String(), 3)...)
					time.Sleep(20 * time.Second)
				}
				snd.end(t)
				wantAccount(t, q, 100+3*6*60, 5)
			})
		})
	}
}

func TestALonePoisonedEventDoesNotDelayTheNextOne(t *testing.T) {
	for name, odd := range map[string]reply{"500": says(500, ""), "403": says(403, "blocked")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := newMemQueue(), newSite(t)
				snd := start(t, q, s, nil)
				s.set(except(is("bad"), odd, passes))
				q.add("bad")
				time.Sleep(6*time.Hour + 7*time.Second)
				if n := len(s.seen()); n > 6*40 {
					t.Errorf("%d requests in six hours for one event", n)
				}
				q.add("good")
				from := time.Now()
				time.Sleep(time.Minute)
				if took := s.firstPass(t, from).Sub(from); took > 2*time.Second {
					t.Errorf("the good event waited %v", took)
				}
				snd.end(t)
			})
		})
	}
}

func TestAFirewallThatDislikesManyBodiesDoesNotStopTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		s.set(except(func(id string) bool { return strings.HasSuffix(id, "7") }, says(403, "blocked"), passes))
		q.add(ids("e", 1500)...) // every tenth is disliked
		time.Sleep(time.Minute)
		if got, _, _, _ := q.account(); got != 1350 {
			t.Errorf("%d delivered within a minute, want 1350", got)
		}
		snd.end(t)
	})
}

func TestWithEverythingFailingNobodyIsBuried(t *testing.T) {
	for name, trouble := range map[string]reply{
		"500": says(500, ""), "403": says(403, ""), "reset": resets,
		"mixed": func(w http.ResponseWriter, r *http.Request, id string) int {
			return []reply{says(500, ""), says(403, ""), resets}[rand.IntN(3)](w, r, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := newMemQueue(), newSite(t)
				snd := start(t, q, s, func(o *sender.Options) { o.MaxAttempts = 2; o.PoisonAfter = -1 })
				q.add(ids("before", 50)...) // a healthy past
				time.Sleep(time.Minute)
				s.set(trouble)
				q.add(ids("e", 50)...)
				time.Sleep(10 * time.Hour)
				s.set(passes)
				time.Sleep(15 * time.Minute)
				snd.end(t)
				wantAccount(t, q, 100, 0)
			})
		})
	}
}

func TestAHalfDeadDestinationBuriesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		dice := rand.New(rand.NewPCG(1, 2))
		snd := start(t, q, s, func(o *sender.Options) { o.MaxAttempts = 5; o.Workers = 1; o.PoisonAfter = -1 })
		s.set(func(w http.ResponseWriter, r *http.Request, id string) int {
			if dice.IntN(10) > 0 {
				return says(500, "")(w, r, id)
			}
			return passes(w, r, id)
		})
		q.add(ids("e", 100)...)
		time.Sleep(48 * time.Hour)
		snd.end(t)
		wantAccount(t, q, 100, 0)
	})
}
