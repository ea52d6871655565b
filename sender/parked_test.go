package sender

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"trackd/queue"
)

func TestTheStrongestOfThoseParkedHasMostAgainstIt(t *testing.T) {
	p := parked{known: map[queue.Address]*item{}}
	begin := time.Now()
	for _, n := range rand.Perm(1000) {
		p.add(queue.Outcome{Address: at(uint64(n)), Strikes: float64(n / 2), FirstFailed: begin.Add(time.Duration(n%2) * time.Minute)})
	}
	p.add(queue.Outcome{Address: at(5000)}) // throttled, never failed
	for n := uint64(0); n < 1000; n += 7 {
		p.remove(at(n))
	}
	if p.suspects != 857 || len(p.known) != 858 {
		t.Errorf("%d suspects of %d parked, want 857 of 858", p.suspects, len(p.known))
	}
	last := item{strikes: 1e9}
	for len(p.known) > 0 {
		it := p.remove(p.strongest().address)
		if it.strikes > last.strikes || it.strikes == last.strikes && it.first < last.first {
			t.Errorf("%d with %v strikes comes after %d with %v", it.address.Lo, it.strikes, last.address.Lo, last.strikes)
		}
		last = *it
	}
	if last.address != at(5000) {
		t.Errorf("the last is %d, want the one that never failed", last.address.Lo)
	}
}

// TestWhenPlacesRunOutTheStrongestSuspectsGoFirst parks more than there are
// places for.
func TestWhenPlacesRunOutTheStrongestSuspectsGoFirst(t *testing.T) {
	s := idleScheduler(t, nil, 1)
	failed := func(n uint64, strikes float64) *item {
		it := leasedItem(n)
		it.delivery.Strikes, it.delivery.FirstFailed, it.delivery.Attempts, it.delivery.LastStatus = strikes, time.Now(), 7, 500
		return it
	}
	for n := range uint64(maxParked) {
		s.park(failed(n+1, float64(n%100)/10), time.Minute)
	}
	if len(s.burying) > 0 || s.health.report(time.Now()).Alarm != "" {
		t.Fatalf("%d buried while there are places", len(s.burying))
	}
	s.outcomes = nil
	s.park(failed(200_000, 5), time.Minute)
	s.park(failed(200_001, 11), time.Minute)
	if len(s.outcomes) != 4 || len(s.parked.known) != maxParked {
		t.Fatalf("%d outcomes, %d parked; want 4 and %d", len(s.outcomes), len(s.parked.known), maxParked)
	}
	if o := s.outcomes[1]; o.Verb != queue.Bury || o.Address.Lo%100 != 0 || o.Reason != queue.Poison || o.Status != 500 || o.Attempts != 7 || !strings.Contains(o.Detail, "9.9 strikes") {
		t.Errorf("for the first beyond: %+v, want the strongest suspect buried", o)
	}
	if o := s.outcomes[3]; o.Verb != queue.Bury || o.Address != at(200_001) {
		t.Errorf("for one stronger than all: %+v, want it buried", o)
	}
	if alarm := s.health.report(time.Now()).Alarm; !strings.HasPrefix(alarm, "2 failed events") {
		t.Errorf("alarm: %q", alarm)
	}

	// A lease that came before the settling of a burial brings it no more.
	buried := s.outcomes[1].Address
	s.leased(lease{deliveries: []queue.Delivery{{Address: buried}, {Address: at(300_000)}}})
	if len(s.window.ready) != 1 || s.window.ready[0].address != at(300_000) {
		t.Errorf("%d events at hand, want the one that was not buried", len(s.window.ready))
	}
}
