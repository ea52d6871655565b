package queuetest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"

	"trackd/queue"
)

// restarting is what the contract says of Close, and of what the next process
// finds.
func restarting() []sentence {
	return []sentence{
		{"a closed queue says so", func(r *rig) {
			r.close()
			ctx := r.Context()
			r.wantBroken(queue.ErrClosed, r.Append(ctx, queue.Batch{Events: sample("late", 1)}))
			_, err := r.Lease(ctx, 1)
			r.wantBroken(queue.ErrClosed, err)
			_, err = r.Replay(ctx, queue.Filter{})
			r.wantBroken(queue.ErrClosed, err)
			_, err = r.Discard(ctx, queue.Filter{})
			r.wantBroken(queue.ErrClosed, err)
			_, err = r.Replace(ctx, queue.Filter{}, reparse(r))
			r.wantBroken(queue.ErrClosed, err)
			_, _, err = r.Erase(ctx, queue.Filter{}, false)
			r.wantBroken(queue.ErrClosed, err)
			_, err = r.Reserve(ctx, 1)
			r.wantBroken(queue.ErrClosed, err)
		}},
		{"a waiting lease ends when the queue closes", func(r *rig) {
			ended := make(chan error, 1)
			ctx, cancel := context.WithCancel(r.Context())
			defer cancel()
			go func() {
				_, err := r.Lease(ctx, 1)
				ended <- err
			}()
			r.wantIdle() // while the other waits
			r.close()
			select {
			case err := <-ended:
				r.wantBroken(queue.ErrClosed, err)
			case <-time.After(patience):
				r.Error("it still waits")
			}
		}},
		{"whatever was not settled is due again after a restart", func(r *rig) {
			r.comeBack((*rig).reopen)
		}},
		{"whatever was not settled is due again after a crash", func(r *rig) {
			r.comeBack((*rig).crash)
		}},
		{"nothing settled comes back after a restart", func(r *rig) {
			r.append(sample("done", 6)...)
			held := byAddress(r.lease(6))
			r.settleAll(held[:2], queue.Outcome{Verb: queue.Delivered})
			r.settleAll(held[2:5], poison())
			r.discard(queue.Filter{At: []queue.Address{held[4].Address}}, 1)
			for range 3 {
				r.reopen()
				r.wantQueued(queue.Filter{}, held[5].Event.ID)
				r.wantLetters(queue.Filter{}, held[2].Event.ID, held[3].Event.ID)
				r.wantAccount(queue.Account{Queued: 1, Delivered: 2, Dead: 2, Discarded: 1})
			}
			r.lease(1)
			r.wantIdle()
		}},
		{"letters say the same after a restart", func(r *rig) {
			r.bury(queue.Outcome{Reason: queue.Rejected, Status: 400, Attempts: 1, Detail: "first"}, sample("a", 2)...)
			r.bury(queue.Outcome{Reason: queue.Poison, Status: 503, Attempts: 20, Detail: "first"}, sample("b", 2)...)
			r.bury(queue.Outcome{Reason: queue.Expired}, newEvent("long", updated, "user", 3_000))
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject("door"), {Body: []byte(unread), Reason: queue.Malformed}}})
			before := r.letters(queue.Filter{})
			r.reopen()
			if diff := cmp.Diff(before, r.letters(queue.Filter{}), alike()); diff != "" || len(before) != 7 {
				r.Errorf("%d letters (-before +after):\n%s", len(before), diff)
			}
		}},
		{"an outcome not yet flushed may be undone by a crash and no more", func(r *rig) {
			r.append(sample("sent", 20)...)
			r.settleAll(r.lease(20), queue.Outcome{Verb: queue.Delivered})
			r.bury(poison(), sample("dead", 20)...)
			r.crash()
			found := map[string]int{}
			for _, id := range append(deliveryIDs(r.queued(queue.Filter{})), letterIDs(r.letters(queue.Filter{}))...) {
				found[id]++
			}
			for _, id := range eventIDs(sample("dead", 20)) {
				if found[id] != 1 {
					r.Errorf("%s was buried: found %d times among queued and dead, want 1", id, found[id])
				}
			}
			for _, id := range eventIDs(sample("sent", 20)) {
				if found[id] > 1 {
					r.Errorf("%s was delivered: found %d times, want at most 1", id, found[id])
				}
			}
		}},
		{"rejects are durable when append returns", func(r *rig) {
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject("door"), reject("gate")}})
			before := r.letters(queue.Filter{})
			r.crash()
			if diff := cmp.Diff(before, r.letters(queue.Filter{}), alike()); diff != "" || len(before) != 2 {
				r.Errorf("%d letters (-before +after):\n%s", len(before), diff)
			}
			r.wantAccount(queue.Account{Dead: 2})
		}},
		{"a replay is durable when it returns", func(r *rig) {
			mended := newEvent("mended", opened, "user", 0)
			r.bury(poison(), sample("old", 3)...)
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject(string(mended.Body))}})
			r.reopen() // so that on disk they are dead
			r.bury(poison(), sample("new", 3)...)
			r.replay(queue.Filter{}, 6)
			r.replace(queue.Filter{}, 1)
			r.crash()
			r.wantLetters(queue.Filter{})
			want := append(eventIDs(append(sample("old", 3), sample("new", 3)...)), "mended")
			if got := deliveryIDs(r.lease(7)); !sameIDs(got, want) {
				r.Errorf("got %v, want %v", got, want)
			}
			r.wantIdle()
		}},
		{"strikes and the first failure outlive a restart", func(r *rig) {
			r.append(sample("suspect", 2)...)
			held := byAddress(r.lease(2))
			first := held[0].Taken
			r.settleAll(held[:1], queue.Outcome{Verb: queue.Retry, Delay: never, Attempts: 1, Strikes: 0.5, FirstFailed: first, Status: 500, Detail: "no"})
			for range 2 { // also when nothing is said of it meanwhile
				r.reopen()
				got := byAddress(r.queued(queue.Filter{}))[0]
				want := held[0]
				want.Strikes, want.FirstFailed = 0.5, first
				r.wantDelivery(got, want)
			}
			all := byAddress(r.lease(2))
			if all[0].Strikes != 0.5 || all[1].Strikes != 0 || all[0].Attempts != 0 {
				r.Errorf("got %v and %v strikes, want 0.5 and none", all[0].Strikes, all[1].Strikes)
			}
			r.settleAll(all[:1], queue.Outcome{Verb: queue.Retry, Delay: never, Attempts: 1, Strikes: 3.25, FirstFailed: first})
			r.reopen()
			if got := byAddress(r.queued(queue.Filter{}))[0]; got.Strikes != 3.25 {
				r.Errorf("got %v strikes, want the last before a clean end", got.Strikes)
			}
		}},
		{"an erasure is durable when it returns", func(r *rig) {
			r.append(sample("old", 3)...)
			r.bury(poison(), sample("dead", 1)...)
			r.reopen()
			r.append(sample("new", 3)...)
			r.lease(4)
			r.erase(queue.Filter{}, 7, 4)
			r.crash()
			r.wantQueued(queue.Filter{})
			r.wantLetters(queue.Filter{})
			r.wantIdle()
		}},
		{"a discard is durable when it returns", func(r *rig) {
			r.bury(poison(), sample("old", 3)...)
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject("door")}})
			r.reopen()
			r.bury(poison(), sample("new", 3)...)
			r.discard(queue.Filter{}, 7)
			r.crash()
			r.wantAccount(queue.Account{Discarded: 7})
			r.wantLetters(queue.Filter{})
			r.wantIdle()
		}},
		{"a queue may be restarted again and again", func(r *rig) {
			var want []string
			for _, prefix := range []string{"a", "b", "c", "d", "e"} {
				events := sample(prefix, 40)
				r.append(events...)
				r.settleAll(r.lease(3), queue.Outcome{Verb: queue.Delivered})
				r.reopen()
				want = append(want, eventIDs(events)...)
			}
			r.wantAccount(queue.Account{Queued: 185, Delivered: 15})
			got := deliveryIDs(r.lease(185))
			if r.wantIdle(); len(slices.Compact(slices.Sorted(slices.Values(got)))) != 185 {
				r.Errorf("an event was leased twice among %v", got)
			}
			for _, id := range got {
				if !slices.Contains(want, id) {
					r.Errorf("got %q, which was never taken", id)
				}
			}
		}},
	}
}

