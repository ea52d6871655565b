package admin

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trackd/internal/status"
	"trackd/queue"
)

func TestTheOutlookFollowsFromAgeAndPace(t *testing.T) {
	now := time.Now()
	delivering := status.Upstream{State: status.Open, Since: now.Add(-time.Hour), LastSuccess: now, Rate: 250}
	during := func(state status.State) status.Upstream {
		return status.Upstream{State: state, Since: now, LastSuccess: now, Rate: 250}
	}
	for _, test := range []struct {
		name    string
		queued  uint64
		oldest  time.Duration
		pace    *float64
		up      status.Upstream
		seconds *float64
		late    *bool
		summary string
	}{
		{"an empty queue", 0, 0, nil, delivering, new(0.0), new(false), "nothing waits"},
		{"an empty queue in an outage", 0, 0, nil, during(status.Probing), new(0.0), new(false), "nothing waits"},
		{"a pace not known yet", 10, time.Hour, nil, delivering, nil, nil, "how fast the queue drains is not known yet: ask again in a second"},
		{"a queue that drains", 1200, time.Hour, new(100.0), delivering, new(12.0), new(false), "empty in 12s, before anything passes 72 h"},
		{"a part of a second counts as one", 1, 0, new(3.0), delivering, new(1.0), new(false), "empty in 1s, before anything passes 72 h"},
		{"a queue that drains too late", 360_000, 70 * time.Hour, new(10.0), delivering, new(36000.0), new(true),
			"empty in 10h 0m: events will pass 72 h before they are delivered, and then trigger no campaigns"},
		{"exactly at the cliff", 3600, 71 * time.Hour, new(1.0), delivering, new(3600.0), new(false), "empty in 1h 0m, before anything passes 72 h"},
		{"a queue that grows", 5, 70 * time.Hour, new(-1.0), delivering, nil, nil,
			"the queue does not get shorter; the oldest event passes 72 h in 2h 0m if it is not delivered before"},
		{"a queue that stands still", 5, 0, new(0.0), delivering, nil, nil,
			"the queue does not get shorter; the oldest event passes 72 h in 3d 0h if it is not delivered before"},
		{"past it already", 5, 72 * time.Hour, new(100.0), delivering, new(1.0), new(true),
			"the oldest event is past 72 h: it is still delivered, but triggers no campaigns any more"},

		// Without deliveries a pace of the past is no outlook.
		{"an outage", 1200, 70 * time.Hour, new(12.0), during(status.Probing), nil, nil,
			"nothing is delivered while the upstream is probing; the oldest event passes 72 h in 2h 0m"},
		{"a wrong key", 1200, 72 * time.Hour, new(12.0), during(status.Denied), nil, new(true),
			"nothing is delivered while the upstream is denied; the oldest event is past 72 h: it is still delivered, but triggers no campaigns any more"},
		{"throttling", 1200, 0, new(12.0), during(status.Throttled), nil, nil,
			"when it will be empty cannot be known while the destination throttles; the oldest event passes 72 h in 3d 0h"},
		{"a pause", 1200, 0, new(12.0), during(status.Paused), nil, nil,
			"nothing is delivered while sending is paused; the oldest event passes 72 h in 3d 0h"},
		{"an outage that is not told yet", 1200, 0, new(12.0),
			status.Upstream{State: status.Open, Since: now.Add(-time.Hour), LastSuccess: now.Add(-4 * time.Second), Rate: 250}, nil, nil,
			"nothing was delivered for 4s; the oldest event passes 72 h in 3d 0h"},
		{"an hour of it", 1200, 0, new(12.0), status.Upstream{State: status.Open, Since: now.Add(-time.Hour), Rate: 250}, nil, nil,
			"nothing was delivered for 1h 0m; the oldest event passes 72 h in 3d 0h"},
		{"a rate of one in ten seconds", 12, 0, new(0.1),
			status.Upstream{State: status.Open, LastSuccess: now.Add(-9 * time.Second), Rate: 0.1}, new(120.0), new(false),
			"empty in 2m 0s, before anything passes 72 h"},
	} {
		got := foresee(now, test.queued, test.oldest, test.pace, test.up)
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

// However the queue moved before and whenever somebody looks, what the status
// says of its pace is what the last ten seconds were.
func TestTheOutlookNeverContradictsTheLastTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &lengths{}
		s, err := New(Options{Queue: q, Letters: q, Control: &orders{}, Take: func([]byte) error { return nil },
			Upstream: func() status.Upstream {
				return status.Upstream{State: status.Open, LastSuccess: time.Now(), Rate: 250}
			}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go s.sample(ctx)
		var history []uint64 // one a second
		for second := range 600 {
			queued := q.queued.Load()
			switch { // it grows by 238/s for a minute and a half, then falls by 12/s, over and over, with noise
			case second%200 < 90:
				queued += 238
			case queued > 12:
				queued -= 12
			}
			queued += uint64(second*7919%5) - min(queued, 2)
			q.queued.Store(queued)
			time.Sleep(time.Second)
			synctest.Wait()
			history = append(history, queued)
			if second%37 != 0 && second%200 != 101 { // somebody looks now and then
				continue
			}
			report, err := s.Status(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if second < 11 {
				continue
			}
			recent := history[len(history)-11:]
			highest, lowest := slices.Max(recent), slices.Min(recent)
			pace := report.Outlook.NetDrain
			if pace == nil {
				t.Errorf("second %d: nothing is said about ten seconds that were seen", second)
				continue
			}
			ideal := (float64(recent[0]) - float64(recent[10])) / 10
			if *pace > float64(highest-lowest) || *pace < -float64(highest-lowest) || *pace*ideal < 0 || math.Abs(*pace-ideal) > 30 {
				t.Errorf("second %d: said %.1f, the last ten seconds were %.1f (%v)", second, *pace, ideal, recent)
			}
		}
	})
}

// lengths is a queue of which only the length matters.
type lengths struct {
	Queue
	Letters
	queued atomic.Uint64
}

func (l *lengths) Stats(context.Context) (queue.Stats, error) {
	n := l.queued.Load()
	return queue.Stats{Account: queue.Account{Queued: n, Taken: n}, Exact: true}, nil
}

// orders is a control that nobody uses.
type orders struct{ Control }

func (*orders) IntakeStopped() time.Time  { return time.Time{} }
func (*orders) LastReload() status.Reload { return status.Reload{} }

func TestThePaceIsThatOfTheLastTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trend
		for i, step := range []struct {
			after  time.Duration
			queued uint64
			want   *float64
		}{
			{0, 1000, nil},                       // the first look
			{time.Second / 2, 900, nil},          // too soon to say
			{time.Second / 2, 800, new(200.0)},   // a second after the first
			{9 * time.Second, 1000, new(0.0)},    // ten after it
			{10 * time.Second, 1200, new(-20.0)}, // it has grown since the one before
			{paceWindow + 1, 100, nil},           // after a silence nothing is known
			{paceWindow, 40, new(6.0)},           // and then it is again
			{sampleEvery, 40, new(0.0)},          // what is older does not count
			{paceWindow - sampleEvery, 40, new(0.0)},
		} {
			time.Sleep(step.after)
			tr.note(time.Now(), step.queued)
			if got := tr.pace(time.Now(), time.Time{}, step.queued); !equal(got, step.want) {
				t.Errorf("step %d: got %v, want %v", i, show(got), show(step.want))
			}
		}
	})
}

// After an outage, how the queue grew in it says nothing about how it drains.
func TestThePaceForgetsWhatWasBeforeTheUpstreamChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tr trend
		tr.note(time.Now(), 0)
		time.Sleep(time.Second / 4)
		opened := time.Now()
		time.Sleep(time.Second / 4)
		tr.note(time.Now(), 3000)
		if got := tr.pace(time.Now(), opened, 3000); got != nil {
			t.Errorf("at once: got %v, want nothing known", *got)
		}
		time.Sleep(2 * time.Second)
		if got := tr.pace(time.Now(), opened, 2500); !equal(got, new(250.0)) {
			t.Errorf("then: got %v, want 250", show(got))
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
