package sender

import (
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
)

func at(n uint64) queue.Address { return queue.Address{Lo: n} }

func fresh(n uint64) queue.Delivery { return queue.Delivery{Address: at(n)} }

func TestTheGateAsATable(t *testing.T) {
	const limit = 3
	type step struct {
		op   string
		addr uint64
		want State
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"one deny closes it", []step{{"deny", 1, Denied}}},
		{"a run of failures closes it", []step{{"fail", 1, Open}, {"fail", 2, Open}, {"fail", 3, Probing}}},
		{"a pass ends the run", []step{{"fail", 1, Open}, {"fail", 2, Open}, {"pass", 3, Open}, {"fail", 4, Open}, {"fail", 5, Open}, {"fail", 6, Probing}}},
		{"an event's own trouble does not count", []step{{"own", 1, Open}, {"own", 2, Open}, {"own", 3, Open}, {"own deny", 4, Open}}},
		{"a passing probe opens it", []step{{"deny", 1, Denied}, {"pass", 2, Open}}},
		{"a failing probe does not", []step{{"deny", 1, Denied}, {"fail", 2, Denied}, {"deny", 3, Denied}}},
		{"a denied probe makes an outage a denial", []step{{"fail", 1, Open}, {"fail", 2, Open}, {"fail", 3, Probing}, {"deny", 4, Denied}}},
		{"what began before it closed does not open it", []step{{"deny", 1, Denied}, {"stale pass", 2, Denied}}},
		{"what began before it closed does not prolong it", []step{{"deny", 1, Denied}, {"stale fail", 2, Denied}, {"pass", 3, Open}}},
		{"a denied event that others outlive earns tolerance", []step{
			{"deny", 1, Denied}, {"pass", 2, Open}, {"deny", 3, Open}, {"deny", 4, Open}, {"pass", 5, Open},
			{"deny", 6, Open}, {"deny", 7, Open}, {"deny", 8, Denied}}},
		{"a denial of many earns none", []step{
			{"deny", 1, Denied}, {"deny", 2, Denied}, {"deny", 3, Denied}, {"pass", 4, Open}, {"deny", 5, Denied}}},
		{"nor does what began before it closed", []step{
			{"deny", 1, Denied}, {"stale pass", 2, Denied}, {"deny", 3, Denied}, {"deny", 4, Denied}, {"pass", 5, Open}, {"deny", 6, Denied}}},
		{"tolerance ends", []step{{"deny", 1, Denied}, {"pass", 2, Open}, {"an hour", 0, Open}, {"deny", 3, Denied}}},
		{"a new key ends tolerance", []step{{"deny", 1, Denied}, {"pass", 2, Open}, {"renew", 0, Open}, {"deny", 3, Denied}}},
		{"signs of life open it after an outage", []step{{"fail", 1, Open}, {"fail", 2, Open}, {"fail", 3, Probing}, {"alive", 4, Open}}},
	} {
		now := time.Now()
		g := newGate(limit, newDelays(time.Second, time.Minute), now)
		for i, s := range c.steps {
			switch s.op {
			case "pass":
				g.pass(now, g.epoch)
			case "alive":
				g.alive(now, g.epoch)
			case "stale pass":
				g.pass(now, g.epoch-1)
			case "fail", "deny", "own", "own deny":
				g.fail(now, g.epoch, fresh(s.addr), s.op == "deny" || s.op == "own deny", s.op == "own" || s.op == "own deny")
			case "stale fail":
				g.fail(now, g.epoch-1, fresh(s.addr), false, false)
			case "an hour":
				now = now.Add(tolerance)
			case "renew":
				g.renew(now)
			}
			if g.state != s.want {
				t.Errorf("%s: after step %d (%s) the gate is %s, want %s", c.name, i, s.op, g.state, s.want)
				break
			}
		}
	}
}

