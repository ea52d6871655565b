package queuetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"trackd/queue"
)

const (
	stormDoors   = 4
	stormSenders = 4
	stormBatches = 150         // at most, for each door
	stormTime    = time.Second // after which the doors close
)

// storming is the contract with everybody calling at once.
func storming() []sentence {
	return []sentence{
		{"whatever happens at once each event taken is in one place", func(r *rig) {
			s := &storm{
				rig: r, taken: map[string]bool{}, held: map[string]bool{},
				delivered: map[string]bool{}, discarded: map[string]bool{},
			}
			s.run()
			s.wantConserved()
		}},
	}
}

// storm is a run of doors, senders, an operator and a watcher against one
// queue.
type storm struct {
	*rig
	number atomic.Int64 // of the last event made

	mu        sync.Mutex      // owns everything below
	taken     map[string]bool // acknowledged
	held      map[string]bool // on loan
	delivered map[string]bool
	discarded map[string]bool
}

// run returns when the doors have said all they have to say and the others
// have put down what they held.
func (s *storm) run() {
	ctx, stop := context.WithCancel(s.Context())
	defer stop()
	doorsClose, cancel := context.WithTimeout(ctx, stormTime)
	defer cancel()
	var doors, others sync.WaitGroup
	for i := range stormDoors {
		doors.Go(func() { s.door(doorsClose, rand.New(rand.NewPCG(1, uint64(i)))) })
	}
	for i := range stormSenders {
		others.Go(func() { s.sender(ctx, rand.New(rand.NewPCG(2, uint64(i)))) })
	}
	others.Go(func() { s.operator(ctx, rand.New(rand.NewPCG(3, 0))) })
	others.Go(func() { s.watcher(ctx) })
	doors.Wait()
	stop()
	others.Wait()
}

func (s *storm) door(closing context.Context, dice *rand.Rand) {
	for range stormBatches {
		if closing.Err() != nil {
			return
		}
		var batch queue.Batch
		for range 1 + dice.IntN(10) {
			batch.Events = append(batch.Events, newEvent(s.newID(), opened, "user", dice.IntN(800)))
		}
		if dice.IntN(3) == 0 {
			batch.Rejects = append(batch.Rejects, reject(s.newID()))
		}
		if err := s.Append(s.Context(), batch); err != nil {
			s.Errorf("append: %v", err)
			return
		}
		s.acknowledge(batch)
	}
}

func (s *storm) newID() string { return fmt.Sprintf("storm-%06d", s.number.Add(1)) }

func (s *storm) acknowledge(batch queue.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range batch.Events {
		s.taken[ev.ID] = true
	}
	for _, rej := range batch.Rejects {
		s.taken[string(rej.Body)] = true
	}
}

func (s *storm) sender(ctx context.Context, dice *rand.Rand) {
	for {
		held, err := s.Lease(ctx, 1+dice.IntN(30))
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				s.Errorf("lease: %v", err)
			}
			return
		}
		s.borrow(held)
		outcomes := make([]queue.Outcome, len(held))
		for i, d := range held {
			outcomes[i] = s.decide(d, dice.IntN(10))
		}
		if err := s.Settle(s.Context(), outcomes...); err != nil {
			s.Errorf("settle: %v", err)
			return
		}
	}
}

// borrow notes that an event is on loan, and that it is to nobody else.
func (s *storm) borrow(held []queue.Delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range held {
		if s.held[d.Event.ID] || s.delivered[d.Event.ID] || s.discarded[d.Event.ID] {
			s.Errorf("leased %s, which is on loan (%t), delivered (%t) or discarded (%t)",
				d.Event.ID, s.held[d.Event.ID], s.delivered[d.Event.ID], s.discarded[d.Event.ID])
		}
		s.held[d.Event.ID] = true
	}
}

// decide notes and returns what becomes of d.
func (s *storm) decide(d queue.Delivery, die int) queue.Outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, d.Event.ID)
	outcome := queue.Outcome{Address: d.Address, Verb: queue.Delivered}
	switch die {
	case 0:
		outcome = poison()
	case 1:
		outcome.Verb = queue.Return
	case 2, 3:
		outcome.Verb, outcome.Delay, outcome.Attempts = queue.Retry, time.Duration(die)*time.Millisecond, d.Attempts+1
	default:
		s.delivered[d.Event.ID] = true
	}
	outcome.Address = d.Address
	return outcome
}

// operator judges one letter after the other.
func (s *storm) operator(ctx context.Context, dice *rand.Rand) {
	for ctx.Err() == nil {
		for l, err := range s.DeadLetters(s.Context(), queue.Filter{Limit: 20}) {
			if err != nil {
				s.Errorf("list dead letters: %v", err)
				return
			}
			s.judge(l, dice.IntN(3))
		}
		<-time.After(pause)
	}
}

func (s *storm) judge(l queue.DeadLetter, die int) {
	only := queue.Filter{At: []queue.Address{l.Address}}
	switch {
	case die == 0:
		s.mu.Lock()
		s.discarded[letterKey(l)] = true
		s.mu.Unlock()
		if n, err := s.Discard(s.Context(), only); n != 1 || err != nil {
			s.Errorf("discard %s: got %d, %v", letterKey(l), n, err)
		}
	case !l.AtDoor:
		if n, err := s.Replay(s.Context(), only); n != 1 || err != nil {
			s.Errorf("replay %s: got %d, %v", letterKey(l), n, err)
		}
	}
}

// watcher checks that the account balances at every moment.
func (s *storm) watcher(ctx context.Context) {
	for ctx.Err() == nil {
		stats, err := s.Stats(s.Context())
		if err != nil {
			s.Errorf("stats: %v", err)
			return
		}
		if stats.Exact && !stats.Balances() {
			s.Errorf("account does not balance: %+v", stats.Account)
		}
		for _, err := range s.Queued(s.Context(), queue.Filter{Limit: 20}) {
			if err != nil {
				s.Errorf("list queued: %v", err)
				return
			}
		}
		<-time.After(pause)
	}
}

// wantConserved checks where each acknowledged event is.
func (s *storm) wantConserved() {
	s.Helper()
	places := map[string]int{}
	count := func(id string) { places[id]++ }
	queued, letters := s.queued(queue.Filter{}), s.letters(queue.Filter{})
	for _, d := range queued {
		count(d.Event.ID)
	}
	for _, l := range letters {
		count(letterKey(l))
	}
	for id := range s.delivered {
		count(id)
	}
	for id := range s.discarded {
		count(id)
	}
	for id := range s.taken {
		if places[id] != 1 {
			s.Errorf("%s is in %d places, want 1", id, places[id])
		}
	}
	if len(places) != len(s.taken) {
		s.Errorf("%d events are somewhere, %d were taken", len(places), len(s.taken))
	}
	s.wantAccount(queue.Account{
		Queued: uint64(len(queued)), Dead: uint64(len(letters)),
		Delivered: uint64(len(s.delivered)), Discarded: uint64(len(s.discarded)),
	})
}
