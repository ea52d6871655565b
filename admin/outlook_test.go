package admin

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTheOutlookFollowsFromAgeAndPace(t *testing.T) {
	for _, test := range []struct {
		name    string
		queued  uint64
		oldest  time.Duration
		pace    *float64
		seconds *float64
		late    *bool
		summary string
	}{
		{"an empty queue", 0, 0, nil, new(0.0), new(false), "nothing waits"},
		{"a pace not known yet", 10, time.Hour, nil, nil, nil, "how fast the queue drains is not known yet: ask again in a second"},
		{"a queue that drains", 1200, time.Hour, new(100.0), new(12.0), new(false), "empty in 12s, before anything passes 72 h"},
		{"a part of a second counts as one", 1, 0, new(3.0), new(1.0), new(false), "empty in 1s, before anything passes 72 h"},
		{"a queue that drains too late", 360_000, 70 * time.Hour, new(10.0), new(36000.0), new(true),
			"empty in 10h 0m: events will pass 72 h before they are delivered, and then trigger no campaigns"},
		{"exactly at the cliff", 3600, 71 * time.Hour, new(1.0), new(3600.0), new(false), "empty in 1h 0m, before anything passes 72 h"},
		{"a queue that grows", 5, 70 * time.Hour, new(-1.0), nil, nil,
			"the queue does not get shorter; the oldest event passes 72 h in 2h 0m if it is not delivered before"},
		{"a queue that stands still", 5, 0, new(0.0), nil, nil,
			"the queue does not get shorter; the oldest event passes 72 h in 3d 0h if it is not delivered before"},
		{"past it already", 5, 72 * time.Hour, new(100.0), new(1.0), new(true),
			"the oldest event is past 72 h: it is still delivered, but triggers no campaigns any more"},
	} {
		got := foresee(test.queued, test.oldest, test.pace)
		if got.Summary != test.summary {
			t.Errorf("%s: got %q, want %q", test.name, got.Summary, test.summary)
		}
		if !equal(got.SecondsToEmpty, test.seconds) || !equal(got.WillPass72h, test.late) {
			t.Errorf("%s: got %v, %v", test.name, show(got.SecondsToEmpty), show(got.WillPass72h))
		}
	}
}

func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func show[T any](v *T) any {
	if v == nil {
		return "null"
	}
	return *v
}

func TestThePaceIsThatOfTheLastTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trend
		note := func(queued uint64) *float64 { return tr.note(time.Now(), queued) }
		if got := note(1000); got != nil {
			t.Fatalf("first look: got %v, want nothing known", *got)
		}
		time.Sleep(time.Second / 2)
		if got := note(900); got != nil {
			t.Fatalf("after half a second: got %v, want nothing known", *got)
		}
		time.Sleep(time.Second / 2)
		if got := note(800); got == nil || *got != 200 {
			t.Fatalf("after a second: got %v, want 200", show(got))
		}
		time.Sleep(9 * time.Second)
		if got := note(1000); got == nil || *got != 0 {
			t.Fatalf("as many as ten seconds ago: got %v, want 0", show(got))
		}
		time.Sleep(10 * time.Second)
		if got := note(1200); got == nil || *got != -10 {
			t.Fatalf("grown: got %v, want -10", show(got))
		}
		time.Sleep(time.Hour)
		if got := note(100); got != nil {
			t.Fatalf("after an hour of silence: got %v, want nothing known", *got)
		}
	})
}

func TestTheTrendKeepsNoMoreThanItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trend
		for range 10_000 {
			tr.note(time.Now(), 1)
			time.Sleep(100 * time.Millisecond)
		}
		if most := int(trendWindow/trendSpacing) + 1; len(tr.samples) > most {
			t.Errorf("got %d samples, want at most %d", len(tr.samples), most)
		}
	})
}

func TestSpansAreShort(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": -time.Hour, "1s": 600 * time.Millisecond, "59s": 59 * time.Second, "1m 0s": time.Minute,
		"2h 5m": 2*time.Hour + 5*time.Minute + 59*time.Second, "47h 59m": 48*time.Hour - time.Second, "3d 1h": 73 * time.Hour,
	} {
		if got := Span(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
