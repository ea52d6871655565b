package sender

import (
	"context"
	"slices"
	"sync"
	"time"

	"trackd/queue"
)

// scheduler is one Run of a Sender. Its plain fields are owned by the goroutine
// in loop; the channels and jobs lead to the others.
type scheduler struct {
	*Sender

	wants   chan int   // to the leaser, capacity 1
	leases  chan lease // from the leaser, capacity 1
	jobs    *jobs      // to the workers
	reports chan report
	batches chan []queue.Outcome // to the settler
	settled chan struct{}        // from the settler after each, capacity 1

	window   window       // leased, not with the workers
	retries  []*item      // leased, have failed, free to be sent again
	parked   parked       // failed, wait in the queue
	lanes    lanes        // the order of all of these
	launched int          // jobs not reported yet
	ahead    int          // of those, how many no worker can have had in hand since the last step
	asked    bool         // the leaser is at work
	outdated bool         // and began before events were given back that come before its own
	credit   float64      // of retries, for their share of what is sent
	newest   bool         // the newest fresh event was sent last, not the oldest
	flying   [sources]int // of launched, by where they were taken from

	// While a probe of an event that had failed before is out, and after it failed:
	// then one that waits for it is tried, as a second opinion.
	headProbed, doubted *item

	openTime time.Duration // how long the upstream has been open, in all
	wasOpen  bool          // at the last step
	stepped  time.Time     // when that was

	outcomes []queue.Outcome // for the settler, when it is free
	oldest   time.Time       // when outcomes began to gather; zero: there are none

	// What is in outcomes, and in the batch that the settler has: parked events that
	// were buried, so that a lease which brings one came before the settling; and
	// whether events are given back, before which nothing more is leased.
	burying, settlingBuried     map[queue.Address]bool
	returning, settlingReturned bool
	settling                    bool // the settler is at work

	stopping bool
	err      error     // why, if not by the context
	begin    time.Time // of Run, with both clocks
	swept    time.Time // when events were last looked at for their age
}

const (
	chunk       = 64   // leased at once at most while the upstream is open and the rate is low
	fill        = 256  // leased at once to have candidates for probes
	maxRetries  = 1024 // failed events kept at hand
	maxOutcomes = 1024 // unsettled; with more nothing new is sent

	// gather is how long an outcome may wait for others to be settled with.
	gather = 5 * time.Millisecond
)

func newScheduler(s *Sender) *scheduler {
	return &scheduler{
		Sender:  s,
		wants:   make(chan int, 1),
		leases:  make(chan lease, 1),
		jobs:    newJobs(),
		reports: make(chan report, s.maxLaunched()),
		batches: make(chan []queue.Outcome),
		settled: make(chan struct{}, 1),
		window:  window{blocked: map[*item]struct{}{}},
		parked:  parked{known: map[queue.Address]*item{}},
		lanes:   newLanes(s.orderHold),
		burying: map[queue.Address]bool{},
		begin:   time.Now(),
	}
}

// maxLaunched is how many jobs there may be: one in the hand of each worker, and
// one each to go on with, so that none waits for the scheduler to come round.
func (s *Sender) maxLaunched() int { return 2 * s.workers }

// run starts the other goroutines, schedules until everything is settled, and
// stops them.
func (s *scheduler) run(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	leasing, stopLeasing := context.WithCancel(base)
	sending, cut := context.WithCancel(base)
	settling, giveUp := context.WithCancel(base)
	defer stopLeasing()
	defer cut()
	defer giveUp()

	var others sync.WaitGroup
	others.Go(func() { s.leaser(leasing) })
	others.Go(func() { s.settler(settling) })
	for range s.workers {
		others.Go(func() { s.worker(sending) })
	}

	s.loop(ctx.Done())
	stopLeasing()
	defer time.AfterFunc(s.grace*3/4, cut).Stop()
	defer time.AfterFunc(s.grace, giveUp).Stop()
	s.loop(nil)

	close(s.wants)
	s.jobs.close()
	close(s.batches)
	others.Wait()
	s.client.hangUp()
	return s.err
}

// loop does what is due, then waits for the next thing to happen. It returns
// when it has to begin to stop, and, called again, when nothing is left to do.
func (s *scheduler) loop(stop <-chan struct{}) {
	if stop == nil {
		s.stopping = true
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		now := time.Now()
		wait := s.step(now)
		if s.stopping && (stop != nil || s.launched == 0 && !s.asked && len(s.outcomes) == 0 && !s.settling) {
			return
		}
		s.busy.Store(s.launched >= s.workers)
		settler, gathering := s.settlerIfDue(now)
		var due <-chan time.Time
		if wait = sooner(wait, gathering); wait > 0 {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-stop:
			return
		case <-s.wake:
		case <-s.pulse:
		case <-due:
		case r := <-s.reports:
			s.reported(r)
		case l := <-s.leases:
			s.leased(l)
		case settler <- s.outcomes:
			s.outcomes, s.oldest, s.settling = nil, time.Time{}, true
			s.settlingReturned, s.returning = s.returning, false
			s.settlingBuried = s.burying
			s.burying = map[queue.Address]bool{}
		case <-s.settled:
			s.settling, s.settlingReturned, s.settlingBuried = false, false, nil
		}
	}
}

