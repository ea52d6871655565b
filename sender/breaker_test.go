package sender

import (
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
)

func at(n uint64) queue.Address { return queue.Address{Lo: n} }

func fresh(n uint64) queue.Delivery { return queue.Delivery{Address: at(n)} }

func newTestBreaker(now time.Time) breaker {
	return newBreaker(newDelays(time.Second, 5*time.Minute), now)
}

func TestTheBreakerAsATable(t *testing.T) {
	type step struct {
		times int
		op    string
		want  State
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"sixteen failures trip it", []step{{15, "fail", Open}, {1, "fail", Probing}}},
		{"so do a few over half a minute", []step{{5, "fail", Open}, {1, "half a minute", Open}, {1, "fail", Probing}}},
		{"but not fewer", []step{{4, "fail", Open}, {1, "half a minute", Open}, {1, "fail", Open}, {1, "fail", Probing}}},
		{"a pass ends the run", []step{{15, "fail", Open}, {1, "pass", Open}, {15, "fail", Open}, {1, "fail", Probing}}},
		{"so does a sign of life", []step{{15, "fail", Open}, {1, "alive", Open}, {15, "fail", Open}}},
		{"one answer about us trips it", []step{{1, "pass", Open}, {1, "surely", Denied}}},
		{"whoever's attempt it was", []step{{1, "pass", Open}, {1, "own surely", Denied}}},
		{"one 403 does where nothing has passed", []step{{1, "deny", Denied}}},
		{"but not while others pass", []step{{1, "pass", Open}, {15, "deny", Open}, {1, "deny", Denied}}},
		{"nor if it may be the event's own", []step{{15, "own deny", Open}, {1, "own deny", Denied}}},
		{"an event's own failures do not count while others pass", []step{{1, "pass", Open}, {99, "own", Open}}},
		{"they count once nothing has passed for long", []step{{1, "pass", Open}, {99, "own", Open}, {1, "long", Open}, {15, "own", Open}, {1, "own", Probing}}},
		{"a passing probe makes it recover", []step{{1, "surely", Denied}, {1, "pass", Open}}},
		{"a failing one does not", []step{{1, "surely", Denied}, {1, "fail", Denied}, {1, "surely", Denied}}},
		{"a denied probe makes an outage a denial", []step{{16, "fail", Probing}, {1, "deny", Denied}}},
		{"unless it may be its own", []step{{16, "fail", Probing}, {1, "own deny", Probing}, {1, "own surely", Denied}}},
		{"a sign of life makes it recover", []step{{16, "fail", Probing}, {1, "alive", Open}}},
		{"what began before it tripped does not", []step{{16, "fail", Probing}, {1, "stale pass", Probing}, {1, "stale fail", Probing}, {1, "pass", Open}}},
		{"tripping again at once lets twice as many through", []step{
			{16, "fail", Probing}, {2, "pass", Open}, {16, "fail", Probing}, {2, "pass", Open}, {31, "fail", Open}, {1, "fail", Probing},
			{2, "pass", Open}, {63, "fail", Open}, {1, "fail", Probing}}},
		{"a little less far if only the probe passed", []step{
			{16, "fail", Probing}, {1, "pass", Open}, {16, "fail", Probing}, {1, "pass", Open}, {32, "fail", Probing},
			{1, "pass", Open}, {64, "fail", Probing}, {1, "pass", Open}, {63, "fail", Open}, {1, "fail", Probing}}},
		{"nor after it held for long", []step{
			{16, "fail", Probing}, {2, "pass", Open}, {16, "fail", Probing}, {2, "pass", Open}, {1, "long", Open}, {32, "fail", Probing}, {2, "pass", Open}, {16, "fail", Probing}}},
	} {
		now := time.Now()
		b := newTestBreaker(now)
		for i, s := range c.steps {
			for range s.times {
				switch s.op {
				case "pass", "alive":
					b.alive(now, b.epoch, s.op == "pass")
				case "stale pass":
					b.alive(now, b.epoch-1, true)
				case "stale fail":
					b.fail(now, b.epoch-1, failure{denied: true, surely: true})
				case "fail":
					b.fail(now, b.epoch, failure{})
				case "own":
					b.fail(now, b.epoch, failure{own: true})
				case "deny":
					b.fail(now, b.epoch, failure{denied: true})
				case "own deny":
					b.fail(now, b.epoch, failure{denied: true, own: true})
				case "surely":
					b.fail(now, b.epoch, failure{denied: true, surely: true})
				case "own surely":
					b.fail(now, b.epoch, failure{denied: true, surely: true, own: true})
				case "half a minute":
					now = now.Add(tripFewAfter)
				case "long":
					now = now.Add(ownCountsAfter)
				}
			}
			if b.state != s.want {
				t.Errorf("%s: after step %d (%d × %s) the breaker is %s, want %s", c.name, i, s.times, s.op, b.state, s.want)
				break
			}
		}
	}
}

