package sender

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trackd/queue"
)

// scheduler is one Run of a Sender. Its plain fields are owned by the goroutine
// in loop; the channels lead to its crew.
type scheduler struct {
	*Sender

	wants   chan int  // to the leaser, capacity 1
	loans   chan loan // from the leaser, capacity 1
	jobs    chan job  // to the workers, capacity maxLaunched
	reports chan report
	batches chan []queue.Outcome // to the settler

	// halted tells the workers to try none of the jobs that wait for them, but
	// for probes. So does troubles, which counts the reports of trouble that are
	// on their way: nobody goes on before it is known what they mean.
	halted   atomic.Bool
	troubles atomic.Int32

	held     []queue.Delivery // leased, not launched yet
	spare    *spare
	launched int  // jobs not reported yet
	ahead    int  // of those, how many no worker can have had in hand since the last step
	asked    bool // the leaser is at work
	askedAt  time.Time
	outcomes []queue.Outcome // for the settler, when it is free
	oldest   time.Time       // when outcomes began to gather; zero: there are none
	stopping bool
	err      error // why, if not by the context

	begin time.Time // of Run, with both clocks
}

// spare is an event that failed when the line closed, or as the last probe. It
// is kept at hand instead of being parked in the queue, so that a kick finds
// something to send even if all there is was tried a moment ago.
type spare struct {
	delivery queue.Delivery
	due      time.Time // when it would be tried again without a kick
}

const (
	chunk       = 64   // leased at once at most while the line is open
	candidates  = 16   // leased to choose a probe from
	maxOutcomes = 1024 // unsettled; with more nothing new is sent

	// gather is how long an outcome may wait for others to be settled with.
	gather = 5 * time.Millisecond

	// patience is how long a fresh candidate may take to come before the spare is
	// the probe.
	patience = 20 * time.Millisecond
)

func newScheduler(s *Sender) *scheduler {
	return &scheduler{
		Sender:  s,
		wants:   make(chan int, 1),
		loans:   make(chan loan, 1),
		jobs:    make(chan job, s.maxLaunched()),
		reports: make(chan report, s.maxLaunched()),
		batches: make(chan []queue.Outcome),
		begin:   time.Now(),
	}
}