// sooner is the shorter of two waits, where 0 means that there is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// settlerIfDue is where outcomes go. It is nil, which never takes any, when
// there are none, or while they may wait for others; then gathering is how much
// longer.
func (s *scheduler) settlerIfDue(now time.Time) (settler chan<- []queue.Outcome, gathering time.Duration) {
	if len(s.outcomes) == 0 || s.settling {
		return nil, 0
	}
	if s.oldest.IsZero() {
		s.oldest = now
	}
	gathering = gather - now.Sub(s.oldest)
	if gathering <= 0 || len(s.outcomes) >= chunk || s.launched == 0 || s.stopping {
		return s.batches, 0
	}
	return nil, gathering
}

// step does all that can be done now and returns how long until there may be
// more; 0 means until something happens.
func (s *scheduler) step(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wasOpen {
		s.openTime += now.Sub(s.stepped)
	}
	s.wasOpen, s.stepped = s.health.state(now) == Open, now
	s.health.limiter.dropExcess(now, s.ahead)
	defer func() { s.ahead = max(s.launched-s.workers, 0) }()
	hold := s.mustHold(now)
	s.jobs.understood(0, hold)
	if hold {
		s.takeBack()
	}
	switch {
	case s.stopping, s.health.paused:
		s.giveBack()
		return 0
	case s.health.breaker.state == Open:
		return s.flow(now)
	default:
		return s.probe(now)
	}
}

// mustHold reports whether nothing but probes may be tried.
func (s *scheduler) mustHold(now time.Time) bool {
	return s.stopping || s.health.paused || s.health.breaker.state != Open || s.health.limiter.hold.After(now)
}

// flow sends what the rate allows.
func (s *scheduler) flow(now time.Time) time.Duration {
	// Lease what goes out within a second: what is held here waits behind nothing,
	// while due retries wait in the queue. Where bad events may stand before the
	// good ones, lease on until there are some behind them.
	size := min(max(int(s.health.limiter.rate), 1), max(chunk, 4*s.workers), s.window.room())
	if len(s.window.ready) < min(size, s.workers) || s.health.evidence.mixed(now) {
		s.lease(size)
	}
	s.sweep(now)
	released, ready := s.lanes.release(s.openTime)
	s.metrics.released[releasedHold].Add(float64(released))
	s.unblock(ready)
	var held time.Duration
	if len(s.lanes.holding) > 0 {
		held = s.lanes.holding[0].until - s.openTime
	}
	for s.launched < s.maxLaunched() && len(s.outcomes) < maxOutcomes {
		// What is paid for and not sent takes up room in the burst.
		from := s.next(now)
		if from == fromNowhere || s.launched-s.workers >= s.health.limiter.bucket.Burst() {
			break
		}
		if wait := s.health.limiter.take(now); wait > 0 {
			return sooner(wait, held)
		}
		s.launch(s.take(from), from, false)
	}
	return held
}

// next says where the event to be sent next is taken from.
func (s *scheduler) next(now time.Time) source {
	e, fresh := &s.health.evidence, len(s.window.ready)
	newest := false // the newest stands behind all that are known to be bad
	if fresh > 0 && e.mixed(now) {
		newest = s.window.ready[fresh-1].address.Compare(e.failedUpTo) > 0
	}

	// Where failures take long, as time-outs do, some workers are kept for the
	// events that are least suspect.
	oldestMost, retriesMost := s.maxLaunched(), s.maxLaunched()
	if e.slow() {
		suspects := max(s.workers*3/4, 1) // of both together
		retriesMost = suspects - s.flying[fromOldest]
		if fresh > 0 {
			retriesMost = min(retriesMost, max(s.workers/4, 1))
		}
		if e.mixed(now) {
			oldestMost = min(suspects-s.flying[fromRetries], max(s.workers/2, 1))
		}
	}

	// Retries have a share of what is sent, and all of it when there is nothing else.
	if len(s.retries) > 0 && s.flying[fromRetries] < retriesMost && (fresh == 0 || s.credit+e.retryShare() >= 1) {
		return fromRetries
	}

	// The oldest fresh events go first. Where bad ones may stand before the good
	// ones, the newest go in turn with them.
	switch {
	case fresh == 0 && s.window.room() <= s.workers && s.launched < s.workers && s.lanes.relieve() != nil:
		return fromLanes // one hot person must not idle the workers for all
	case fresh == 0:
		return fromNowhere
	case newest && (!s.newest || s.flying[fromOldest] >= oldestMost):
		return fromNewest
	case s.flying[fromOldest] < oldestMost:
		return fromOldest
	}
	return fromNowhere
}