func TestProbesAreSpacedFurtherAndFurther(t *testing.T) {
	now := time.Now()
	b := newTestBreaker(now)
	b.fail(now, b.epoch, failure{denied: true, surely: true})
	for n := range 30 {
		wait := b.due().Sub(now)
		if wait < time.Second || wait > 5*time.Minute {
			t.Fatalf("wait of %v before probe %d", wait, n)
		}
		now = b.due()
		b.launch(now)
		b.fail(now, b.epoch, failure{})
	}
	if wait := b.due().Sub(now); wait < 5*time.Minute/3 {
		t.Errorf("the wait has grown to %v only", wait)
	}
}

func TestAProbeIsOfAnotherKindThanTheLast(t *testing.T) {
	now := time.Now()
	b := newTestBreaker(now)
	b.fail(now, b.epoch, failure{denied: true, surely: true})
	for n, want := range []probeKind{probeNewest, probeOldest, probeRandom, probeNewest} {
		if got := b.launch(now); got != want {
			t.Errorf("probe %d is of kind %d, want %d", n, got, want)
		}
	}
	later := now.Add(failedHeadsAfter)
	failed := 0
	for range 10 {
		if b.launch(later) == probeFailed {
			failed++
		}
	}
	if failed != 5 {
		t.Errorf("%d of 10 probes after %v are of events that failed before, want every other", failed, failedHeadsAfter)
	}
}

func TestAnArrivalEarnsAProbeButNotTooOften(t *testing.T) {
	now := time.Now()
	b := newTestBreaker(now)
	b.fail(now, b.epoch, failure{denied: true, surely: true})
	for range 20 { // until the waits are long
		b.launch(now)
		b.fail(now, b.epoch, failure{})
	}
	b.newcomer = true
	if b.due().After(now) {
		t.Errorf("the probe of an arrival is due in %v, want now", b.due().Sub(now))
	}
	if kind := b.launch(now); kind != probeNewest || b.newcomer {
		t.Errorf("the probe is of kind %d, newcomer %t; want the newest", kind, b.newcomer)
	}
	b.fail(now, b.epoch, failure{})
	b.next = now.Add(time.Hour)
	b.newcomer = true
	if wait := b.due().Sub(now); wait != extraEvery {
		t.Errorf("the next arrival is probed after %v, want %v", wait, extraEvery)
	}
	// After something passed, the first arrival is probed at once again.
	b.alive(now, b.epoch, true)
	b.fail(now, b.epoch, failure{denied: true, surely: true})
	b.newcomer = true
	if b.due().After(now) {
		t.Errorf("after a pass the probe of an arrival is due in %v, want now", b.due().Sub(now))
	}
}

func TestProbeNowMakesAProbeDueAtOnce(t *testing.T) {
	now := time.Now()
	b := newBreaker(newDelays(time.Minute, time.Hour), now)
	b.probeNow(now)
	if b.urged || !b.next.IsZero() {
		t.Error("an open breaker was urged")
	}
	b.fail(now, b.epoch, failure{denied: true, surely: true})
	b.probeNow(now)
	if b.due().After(now) {
		t.Errorf("the next probe is %v away", b.due().Sub(now))
	}
	b.launch(now)
	b.probeNow(now) // while the probe is out
	b.fail(now, b.epoch, failure{})
	if b.due().After(now) {
		t.Errorf("asked for during a probe, the next is %v away", b.due().Sub(now))
	}
	for range 20 {
		b.launch(now)
		b.fail(now, b.epoch, failure{})
	}
	b.probeNow(now)
	b.launch(now)
	b.fail(now, b.epoch, failure{})
	if wait := b.due().Sub(now); wait > 6*time.Minute {
		t.Errorf("the wait after it is %v, want it short again", wait)
	}
}

func TestDelaysStayInBoundsAndNeverEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDelays(500*time.Millisecond, 5*time.Minute)
		from := time.Now()
		for n := 0; time.Since(from) < 72*time.Hour; n++ {
			wait := d.next()
			if wait < 500*time.Millisecond || wait > 5*time.Minute {
				t.Fatalf("wait %d is %v", n, wait)
			}
			if time.Since(from) > 15*time.Minute && wait < 100*time.Second {
				t.Fatalf("wait %d is %v after %v", n, wait, time.Since(from))
			}
			time.Sleep(wait)
		}
	})
}

func TestDelaysGrowWithFailures(t *testing.T) {
	d := newDelays(time.Second, time.Hour)
	for n, want := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 5: 32 * time.Second, 1e9: 40 * time.Minute} {
		var sum time.Duration
		for range 1000 {
			sum += d.after(n)
		}
		if mean := sum / 1000; mean < want*9/10 || mean > want*11/10 {
			t.Errorf("after failure %d the mean wait is %v, want about %v", n, mean, want)
		}
	}
	tight := newDelays(time.Second, time.Second)
	if got := tight.after(3); got != time.Second {
		t.Errorf("with equal bounds the wait is %v", got)
	}
}