func TestProbesAreSpacedFurtherAndFurtherAsMoreEventsFail(t *testing.T) {
	now := time.Now()
	g := newGate(10, newDelays(time.Second, 5*time.Minute), now)
	g.fail(now, g.epoch, fresh(0), true, false)
	for n := range uint64(30) {
		if wait := g.next.Sub(now); wait < time.Second || wait > 5*time.Minute {
			t.Fatalf("wait of %v before probe %d", wait, n)
		}
		now = g.next
		g.launch()
		g.fail(now, g.epoch, fresh(n+1), true, false)
	}
	if wait := g.next.Sub(now); wait < 5*time.Minute/3 {
		t.Errorf("the wait has grown to %v only", wait)
	}
}

func TestOneEventFailingAgainDoesNotDelayTheProbeOfAnother(t *testing.T) {
	now := time.Now()
	g := newGate(10, newDelays(time.Second, 5*time.Minute), now)
	for range 30 {
		g.fail(now, g.epoch, fresh(1), true, false)
	}
	if wait := g.next.Sub(now); wait > 3*time.Second {
		t.Errorf("a fresh event would wait %v", wait)
	}
}

func TestAProbeThatMayBeABadEventIsFollowedByAnotherSoon(t *testing.T) {
	now := time.Now()
	g := newGate(3, newDelays(time.Second, 5*time.Minute), now)
	for n := range uint64(20) {
		g.fail(now, g.epoch, fresh(n), false, false)
	}
	var short int
	for n := range 20 {
		g.fail(now, g.epoch, queue.Delivery{Address: at(uint64(n)), Attempts: 1}, false, false)
		if g.next.Sub(now) == time.Second {
			short++
		}
	}
	if short != 10 {
		t.Errorf("%d of 20 failed probes were followed by another at once, want every other", short)
	}
}

func TestAKickMakesAProbeDueAtOnce(t *testing.T) {
	now := time.Now()
	g := newGate(10, newDelays(time.Minute, time.Hour), now)
	g.kick(now)
	if g.urged || !g.next.IsZero() {
		t.Error("an open gate was kicked")
	}
	g.fail(now, g.epoch, fresh(1), true, false)
	g.kick(now)
	if g.next.After(now) {
		t.Errorf("the next probe is %v away", g.next.Sub(now))
	}
	g.launch()
	g.kick(now) // while the probe is out
	g.fail(now, g.epoch, fresh(1), true, false)
	if g.next.After(now) {
		t.Errorf("after a kick during a probe the next is %v away", g.next.Sub(now))
	}
}

func TestTheBestProbeIsTheOneThatTellsMost(t *testing.T) {
	g := newGate(10, newDelays(time.Second, time.Minute), time.Now())
	for _, n := range []uint64{1, 2, 3} {
		g.remember(at(n))
	}
	d := func(n uint64, strikes, attempts int) queue.Delivery {
		return queue.Delivery{Address: at(n), Strikes: float64(strikes), Attempts: attempts}
	}
	for _, c := range []struct {
		name       string
		candidates []queue.Delivery
		want       uint64
	}{
		{"the only one", []queue.Delivery{d(3, 5, 5)}, 3},
		{"one that has not failed since", []queue.Delivery{d(1, 0, 1), d(9, 7, 30)}, 9},
		{"whose failure is longest ago", []queue.Delivery{d(3, 0, 1), d(2, 0, 1)}, 2},
		{"with the fewest strikes", []queue.Delivery{d(7, 2, 2), d(8, 1, 40)}, 8},
		{"with the fewest attempts", []queue.Delivery{d(7, 0, 2), d(8, 0, 0), d(9, 0, 1)}, 8},
	} {
		if got := c.candidates[g.pick(c.candidates)].Address; got != at(c.want) {
			t.Errorf("%s: picked %v, want %d", c.name, got, c.want)
		}
	}
	picked := map[int]int{}
	for range 1000 {
		picked[g.pick([]queue.Delivery{d(7, 0, 0), d(8, 0, 0), d(9, 0, 0)})]++
	}
	if len(picked) != 3 || picked[0] > 500 {
		t.Errorf("among equals picked %v, want each about as often", picked)
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