// take removes and returns the next event from there.
func (s *scheduler) take(from source) *item {
	if from == fromLanes {
		it := s.lanes.relieve()
		s.window.remove(it)
		s.retries = slices.DeleteFunc(s.retries, func(other *item) bool { return other == it })
		s.metrics.released[releasedWindow].Inc()
		return it
	}
	if from == fromRetries {
		s.credit = max(s.credit+s.health.evidence.retryShare()-1, 0)
		it := s.retries[0]
		s.retries = s.retries[1:]
		return it
	}
	if len(s.retries) > 0 {
		s.credit = min(s.credit+s.health.evidence.retryShare(), 1)
	}
	if s.newest = from == fromNewest; s.newest {
		return s.window.take(len(s.window.ready) - 1)
	}
	return s.window.take(0)
}

// probe sends one event if a probe is due, and meanwhile fills the window, so
// that there are candidates behind those that fail.
func (s *scheduler) probe(now time.Time) time.Duration {
	if room := s.window.room(); room > 0 {
		s.lease(min(room, fill))
	}
	s.sweep(now)
	breaker := &s.health.breaker
	if breaker.out || len(s.window.ready)+len(s.retries) == 0 {
		return 0
	}
	if wait := max(breaker.due().Sub(now), s.health.limiter.hold.Sub(now)); wait > 0 {
		if s.maxAge > 0 {
			wait = min(wait, sweepEvery)
		}
		return wait
	}
	kind, doubted := breaker.launch(now), s.doubted
	s.doubted, s.headProbed = nil, nil
	var it *item
	if doubted != nil && doubted.where == atHand {
		if it = s.lanes.behind(doubted); it != nil {
			s.window.remove(it)
			s.metrics.released[releasedOpinion].Inc()
		}
	}
	if it == nil && (kind != probeFailed || len(s.retries) == 0) {
		it = s.window.probe(kind)
	}
	if it == nil {
		i := leastSuspect(s.retries)
		it = s.retries[i]
		s.retries = slices.Delete(s.retries, i, i+1)
		s.headProbed = it
	}
	s.launch(it, fromNowhere, true)
	return 0
}

// launch hands it to the workers.
func (s *scheduler) launch(it *item, from source, probe bool) {
	s.launched++
	it.source, it.where = from, launched
	s.flying[from]++
	s.lanes.moved(it)
	s.jobs.put(job{item: it, epoch: s.health.breaker.epoch, probe: probe})
}

// takeBack takes what no worker has begun with.
func (s *scheduler) takeBack() {
	for _, j := range s.jobs.takeBack() {
		s.launched--
		s.flying[j.item.source]--
		s.keep(j.item)
	}
}

// reported takes in r and whatever other reports are there by now.
func (s *scheduler) reported(r report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	troubles := 0
	for more := true; more; {
		s.conclude(now, r)
		if r.verdict.troubles() {
			troubles++
		}
		select {
		case r = <-s.reports:
		default:
			more = false
		}
	}
	s.jobs.understood(troubles, s.mustHold(now))
	s.health.suspects = s.parked.suspects
}

// conclude learns from one report and settles its event. While the upstream is
// in trouble an event that failed is kept at hand, as a candidate for a probe
// and to go on with at once when it recovers, instead of after a delay of its
// own.
func (s *scheduler) conclude(now time.Time, r report) {
	s.launched--
	s.flying[r.item.source]--
	before := s.health.breaker.state
	o := s.health.learn(now, r)
	after := s.health.breaker.state
	if before == Open && after != Open {
		s.client.hangUp()
	}
	s.metrics.settled(o, *r.item.delivery, now)
	if o.Verb != queue.Retry {
		s.outcomes = append(s.outcomes, o)
		s.unblock(s.lanes.leave(r.item))
		return
	}
	d := r.item.delivery
	d.Attempts, d.Strikes, d.FirstFailed, d.Successes = o.Attempts, o.Strikes, o.FirstFailed, o.Successes
	d.LastStatus, d.LastDetail = o.Status, o.Detail
	if !isFirst(*d) && !r.item.failed {
		r.item.failed, r.item.failedAt = true, s.openTime
	}
	if after != Open && !s.stopping && len(s.retries) < maxRetries {
		s.keep(r.item)
		if r.item == s.headProbed && s.lanes.behind(r.item) != nil {
			s.doubted = r.item
			s.health.breaker.again(now)
		}
		return
	}
	s.park(r.item, o.Delay)
}
