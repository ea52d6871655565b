package queuetest

import (
	"errors"
	"slices"
	"sync"

	"trackd/queue"
)

// sharing is what holds where several processes have one queue open: all of
// them take, one of them delivers.
func sharing() []sentence {
	return []sentence{
		{"what one process takes another delivers, and only one does", func(r *rig) {
			other := r.join()
			r.append(sample("first", 1)...)
			r.settleAll(r.lease(1), queue.Outcome{Verb: queue.Delivered}) // r delivers from now on
			other.append(sample("theirs", 3)...)
			r.append(sample("mine", 3)...)
			other.wantIdle()
			want := append(eventIDs(sample("theirs", 3)), eventIDs(sample("mine", 3))...)
			if got := deliveryIDs(r.lease(6)); !slices.Equal(got, want) {
				r.Errorf("got %v, want %v", got, want)
			}
			other.wantIdle()
		}},
		{"each process sees the same account and the same listings", func(r *rig) {
			other := r.join()
			r.bury(poison(), sample("dead", 2)...)
			other.append(sample("live", 3)...)
			other.wantLetters(queue.Filter{}, eventIDs(sample("dead", 2))...)
			for _, q := range []*rig{r, other} {
				q.wantAccount(queue.Account{Queued: 3, Dead: 2})
				q.wantQueued(queue.Filter{}, eventIDs(sample("live", 3))...)
			}
		}},
		{"another process takes over where one stops, in order and with all that was not settled", func(r *rig) {
			other := r.join()
			r.append(sample("event", 8)...)
			held := r.lease(5)
			r.settle(
				queue.Outcome{Address: held[1].Address, Verb: queue.Delivered},
				queue.Outcome{Address: held[2].Address, Verb: queue.Retry, Delay: never, Attempts: 1},
				queue.Outcome{Address: held[3].Address, Verb: queue.Bury, Reason: queue.Poison},
			)
			r.close()
			want := eventIDs(sample("event", 8))
			want = slices.Concat(want[:1], want[2:3], want[4:])
			if got := deliveryIDs(other.lease(6)); !slices.Equal(got, want) {
				r.Errorf("got %v, want %v", got, want)
			}
			other.wantAccount(queue.Account{Queued: 6, Delivered: 1, Dead: 1})
			other.wantIdle()
		}},
		{"two replays of one dead letter queue it once", func(r *rig) {
			other := r.join()
			r.bury(poison(), sample("dead", 60)...)
			r.stats()
			var replayed [4]int
			var operators sync.WaitGroup
			for i := range replayed {
				operators.Go(func() {
					n, err := []*rig{r, other}[i%2].Replay(r.Context(), queue.Filter{})
					if err != nil {
						r.Errorf("replay: %v", err)
					}
					replayed[i] = n
				})
			}
			operators.Wait()
			if sum := replayed[0] + replayed[1] + replayed[2] + replayed[3]; sum != 60 {
				r.Errorf("replayed %v, want 60 together", replayed)
			}
			r.wantAccount(queue.Account{Queued: 60})
			if got := deliveryIDs(r.lease(60)); !sameIDs(got, eventIDs(sample("dead", 60))) {
				r.Errorf("got %v", got)
			}
			r.wantIdle()
		}},
		{"what one process erased no other delivers", func(r *rig) {
			other := r.join()
			r.append(sample("out", 2)...)
			held := r.lease(2)
			if erased, _, err := other.Erase(r.Context(), queue.Filter{ID: "out-00000"}, false); erased != 1 || err != nil {
				r.Fatalf("erase: got %d, %v, want 1", erased, err)
			}
			r.settleAll(held, queue.Outcome{Verb: queue.Retry})
			if got := r.lease(1); got[0].Event.ID != "out-00001" {
				r.Errorf("got %s", got[0].Event.ID)
			}
			r.wantIdle()
			other.wantAccount(queue.Account{Queued: 1, Discarded: 1})
		}},
		{"a process that closes takes nothing from the others", func(r *rig) {
			other := r.join()
			other.append(sample("theirs", 1)...)
			other.close()
			if err := other.Append(r.Context(), queue.Batch{Events: sample("late", 1)}); !errors.Is(err, queue.ErrClosed) {
				r.Errorf("append: got %v, want ErrClosed", err)
			}
			r.append(sample("mine", 1)...)
			if got := deliveryIDs(r.lease(2)); !slices.Equal(got, []string{"theirs-00000", "mine-00000"}) {
				r.Errorf("got %v", got)
			}
		}},
	}
}

// join opens the same data once more. It skips where the backend cannot.
func (r *rig) join() *rig {
	r.Helper()
	if !r.harness.Properties.Shared {
		r.Skip("this backend is one process's")
	}
	return r.harness.around(r.TB, r.harness.Join(r, r.Queue))
}
