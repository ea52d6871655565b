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

func TestThePaceIsThatOfTheLastTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trend
		var since time.Time
		for i, step := range []struct {
			after  time.Duration
			queued uint64
			want   *float64
		}{
			{0, 1000, nil},                             // the first look
			{time.Second / 2, 900, nil},                // too soon to say
			{time.Second / 2, 800, new(200.0)},         // a second after the first
			{9 * time.Second, 1000, new(0.0)},          // ten after it
			{10 * time.Second, 1200, new(-20.0)},       // it has grown since the one before
			{time.Second, 1200, new(-200.0 / 11)},      // that one still counts
			{trendWindow + time.Second, 100, nil},      // after a long silence nothing is known
			{60 * time.Second, 40, new(1.0)},           // and then it is again
			{trendSpacing, 40, new(60.0 / 61)},         //
			{trendWindow - trendSpacing, 40, new(0.0)}, // the last that counts
			{trendWindow + time.Nanosecond, 0, nil},    // and the first that does not
		} {
			time.Sleep(step.after)
			tr.note(time.Now(), since, step.queued)
			if got := tr.pace(time.Now(), since, step.queued); !equal(got, step.want) {
				t.Errorf("step %d: got %v, want %v", i, show(got), show(step.want))
			}
		}
	})
}

// After an outage, how the queue grew in it says nothing about how it drains.
func TestThePaceForgetsWhatWasBeforeTheLineChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trend
		tr.note(time.Now(), time.Time{}, 0)
		time.Sleep(time.Second / 4)
		opened := time.Now()
		time.Sleep(time.Second / 4)
		tr.note(time.Now(), opened, 3000)
		if got := tr.pace(time.Now(), opened, 3000); got != nil {
			t.Errorf("at once: got %v, want nothing known", *got)
		}
		time.Sleep(2 * time.Second)
		if got := tr.pace(time.Now(), opened, 2500); !equal(got, new(250.0)) {
			t.Errorf("then: got %v, want 250", show(got))
		}
	})
}

func TestTheTrendKeepsNoMoreThanItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trend
		for range 10_000 {
			tr.note(time.Now(), time.Time{}, 1)
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
