package queuetest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"trackd/queue"
)

// settling is what the contract says of Settle, but for Bury.
func settling() []sentence {
	return []sentence{
		{"a delivered event is gone", func(r *rig) {
			r.append(sample("sent", 5)...)
			held := r.lease(5)
			r.wantAccount(queue.Account{Queued: 5})
			r.settleAll(held[:2], queue.Outcome{Verb: queue.Delivered})
			r.wantAccount(queue.Account{Queued: 3, Delivered: 2})
			r.wantQueued(queue.Filter{}, deliveryIDs(byAddress(held[2:]))...)
			r.settleAll(held[2:], queue.Outcome{Verb: queue.Delivered})
			r.wantAccount(queue.Account{Delivered: 5})
			r.wantIdle()
		}},
		{"a retry is due again after its delay and not before", retryWaits},
		{"retries come due one by one", func(r *rig) {
			r.append(sample("due", 3)...)
			held := r.lease(3)
			begin := time.Now()
			for i, d := range held {
				r.settle(queue.Outcome{Address: d.Address, Verb: queue.Retry, Delay: time.Duration(3-i) * 10 * time.Millisecond})
			}
			for i := range 3 {
				want := held[2-i].Event.ID
				if got := r.lease(1)[0]; got.Event.ID != want && r.harness.Virtual {
					r.Errorf("due as number %d: got %s, want %s", i+1, got.Event.ID, want)
				}
				if wait, least := time.Since(begin), time.Duration(i+1)*10*time.Millisecond; wait < least {
					r.Errorf("number %d was due after %v, want at least %v", i+1, wait, least)
				}
			}
		}},
		{"a retry far off is parked and still queued", func(r *rig) {
			r.append(sample("far", 2)...)
			held := r.lease(2)
			r.settleAll(held[:1], queue.Outcome{Verb: queue.Retry, Delay: never, Attempts: 1})
			r.wantIdle()
			if s := r.stats(); s.Parked != 1 || s.Leased != 1 || s.Queued != 2 {
				r.Errorf("got %d parked and %d leased of %d queued, want 1 and 1 of 2", s.Parked, s.Leased, s.Queued)
			}
			r.wantQueued(queue.Filter{}, eventIDs(sample("far", 2))...)
		}},
		{"a retry keeps what its outcome says", func(r *rig) {
			r.append(sample("tried", 1)...)
			first := r.lease(1)[0]
			r.settle(queue.Outcome{Address: first.Address, Verb: queue.Retry, Attempts: 7, Strikes: 0.375, Successes: 1 << 40,
				FirstFailed: first.Taken, Status: 503, Detail: "come back later"})
			want := first
			want.Attempts, want.Strikes, want.Successes = 7, 0.375, 1<<40
			want.FirstFailed, want.LastStatus, want.LastDetail = first.Taken, 503, "come back later"
			waiting := r.queued(queue.Filter{})[0]
			r.wantDelivery(waiting, want)
			r.wantDelivery(r.lease(1)[0], want)
			r.settle(queue.Outcome{Address: first.Address, Verb: queue.Retry, Attempts: 8, Strikes: 0, Successes: 1<<40 + 1})
			want.Attempts, want.Strikes, want.Successes = 8, 0, 1<<40+1
			want.FirstFailed, want.LastStatus, want.LastDetail = time.Time{}, 0, ""
			r.wantDelivery(r.lease(1)[0], want)
		}},
		{"a returned event is due at once as it was", func(r *rig) {
			r.append(sample("back", 1)...)
			first := r.lease(1)[0]
			r.settle(queue.Outcome{Address: first.Address, Verb: queue.Return})
			r.wantDelivery(r.lease(1)[0], first)
			r.settle(queue.Outcome{Address: first.Address, Verb: queue.Retry, Attempts: 2, Strikes: 1, Successes: 9})
			second := r.lease(1)[0]
			r.settle(queue.Outcome{Address: first.Address, Verb: queue.Return, Attempts: 5, Strikes: 5, Successes: 5})
			r.wantDelivery(r.lease(1)[0], second)
		}},
		{"an event that waits for its retry may be buried and nothing else", func(r *rig) {
			r.append(sample("parked", 3)...)
			held := byAddress(r.lease(3))
			r.settleAll(held, queue.Outcome{Verb: queue.Retry, Delay: never, Attempts: 1})
			r.settleAll(held[:1], queue.Outcome{Verb: queue.Delivered})
			r.settleAll(held[:1], queue.Outcome{Verb: queue.Return})
			r.settleAll(held[1:2], poison())
			if s := r.stats(); s.Parked != 2 || s.ParkedMax <= 2 {
				r.Errorf("got %d parked of at most %d, want 2 and more", s.Parked, s.ParkedMax)
			}
			r.wantLetters(queue.Filter{}, held[1].Event.ID)
			r.wantAccount(queue.Account{Queued: 2, Dead: 1})
			r.wantIdle()
		}},
		{"one call may settle each event in its own way", func(r *rig) {
			r.append(sample("mix", 5)...)
			held := byAddress(r.lease(5))
			r.settle(
				queue.Outcome{Address: held[4].Address, Verb: queue.Bury, Reason: queue.TooLarge, Status: 413},
				queue.Outcome{Address: held[0].Address, Verb: queue.Delivered},
				queue.Outcome{Address: held[2].Address, Verb: queue.Retry, Delay: never},
				queue.Outcome{Address: held[3].Address, Verb: queue.Return},
			)
			r.wantAccount(queue.Account{Queued: 3, Delivered: 1, Dead: 1})
			r.wantLetters(queue.Filter{}, held[4].Event.ID)
			r.wantQueued(queue.Filter{}, deliveryIDs(held[1:4])...)
			r.wantDelivery(r.lease(1)[0], held[3])
			r.wantIdle()
		}},
		{"settling nothing changes nothing", func(r *rig) {
			r.append(sample("still", 1)...)
			r.settle()
			r.wantAccount(queue.Account{Queued: 1})
		}},
		{"an outcome for an event that is not leased changes nothing", notLeased},
		{"an event settled twice was settled once", func(r *rig) {
			r.append(sample("twice", 2)...)
			held := r.lease(2)
			r.settleAll(held[:1], queue.Outcome{Verb: queue.Delivered})
			r.settleAll(held[:1], poison())
			r.settleAll(held[:1], queue.Outcome{Verb: queue.Return})
			r.settleAll(held[1:], poison())
			r.settleAll(held[1:], queue.Outcome{Verb: queue.Delivered})
			r.settleAll(held[1:], queue.Outcome{Verb: queue.Return})
			r.wantAccount(queue.Account{Delivered: 1, Dead: 1})
			r.wantIdle()
		}},
		{"ten thousand outcomes in one call all count", func(r *rig) {
			r.append(sample("bulk", 10_000)...)
			r.settleAll(r.lease(10_000), queue.Outcome{Verb: queue.Delivered})
			r.wantAccount(queue.Account{Delivered: 10_000})
			r.wantIdle()
		}},
		{"oldest is when the oldest queued event was taken", func(r *rig) {
			if got := r.stats().Oldest; !got.IsZero() {
				r.Errorf("of an empty queue: got %v, want the zero time", got)
			}
			for _, prefix := range []string{"old", "new"} {
				r.append(sample(prefix, 1)...)
			}
			all := byAddress(r.lease(2))
			r.wantOldest(all[0].Taken)
			r.settleAll(all[:1], queue.Outcome{Verb: queue.Delivered})
			r.wantOldest(all[1].Taken)
			r.settleAll(all[1:], poison())
			r.wantOldest(time.Time{})
		}},
	}
}

