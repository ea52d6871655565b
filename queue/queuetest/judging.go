package queuetest

import (
	"context"
	"errors"

	"github.com/google/go-cmp/cmp"

	"trackd/event"
	"trackd/queue"
)

// judging is what the contract says of Replay, Replace, Discard and Erase.
func judging() []sentence {
	return []sentence{
		{"a replayed letter is queued again as a new start of the same event", func(r *rig) {
			r.append(newEvent("again", updated, "user", 700))
			first := r.lease(1)[0]
			r.settle(queue.Outcome{Address: first.Address, Verb: queue.Retry, Attempts: 5, Strikes: 4, Successes: 3})
			r.settleAll(r.lease(1), poison())
			r.replay(queue.Filter{}, 1)
			r.wantLetters(queue.Filter{})
			r.wantQueued(queue.Filter{}, "again")
			r.wantAccount(queue.Account{Queued: 1})
			got := r.lease(1)[0]
			got.Address = first.Address // a replay may move it
			r.wantDelivery(got, first)
			r.wantIdle()
		}},
		{"a replayed event may die again or be delivered", func(r *rig) {
			r.bury(poison(), sample("phoenix", 2)...)
			r.replay(queue.Filter{}, 2)
			held := r.lease(2)
			r.settle(queue.Outcome{Address: held[0].Address, Verb: queue.Bury, Reason: queue.Rejected, Status: 400, Attempts: 1, Detail: "no"})
			r.settleAll(held[1:], queue.Outcome{Verb: queue.Delivered})
			r.wantAccount(queue.Account{Delivered: 1, Dead: 1})
			if l := r.letters(queue.Filter{})[0]; l.Reason != queue.Rejected || l.Status != 400 || l.Attempts != 1 || l.Detail != "no" {
				r.Errorf("got %+v, want what the second burial said", l)
			}
		}},
		{"a replay takes the letters that match and no others", func(r *rig) {
			r.bury(poison(), sample("a", 3)...)
			r.bury(queue.Outcome{Reason: queue.Rejected, Status: 400}, sample("b", 2)...)
			r.replay(queue.Filter{Reasons: []queue.Reason{queue.Rejected}}, 2)
			r.wantQueued(queue.Filter{}, eventIDs(sample("b", 2))...)
			r.wantLetters(queue.Filter{}, eventIDs(sample("a", 3))...)
			r.replay(queue.Filter{ID: "a-00001"}, 1)
			r.wantLetters(queue.Filter{}, "a-00000", "a-00002")
			r.replay(queue.Filter{Limit: 1}, 1)
			r.wantAccount(queue.Account{Queued: 4, Dead: 1})
		}},
		{"a second replay or discard finds nothing", func(r *rig) {
			r.bury(poison(), sample("once", 4)...)
			r.replay(queue.Filter{Limit: 2}, 2)
			r.discard(queue.Filter{}, 2)
			r.replay(queue.Filter{}, 0)
			r.discard(queue.Filter{}, 0)
			r.wantAccount(queue.Account{Queued: 2, Discarded: 2})
		}},
		{"a replay leaves rejected input alone", func(r *rig) {
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject(string(newEvent("good", opened, "user", 0).Body))}})
			before := r.letters(queue.Filter{})
			r.replay(queue.Filter{}, 0)
			if diff := cmp.Diff(before, r.letters(queue.Filter{}), alike()); diff != "" {
				r.Errorf("letter (-before +after):\n%s", diff)
			}
			r.wantAccount(queue.Account{Dead: 1})
			r.wantIdle()
		}},
		{"what is put in the place of a dead letter is taken and the letter is discarded", replaceReject},
		{"a dead letter that put does not replace stays, also when put fails", func(r *rig) {
			r.bury(poison(), sample("dead", 3)...)
			sick := errors.New("sick")
			n, err := r.Replace(r.Context(), queue.Filter{}, func(_ context.Context, l []queue.DeadLetter) ([]queue.Address, error) {
				return []queue.Address{l[1].Address, {Hi: 1 << 40}}, sick
			})
			if n != 1 || !errors.Is(err, sick) {
				r.Errorf("got %d, %v, want 1 and the error of put", n, err)
			}
			r.wantLetters(queue.Filter{}, "dead-00000", "dead-00002")
			r.wantAccount(queue.Account{Dead: 2, Discarded: 1})
		}},
		{"a dead letter that is being replaced is in nobody else's hands", func(r *rig) {
			r.bury(poison(), sample("mine", 2)...)
			n, err := r.Replace(r.Context(), queue.Filter{Limit: 1}, func(_ context.Context, l []queue.DeadLetter) ([]queue.Address, error) {
				at := queue.Filter{At: []queue.Address{l[0].Address}}
				r.replay(at, 0)
				r.discard(at, 0)
				r.replace(at, 0)
				r.erase(at, 0, 0)
				r.discard(queue.Filter{}, 1) // the other
				return at.At, nil
			})
			if n != 1 || err != nil {
				r.Errorf("got %d, %v", n, err)
			}
			r.wantAccount(queue.Account{Discarded: 2})
		}},
		{"erase throws away queued events and dead letters wherever they are", eraseAll},
		{"an erased event that was leased is never leased again", func(r *rig) {
			r.append(sample("out", 4)...)
			held := byAddress(r.lease(4))
			r.settle(queue.Outcome{Address: held[3].Address, Verb: queue.Retry, Delay: never, Attempts: 1})
			r.erase(queue.Filter{}, 4, 3)
			r.wantAccount(queue.Account{Discarded: 4})
			r.settle(queue.Outcome{Address: held[0].Address, Verb: queue.Delivered},
				queue.Outcome{Address: held[1].Address, Verb: queue.Return},
				queue.Outcome{Address: held[2].Address, Verb: queue.Bury, Reason: queue.Rejected},
				queue.Outcome{Address: held[3].Address, Verb: queue.Bury, Reason: queue.Poison})
			r.wantAccount(queue.Account{Discarded: 4})
			r.wantIdle()
		}},
		{"a discard throws away the letters that match and nothing else", func(r *rig) {
			r.append(sample("live", 2)...)
			held := r.lease(2)
			r.bury(poison(), sample("a", 3)...)
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject("door"), reject("gate")}})
			r.discard(queue.Filter{ID: "a-00001"}, 1)
			r.wantLetters(queue.Filter{}, "a-00000", "a-00002", "door", "gate")
			r.discard(queue.Filter{ID: "live-00000"}, 0) // not a letter
			r.wantAccount(queue.Account{Queued: 2, Dead: 4, Discarded: 1})
			r.discard(queue.Filter{Limit: 1}, 1)
			r.wantAccount(queue.Account{Queued: 2, Dead: 3, Discarded: 2})
			r.discard(queue.Filter{}, 3)
			r.wantAccount(queue.Account{Queued: 2, Discarded: 5})
			if n := r.stats().RejectBytes; n != 0 {
				r.Errorf("reject bytes without rejects: got %d", n)
			}
			r.settleAll(held, queue.Outcome{Verb: queue.Delivered})
			r.wantAccount(queue.Account{Delivered: 2, Discarded: 5})
		}},
		{"ten thousand letters are replayed and discarded", func(r *rig) {
			r.bury(poison(), sample("mass", 10_000)...)
			r.replay(queue.Filter{Limit: 5_000}, 5_000)
			r.discard(queue.Filter{}, 5_000)
			r.wantAccount(queue.Account{Queued: 5_000, Discarded: 5_000})
			r.lease(5_000)
			r.wantIdle()
		}},
	}
}

