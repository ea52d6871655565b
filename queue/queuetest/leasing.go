package queuetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"trackd/event"
	"trackd/queue"
)

// leasing is what the contract says of Lease.
func leasing() []sentence {
	return []sentence{
		{"fresh events are leased in arrival order", func(r *rig) {
			if !r.harness.Properties.Ordered {
				r.Skip("this backend keeps no order")
			}
			var want []event.Event
			for _, prefix := range []string{"b", "c", "a"} {
				events := sample(prefix, 7)
				r.append(events...)
				want = append(want, events...)
			}
			r.wantSameEvents(r.lease(len(want)), want)
		}},
		{"a lease gives no more than was asked for", func(r *rig) {
			r.append(sample("some", 50)...)
			for left := 50; left > 0; {
				left -= len(r.lease(min(left, 7)))
			}
			r.wantIdle()
		}},
		{"a lease gives what is due and waits for no more", func(r *rig) {
			r.append(sample("few", 3)...)
			ctx, cancel := context.WithTimeout(r.Context(), patience)
			defer cancel()
			for left := 3; left > 0; {
				got, err := r.Lease(ctx, 100)
				if err != nil || len(got) == 0 {
					r.Fatalf("with %d due: got %d deliveries, %v", left, len(got), err)
				}
				left -= len(got)
			}
		}},
		{"a lease on an empty queue ends with its context", func(r *rig) {
			r.wantIdle()
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			if got, err := r.Lease(ctx, 1); !errors.Is(err, context.Canceled) || len(got) > 0 {
				r.Fatalf("got %d deliveries, %v, want the error of the context", len(got), err)
			}
		}},
		{"a waiting lease wakes when an event is taken", func(r *rig) {
			wait := r.leaseLater()
			r.append(sample("first", 1)...)
			if got := wait(); got.Event.ID != "first-00000" {
				r.Fatalf("got %q", got.Event.ID)
			}
		}},
		{"a waiting lease wakes when an event is returned", func(r *rig) {
			r.append(sample("only", 1)...)
			held := r.lease(1)
			wait := r.leaseLater()
			r.settleAll(held, queue.Outcome{Verb: queue.Return})
			wait()
		}},
		{"returned events come first, in the order in which they were taken", func(r *rig) {
			r.append(sample("first", 6)...)
			held := byAddress(r.lease(4))
			r.settle(queue.Outcome{Address: held[0].Address, Verb: queue.Retry, Attempts: 1})
			for _, i := range []int{3, 1, 2} {
				r.settle(queue.Outcome{Address: held[i].Address, Verb: queue.Return})
			}
			r.append(sample("later", 2)...)
			for _, want := range held[1:] {
				if got := r.lease(1)[0]; got.Event.ID != want.Event.ID {
					r.Errorf("got %s, want %s", got.Event.ID, want.Event.ID)
				}
			}
		}},
		{"every second event leased is fresh while replayed ones and retries wait", func(r *rig) {
			r.bury(poison(), sample("dead", 60)...)
			r.append(sample("again", 60)...)
			r.settleAll(r.lease(60), queue.Outcome{Verb: queue.Retry, Attempts: 1})
			r.replay(queue.Filter{}, 60)
			r.append(sample("fresh", 60)...)
			fresh, all := 0, 0
			for i := range 40 {
				for _, d := range r.lease(1 + i%3) {
					if all++; strings.HasPrefix(d.Event.ID, "fresh") {
						fresh++
					}
				}
				if 2*fresh < all-1 {
					r.Fatalf("of the first %d events %d are fresh, want every second", all, fresh)
				}
			}
			if 2*fresh > all+2 {
				r.Errorf("of %d events %d are fresh, want no more than half while others are due", all, fresh)
			}
			r.lease(180 - all)
			r.wantIdle()
		}},
		{"a waiting lease wakes when a letter is replayed", func(r *rig) {
			r.bury(poison(), sample("dead", 1)...)
			wait := r.leaseLater()
			r.replay(queue.Filter{}, 1)
			wait()
		}},
		{"an event on loan is leased to nobody else", func(r *rig) {
			r.append(sample("loan", 3)...)
			r.lease(3)
			r.wantIdle()
			if s := r.stats(); s.Leased != 3 || s.Queued != 3 {
				r.Fatalf("got %d leased of %d queued, want 3 of 3", s.Leased, s.Queued)
			}
		}},
		{"many who lease at once share no event", leaseTogether},
		{"a retry that is always due does not hold up fresh events", func(r *rig) {
			r.append(sample("stubborn", 1)...)
			held := r.lease(1)
			r.append(sample("fresh", 3)...)
			for range 100 {
				r.settleAll(held, queue.Outcome{Verb: queue.Retry, Attempts: 1})
				held = r.lease(1)
				if held[0].Event.ID != "stubborn-00000" {
					return
				}
			}
			r.Fatal("100 leases of 1 gave the same retry and no fresh event")
		}},
		{"a backlog of fresh events does not hold up a due retry", func(r *rig) {
			r.append(sample("retry", 1)...)
			held := r.lease(1)
			r.append(sample("backlog", 1_000)...)
			r.settleAll(held, queue.Outcome{Verb: queue.Return})
			for range 100 {
				if r.lease(1)[0].Event.ID == "retry-00000" {
					return
				}
			}
			r.Fatal("100 leases of 1 gave fresh events only while a retry was due")
		}},
	}
}

// leaseLater starts a lease that has to wait. The function it returns awaits
// the delivery.
func (r *rig) leaseLater() func() queue.Delivery {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	started, done := make(chan struct{}), make(chan struct{})
	var got []queue.Delivery
	var err error
	go func() {
		defer close(done)
		close(started)
		got, err = r.Lease(ctx, 1)
	}()
	<-started
	select {
	case <-done:
		r.Fatalf("lease did not wait: %d deliveries, %v", len(got), err)
	case <-time.After(lull):
	}
	return func() queue.Delivery {
		r.Helper()
		defer cancel()
		if <-done; err != nil || len(got) != 1 {
			r.Fatalf("waiting lease: got %d deliveries, %v", len(got), err)
		}
		return got[0]
	}
}

func leaseTogether(r *rig) {
	const n = 400
	r.append(sample("shared", n)...)
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{} // owned by mu
	var lessees sync.WaitGroup
	for range 8 {
		lessees.Go(func() {
			for {
				got, err := r.Lease(ctx, 3)
				if err != nil {
					return
				}
				mu.Lock()
				for _, d := range got {
					seen[d.Event.ID]++
				}
				if len(seen) == n {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	lessees.Wait()
	if len(seen) != n {
		r.Errorf("got %d different events, want %d", len(seen), n)
	}
	for id, times := range seen {
		if times != 1 {
			r.Errorf("event %s was leased %d times", id, times)
		}
	}
}