// run starts the crew, schedules until everything is settled, and sees the crew
// off.
func (s *scheduler) run(ctx context.Context) error {
	base := context.WithoutCancel(ctx)
	leasing, stopLeasing := context.WithCancel(base)
	sending, cut := context.WithCancel(base)
	settling, giveUp := context.WithCancel(base)
	defer stopLeasing()
	defer cut()
	defer giveUp()

	var crew sync.WaitGroup
	crew.Go(func() { s.leaser(leasing) })
	crew.Go(func() { s.settler(settling) })
	for range s.workers {
		crew.Go(func() { s.worker(sending) })
	}

	s.loop(ctx.Done())
	stopLeasing()
	defer time.AfterFunc(s.grace*3/4, cut).Stop()
	defer time.AfterFunc(s.grace, giveUp).Stop()
	s.loop(nil)

	close(s.wants)
	close(s.jobs)
	close(s.batches)
	crew.Wait()
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
		if s.stopping && (stop != nil || s.idle()) {
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
		case l := <-s.loans:
			s.loaned(l)
		case settler <- s.outcomes:
			s.outcomes, s.oldest = nil, time.Time{}
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

func (s *scheduler) idle() bool {
	return s.launched == 0 && !s.asked && len(s.outcomes) == 0
}

// settlerIfDue is where outcomes go. It is nil, which never takes any, when
// there are none, or while they may wait for others; then gathering is how much
// longer.
func (s *scheduler) settlerIfDue(now time.Time) (settler chan<- []queue.Outcome, gathering time.Duration) {
	if len(s.outcomes) == 0 {
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
	s.halt(now)
	s.line.pace.spill(now, s.ahead)
	defer func() { s.ahead = max(s.launched-s.workers, 0) }()
	switch {
	case s.stopping:
		s.giveBack()
		s.parkSpare(now)
		return 0
	case s.line.paused:
		s.giveBack()
		return 0
	case s.line.gate.state == Open:
		s.parkSpare(now)
		return s.flow(now)
	default:
		return s.probe(now)
	}
}

// halt decides whether workers may try what waits for them.
func (s *scheduler) halt(now time.Time) {
	s.halted.Store(s.stopping || s.line.state() != Open || s.line.pace.quiet.After(now))
}

// flow sends what the pace allows.
func (s *scheduler) flow(now time.Time) time.Duration {
	if len(s.held) < s.workers {
		s.ask(now, s.appetite())
	}
	for len(s.held) > 0 && s.launched < s.maxLaunched() && len(s.outcomes) < maxOutcomes {
		if wait := s.line.pace.take(now); wait > 0 {
			return wait
		}
		s.launch(s.held[0], false)
		s.held = s.held[1:]
	}
	return 0
}

// maxLaunched is how many jobs the workers may have: one each in hand, and one
// each to go on with, so that none waits for the scheduler to come round.
func (s *Sender) maxLaunched() int { return 2 * s.workers }

// appetite is how many to lease at once: what goes out within a second, since
// what is held here waits behind nothing, while due retries wait in the queue.
func (s *scheduler) appetite() int {
	return min(max(int(s.line.pace.rate), 1), max(chunk, 4*s.workers))
}

// probe sends one event if a probe is due, preferably one that has not been
// tried since the line closed.
func (s *scheduler) probe(now time.Time) time.Duration {
	gate := &s.line.gate
	if gate.out {
		s.giveBack()
		return 0
	}
	if wait := max(gate.next.Sub(now), s.line.pace.quiet.Sub(now)); wait > 0 {
		s.giveBack()
		return wait
	}
	if len(s.held) > 0 {
		i := gate.pick(s.held)
		s.launch(s.held[i], true)
		s.held = slices.Delete(s.held, i, i+1)
		s.giveBack()
		gate.launch()
		return 0
	}
	s.ask(now, candidates)
	return s.probeSpare(now)
}

// probeSpare sends the spare if it is due and nothing fresh comes.
func (s *scheduler) probeSpare(now time.Time) time.Duration {
	if s.spare == nil {
		return 0
	}
	due := s.askedAt.Add(patience)
	if !s.line.gate.urged && s.spare.due.After(due) {
		due = s.spare.due
	}
	if wait := due.Sub(now); wait > 0 {
		return wait
	}
	d := s.spare.delivery
	s.spare = nil
	if s.expire(now, d) {
		return s.probeSpare(now)
	}
	s.launch(d, true)
	s.line.gate.launch()
	return 0
}

// launch hands d to the workers, who always have room for it.
func (s *scheduler) launch(d queue.Delivery, probe bool) {
	s.launched++
	s.jobs <- job{delivery: d, epoch: s.line.gate.epoch, probe: probe}
}

// ask has the leaser lease, unless it is at it.
func (s *scheduler) ask(now time.Time, max int) {
	if !s.asked {
		s.asked, s.askedAt = true, now
		s.wants <- max
	}
}

// loaned takes in what was leased.
func (s *scheduler) loaned(l loan) {
	s.asked = false
	now := time.Now()
	for _, d := range l.deliveries {
		if !s.expire(now, d) {
			s.held = append(s.held, d)
		}
	}
	if l.err != nil && !s.stopping {
		s.stopping, s.err = true, fmt.Errorf("lease events: %w", l.err)
	}
}

// reported takes in r and whatever other reports are there by now.
func (s *scheduler) reported(r report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for {
		s.conclude(now, r)
		select {
		case r = <-s.reports:
		default:
			return
		}
	}
}

// conclude learns from one report and settles its event, or keeps it as the
// spare.
func (s *scheduler) conclude(now time.Time, r report) {
	s.launched--
	if r.verdict == untried && !s.stopping {
		s.held = append(s.held, r.delivery)
		return
	}
	before := s.line.gate.state
	o := s.line.learn(now, r)
	if r.verdict.troubles() {
		s.halt(now)
		s.troubles.Add(-1)
	}
	s.metrics.settled(o, r.delivery, now)
	after := s.line.gate.state
	if before == Open && after != Open {
		s.client.hangUp()
	}
	if o.Verb != queue.Retry || after == Open || s.stopping {
		s.outcomes = append(s.outcomes, o)
		return
	}
	s.parkSpare(now)
	d := r.delivery
	d.Attempts, d.Strikes, d.Successes = o.Attempts, o.Strikes, o.Successes
	s.spare = &spare{delivery: d, due: now.Add(o.Delay)}
}

// parkSpare gives the spare to the queue to wait there.
func (s *scheduler) parkSpare(now time.Time) {
	if s.spare == nil {
		return
	}
	d := s.spare.delivery
	s.outcomes = append(s.outcomes, queue.Outcome{
		Address: d.Address, Verb: queue.Retry, Delay: max(s.spare.due.Sub(now), 0),
		Attempts: d.Attempts, Strikes: d.Strikes, Successes: d.Successes,
	})
	s.spare = nil
}

// giveBack returns to the queue what was leased and not tried.
func (s *scheduler) giveBack() {
	for _, d := range s.held {
		s.outcomes = append(s.outcomes, queue.Outcome{Address: d.Address, Verb: queue.Return})
	}
	s.held = nil
}

// expire buries d if it is too old to be sent, and reports whether it was.
func (s *scheduler) expire(now time.Time, d queue.Delivery) bool {
	if s.maxAge == 0 {
		return false
	}
	carried := s.begin.Round(0).Add(now.Sub(s.begin))
	if age(d.Taken.Round(0), now.Round(0), carried) <= s.maxAge {
		return false
	}
	o := queue.Outcome{
		Address: d.Address, Verb: queue.Bury, Attempts: d.Attempts,
		Reason: queue.Expired, Detail: fmt.Sprintf("older than max_age, %v, before it could be sent", s.maxAge),
	}
	s.metrics.settled(o, d, now)
	s.outcomes = append(s.outcomes, o)
	return true
}

// age is how old an event is for certain. It asks two clocks, the wall's, and
// the wall's of when we began carried on by the monotonic one. Where the wall
// clock jumped they differ, and the smaller age counts.
func age(taken, wall, carried time.Time) time.Duration {
	return max(min(wall.Sub(taken), carried.Sub(taken)), 0)
}