func replaceReject(r *rig) {
	mended := newEvent("mended", updated, "user", 300)
	mended.Persons = event.Persons{} // Parse finds none
	r.appendBatch(queue.Batch{Rejects: []queue.Reject{
		{Body: mended.Body, Reason: queue.NotLifecycle, Detail: "event: not one of the seven"},
		reject(unread),
	}})
	r.replace(queue.Filter{}, 1)
	r.wantLetters(queue.Filter{}, unread)
	r.wantAccount(queue.Account{Queued: 1, Dead: 1, Discarded: 1})
	got := r.lease(1)[0]
	if !sameEvent(got.Event, mended) || got.Attempts != 0 {
		r.Errorf("got %q %q %s after %d attempts", got.Event.ID, got.Event.Name, got.Event.Body, got.Attempts)
	}
	r.wantIdle()
	r.replace(queue.Filter{}, 0)
}

func eraseAll(r *rig) {
	r.bury(poison(), newEvent("dead", opened, "ann", 0), newEvent("dead too", opened, "bob", 0))
	r.append(newEvent("leased", opened, "ann", 0), newEvent("parked", opened, "ann", 0), newEvent("returned", opened, "ann", 0),
		newEvent("leased too", opened, "bob", 0))
	held := byAddress(r.lease(4))
	r.settle(queue.Outcome{Address: held[1].Address, Verb: queue.Retry, Delay: never, Attempts: 1},
		queue.Outcome{Address: held[2].Address, Verb: queue.Return})
	r.append(newEvent("fresh", opened, "ann", 0), newEvent("fresh too", opened, "bob", 0))
	r.appendBatch(queue.Batch{Rejects: []queue.Reject{
		{Body: []byte(`{"userId":"ann"}`), Reason: queue.Malformed}, {Body: []byte(`{"userId":"bob"}`), Reason: queue.Malformed}}})
	r.erase(queue.Filter{User: "ann"}, 6, 1)
	r.wantAccount(queue.Account{Queued: 2, Dead: 2, Discarded: 6})
	r.wantQueued(queue.Filter{}, "leased too", "fresh too")
	r.wantLetters(queue.Filter{}, "dead too", `{"userId":"bob"}`)
	r.erase(queue.Filter{User: "ann"}, 0, 0)
	if got := r.lease(1)[0]; got.Event.ID != "fresh too" {
		r.Errorf("got %s, want what is left", got.Event.ID)
	}
	r.wantIdle()
}
