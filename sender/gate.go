package sender

import (
	"math/rand/v2"
	"slices"
	"time"

	"trackd/queue"
)

// gate decides whether the line is open, and when the next probe may go while
// it is not. It learns only from attempts of its present epoch: those begun
// before it closed, or with an older key, say nothing about now.
//
// It closes after one deny, or after limit failures without a pass between.
// It opens when a probe passes.
//
// A single bad event in an otherwise idle queue may close it too. That holds
// nobody up: as long as only few events speak against the line, their failing
// again does not lengthen the interval, so an event that comes fresh is a probe
// at once. (Each waits longer and longer by itself, so they do not swarm.)
type gate struct {
	state State // Open, Probing or Denied
	since time.Time
	limit int
	run   int // failures since the last pass

	// failed holds the events that failed since the last pass, the latest at
	// the end, at most limit of them.
	failed []queue.Address

	delays   delays
	interval time.Duration // between the last probe and the next
	next     time.Time     // when the next probe may go
	out      bool          // a probe is out
	urged    bool          // an operator wants the next probe now
	second   bool          // the next probe, or the one out, is a second opinion
	probes   int           // since it closed
	closedAt time.Time     // the last time

	epoch    uint64    // grows when what is in flight stops to count
	tolerant time.Time // until then a single deny closes nothing
}

// few is how many distinct failing events do speak against the line.
const few = 3

// tolerance is how long single denies are forgiven once one turned out to be
// the event's own trouble: a firewall that dislikes some bodies would else
// close the line again and again.
const tolerance = time.Hour

func newGate(limit int, d delays, now time.Time) gate {
	return gate{state: Open, since: now, limit: limit, delays: d}
}

// pass notes that an attempt was delivered and reports whether that opened the
// gate.
func (g *gate) pass(now time.Time, epoch uint64) (opened bool) {
	if epoch != g.epoch {
		return false
	}
	if g.state == Denied && len(g.failed) <= 2 {
		g.tolerant = now.Add(tolerance)
	}
	return g.alive(now, epoch)
}

// alive notes that the destination is there and talks to us, and opens the
// gate if it was closed for doubt of that.
func (g *gate) alive(now time.Time, epoch uint64) (opened bool) {
	if epoch != g.epoch {
		return false
	}
	opened = g.state != Open
	if opened {
		g.state, g.since, g.out, g.urged = Open, now, false, false
	}
	g.run, g.failed = 0, g.failed[:0]
	return opened
}

// fail notes that an attempt of d failed. own says that this may be the event's
// own trouble. It reports whether the state changed.
func (g *gate) fail(now time.Time, epoch uint64, d queue.Delivery, denied, own bool) (changed bool) {
	if epoch != g.epoch {
		return false
	}
	if g.state != Open {
		return g.probeFailed(now, d, denied, own)
	}
	if own {
		return false
	}
	g.remember(d.Address)
	g.run++
	switch {
	case denied && !now.Before(g.tolerant):
		g.close(now, Denied)
	case g.run < g.limit:
		return false
	case denied:
		g.close(now, Denied)
	default:
		g.close(now, Probing)
	}
	return true
}

func (g *gate) close(now time.Time, state State) {
	g.state, g.since, g.closedAt = state, now, now
	g.probes, g.out, g.urged, g.second = 0, false, false, false
	g.epoch++
	g.delays.reset()
	g.interval = g.delays.next()
	g.next = now.Add(g.interval)
}

func (g *gate) probeFailed(now time.Time, d queue.Delivery, denied, own bool) (changed bool) {
	g.out = false
	known := own || g.remember(d.Address)
	// An event that has failed before may be a bad one. So that it does not
	// cost a long wait just when the line has recovered, another follows soon.
	g.second = !g.second && d.Attempts > 0 && g.interval > 10*g.delays.min
	switch {
	case g.urged:
		g.next = now
	case g.second:
		g.next = now.Add(g.delays.min)
	default:
		if !known || len(g.failed) >= few {
			g.interval = g.delays.next()
		}
		g.next = now.Add(g.interval)
	}
	if denied && !own && g.state == Probing {
		g.state, g.since = Denied, now
		return true
	}
	return false
}

// remember puts addr at the end of failed and reports whether it was there.
func (g *gate) remember(addr queue.Address) (known bool) {
	i := slices.Index(g.failed, addr)
	switch {
	case i >= 0:
		g.failed = slices.Delete(g.failed, i, i+1)
	case len(g.failed) == g.limit:
		g.failed = slices.Delete(g.failed, 0, 1)
	}
	g.failed = append(g.failed, addr)
	return i >= 0
}

// postpone ends a probe that was neither passed nor failed.
func (g *gate) postpone(now time.Time, epoch uint64) {
	if epoch == g.epoch && g.state != Open {
		g.out = false
		g.next = now.Add(g.interval)
	}
}

// launch notes that a probe goes out.
func (g *gate) launch() {
	g.out, g.urged = true, false
	g.probes++
}

// kick makes the next probe due, and the waits after it short again.
func (g *gate) kick(now time.Time) {
	if g.state == Open {
		return
	}
	g.next, g.urged = now, true
	g.delays.reset()
	g.interval = g.delays.next()
}

// renew notes that the key has changed: what is in flight with the old one
// does not count, and a probe that is out does not keep the next one waiting.
func (g *gate) renew(now time.Time) {
	g.epoch++
	g.out, g.tolerant = false, time.Time{}
	g.kick(now)
}

// pick returns the index of the candidate whose probe tells most: one that has
// not failed since the last pass, or else the one whose failure is longest ago;
// among equals the one with the fewest strikes, then the fewest attempts, then
// any: bad events tend to come together.
func (g *gate) pick(candidates []queue.Delivery) int {
	order := rand.Perm(len(candidates))
	best := order[0]
	for _, i := range order[1:] {
		if g.before(candidates[i], candidates[best]) {
			best = i
		}
	}
	return best
}

func (g *gate) before(a, b queue.Delivery) bool {
	rankA, rankB := slices.Index(g.failed, a.Address), slices.Index(g.failed, b.Address)
	switch {
	case rankA != rankB:
		return rankA < rankB
	case a.Strikes != b.Strikes:
		return a.Strikes < b.Strikes
	default:
		return a.Attempts < b.Attempts
	}
}
