package queuetest

import (
	"github.com/google/go-cmp/cmp"

	"trackd/queue"
)

// judging is what the contract says of Replay and Discard.
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
		{"a replayed reject that now passes is taken as a new event", replayReject},
		{"a replayed reject that still does not pass stays", func(r *rig) {
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject(unread)}})
			before := r.letters(queue.Filter{})
			r.replay(queue.Filter{}, 0)
			if diff := cmp.Diff(before, r.letters(queue.Filter{}), alike()); diff != "" {
				r.Errorf("letter (-before +after):\n%s", diff)
			}
			r.wantAccount(queue.Account{Dead: 1})
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

func replayReject(r *rig) {
	mended := newEvent("mended", updated, "user", 300)
	r.appendBatch(queue.Batch{Rejects: []queue.Reject{
		{Body: mended.Body, Reason: queue.NotLifecycle, Detail: "event: not one of the seven"},
		reject(unread),
	}})
	r.replay(queue.Filter{}, 1)
	r.wantLetters(queue.Filter{}, unread)
	r.wantAccount(queue.Account{Queued: 1, Dead: 1, Discarded: 1})
	got := r.lease(1)[0]
	if !sameEvent(got.Event, mended) || got.Attempts != 0 {
		r.Errorf("got %q %q %s after %d attempts", got.Event.ID, got.Event.Name, got.Event.Body, got.Attempts)
	}
	r.wantIdle()
	r.replay(queue.Filter{}, 0)
}