func retryWaits(r *rig) {
	const delay = 15 * time.Millisecond
	r.append(sample("wait", 1)...)
	first := r.lease(1)[0]
	begin := time.Now()
	r.settle(queue.Outcome{Address: first.Address, Verb: queue.Retry, Delay: delay})
	settled := time.Now()
	r.lease(1)
	if wait := time.Since(begin); wait < delay {
		r.Errorf("due after %v, want at least %v", wait, delay)
	}
	if wait := time.Since(settled); r.harness.Virtual && wait != delay {
		r.Errorf("due after %v, want %v exactly", wait, delay)
	}
}

func notLeased(r *rig) {
	r.append(sample("here", 2)...)
	waiting := r.queued(queue.Filter{}) // never leased
	for _, verb := range []queue.Verb{queue.Delivered, queue.Retry, queue.Return, queue.Bury} {
		outcome := poison()
		outcome.Verb, outcome.Delay = verb, never
		r.settle(
			queue.Outcome{Verb: verb},
			queue.Outcome{Address: queue.Address{Hi: 1<<63 + 11, Lo: 1 << 62}, Verb: verb},
			queue.Outcome{Address: queue.Address{Hi: waiting[1].Address.Hi, Lo: waiting[1].Address.Lo + 1<<40}, Verb: verb},
		)
		r.settleAll(waiting, outcome)
	}
	r.wantAccount(queue.Account{Queued: 2})
	held := r.lease(2)
	r.settleAll(held[:1], queue.Outcome{Verb: queue.Retry, Delay: never})
	r.settleAll(held[:1], queue.Outcome{Verb: queue.Return}) // parked is not leased
	r.wantIdle()
	r.settle(queue.Outcome{Verb: queue.Delivered}, queue.Outcome{Address: held[1].Address, Verb: queue.Delivered})
	r.wantAccount(queue.Account{Queued: 1, Delivered: 1})
}

// wantDelivery checks everything a delivery says.
func (r *rig) wantDelivery(got, want queue.Delivery) {
	r.Helper()
	if diff := cmp.Diff(want, got, alike()); diff != "" {
		r.Fatalf("delivery (-want +got):\n%s", diff)
	}
}

// wantOldest checks Stats.Oldest.
func (r *rig) wantOldest(want time.Time) {
	r.Helper()
	if diff := cmp.Diff(want, r.stats().Oldest, alike()); diff != "" {
		r.Fatalf("oldest (-want +got):\n%s", diff)
	}
}
