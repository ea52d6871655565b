package sender

import (
	"testing"
	"time"

	"trackd/queue"
)

func TestBlameFallsOnTheOddOneOut(t *testing.T) {
	const passes = 100
	for _, c := range []struct {
		name    string
		share   float64
		d       queue.Delivery
		strikes float64
		own     bool
	}{
		{"the first failure tells nothing", 1, queue.Delivery{}, 0, false},
		{"a first failure after throttling neither", 1, queue.Delivery{Attempts: 3}, 0, false},
		{"others passed since", 1, queue.Delivery{Attempts: 1, Successes: 99}, 1, true},
		{"nobody passed since", 1, queue.Delivery{Attempts: 1, Successes: 100}, 0, false},
		{"others passed, but few do", 0.4, queue.Delivery{Attempts: 1, Successes: 99}, 0, true},
		{"one with a record stays suspect", 1, queue.Delivery{Attempts: 4, Strikes: 2, Successes: 100}, 2, true},
		{"and earns more", 1, queue.Delivery{Attempts: 4, Strikes: 2, Successes: 7}, 3, true},
	} {
		b := blame{passes: passes, share: c.share}
		if strikes, own := b.failed(c.d); strikes != c.strikes || own != c.own {
			t.Errorf("%s: %v strikes, own %v; want %v, %v", c.name, strikes, own, c.strikes, c.own)
		}
	}
}

func TestNobodyIsBlamedUntilEnoughPassed(t *testing.T) {
	b := newBlame()
	for n := range 100 {
		if b.share >= healthy {
			if n < 10 || n > 40 {
				t.Errorf("trusted after %d passes", n)
			}
			return
		}
		b.passed()
	}
	t.Error("a hundred passes were not enough")
}

func TestAgeDoesNotBelieveAClockThatJumped(t *testing.T) {
	const year = 365 * 24 * time.Hour
	now := time.Now()
	for _, c := range []struct {
		name                 string
		taken, wall, carried time.Time
		want                 time.Duration
	}{
		{"steady", now.Add(-3 * time.Hour), now, now, 3 * time.Hour},
		{"taken in the future", now.Add(year), now, now, 0},
		{"jumped forward since it was taken", now.Add(-time.Hour), now.Add(year), now, time.Hour},
		{"jumped forward before it was taken", now.Add(year), now.Add(year), now, 0},
		{"jumped back", now.Add(-time.Hour), now.Add(-year), now, 0},
		{"was set right after the start", now.Add(-time.Hour), now, now.Add(year), time.Hour},
	} {
		if got := age(c.taken, c.wall, c.carried); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