// comeBack leaves events in every state a process can leave them in, stops,
// and wants each of them due, as it was when it was taken.
func (r *rig) comeBack(stop func(*rig)) {
	r.Helper()
	events := sample("back", 400)
	events[7] = largest("back-large")
	r.append(events...)
	held := r.lease(300)
	r.settleAll(held[:50], queue.Outcome{Verb: queue.Retry, Delay: never, Attempts: 5, Successes: 5})
	r.settleAll(held[50:100], queue.Outcome{Verb: queue.Return})
	r.settleAll(held[100:150], queue.Outcome{Verb: queue.Retry, Attempts: 1})
	before := r.queued(queue.Filter{})
	for i := range before { // this process's, not the next one's
		before[i].Attempts, before[i].Strikes, before[i].Successes = 0, 0, 0
	}
	stop(r)
	r.wantAccount(queue.Account{Queued: 400})
	after := byAddress(r.lease(400))
	if diff := cmp.Diff(before, after, alike()); diff != "" || len(before) != 400 {
		r.Errorf("%d deliveries (-before +after):\n%s", len(before), diff)
	}
	r.wantIdle()
}

func sameIDs(got, want []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)))
}

// wantBroken checks an error.
func (r *rig) wantBroken(want, got error) {
	r.Helper()
	if !errors.Is(got, want) {
		r.Errorf("got error %v, want %v", got, want)
	}
}
