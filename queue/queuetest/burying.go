package queuetest

import (
	"fmt"
	"time"

	"github.com/google/go-cmp/cmp"

	"trackd/queue"
)

// burying is what the contract says of Bury, of the letters it makes and of
// the two listings.
func burying() []sentence {
	return []sentence{
		{"a buried event is a letter that says why", buriedIsLetter},
		{"letters are counted by reason", func(r *rig) {
			for i, reason := range []queue.Reason{queue.Rejected, queue.TooLarge, queue.Poison, queue.Expired} {
				r.bury(queue.Outcome{Reason: reason}, sample(string(reason), i+1)...)
			}
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject("a"), reject("b")}})
			want := map[queue.Reason]uint64{
				queue.Rejected: 1, queue.TooLarge: 2, queue.Poison: 3, queue.Expired: 4, queue.Invalid: 2,
			}
			got := r.stats().DeadByReason
			for _, reason := range queue.Reasons() {
				if got[reason] != want[reason] {
					r.Errorf("%s: got %d, want %d", reason, got[reason], want[reason])
				}
			}
			r.wantAccount(queue.Account{Dead: 12})
		}},
		{"letters are filtered by each field and by all", filterLetters},
		{"queued events are filtered by each field", filterQueued},
		{"queued events are listed in arrival order and left alone", func(r *rig) {
			r.append(sample("a", 3)...)
			r.append(sample("0", 3)...)
			held := r.lease(2)
			want := append(eventIDs(sample("a", 3)), eventIDs(sample("0", 3))...)
			r.wantQueued(queue.Filter{}, want...)
			r.settleAll(held[:1], queue.Outcome{Verb: queue.Return})
			r.wantQueued(queue.Filter{}, want...)
			r.lease(5)
			r.wantIdle()
		}},
		{"a listing continues after an address", listInPages},
		{"a loop over a listing may stop early and may call the queue", func(r *rig) {
			r.bury(poison(), sample("dead", 300)...)
			r.append(sample("live", 300)...)
			for l, err := range r.DeadLetters(r.Context(), queue.Filter{}) {
				if err != nil {
					r.Fatal(err)
				}
				r.discard(queue.Filter{At: []queue.Address{l.Address}}, 1)
				r.append(sample("while", 1)...)
				break
			}
			for _, err := range r.Queued(r.Context(), queue.Filter{}) {
				if err != nil {
					r.Fatal(err)
				}
				r.settleAll(r.lease(1), queue.Outcome{Verb: queue.Delivered})
				r.stats()
				break
			}
			n := 0
			for l, err := range r.DeadLetters(r.Context(), queue.Filter{}) {
				if err != nil {
					r.Fatal(err)
				}
				n++
				r.discard(queue.Filter{At: []queue.Address{l.Address}}, 1)
			}
			if n != 299 {
				r.Errorf("a loop that discards what it sees: got %d letters, want 299", n)
			}
			r.wantAccount(queue.Account{Queued: 300, Delivered: 1, Discarded: 300})
		}},
	}
}

func buriedIsLetter(r *rig) {
	ev := newEvent("bad", updated, "user", 700)
	r.append(ev)
	held := r.lease(1)[0]
	before := time.Now()
	r.settle(queue.Outcome{
		Address: held.Address, Verb: queue.Bury, Reason: queue.Rejected, Status: 422, Attempts: 4,
		Detail: "{\"meta\":{\"errors\":[\"'ü' is no \\u0000\"]}}\n",
	})
	after := time.Now()
	got := r.letters(queue.Filter{})
	if len(got) != 1 {
		r.Fatalf("got %d letters, want 1", len(got))
	}
	want := queue.DeadLetter{
		Address: held.Address, Event: ev, Reason: queue.Rejected, Status: 422, Attempts: 4, Taken: held.Taken,
		Detail: "{\"meta\":{\"errors\":[\"'ü' is no \\u0000\"]}}\n", Died: got[0].Died,
	}
	if diff := cmp.Diff(want, got[0], alike()); diff != "" {
		r.Errorf("letter (-want +got):\n%s", diff)
	}
	if !within(got[0].Died, before, after) {
		r.Errorf("died: got %v, want between %v and %v", got[0].Died, before, after)
	}
	r.wantQueued(queue.Filter{})
	r.wantIdle()
}

// filterLetters buries seven events that differ in each field.
func filterLetters(r *rig) {
	first := newEvent("one", opened, "ann", 0)
	r.bury(queue.Outcome{Reason: queue.Rejected, Status: 400}, first)
	<-time.After(2 * grain) // so that "before" can tell it from the others
	r.bury(queue.Outcome{Reason: queue.Rejected, Status: 422}, newEvent("two", updated, "bob", 0))
	r.bury(queue.Outcome{Reason: queue.TooLarge, Status: 413}, newEvent("three", updated, "ann", 0))
	r.bury(queue.Outcome{Reason: queue.Expired}, newEvent("four", opened, "bob", 0))
	r.appendBatch(queue.Batch{Rejects: []queue.Reject{reject("door")}})
	all := r.letters(queue.Filter{})
	at := map[string]queue.DeadLetter{}
	for _, l := range all {
		at[letterKey(l)] = l
	}
	for _, test := range []struct {
		filter queue.Filter
		want   []string
	}{
		{queue.Filter{}, []string{"one", "two", "three", "four", "door"}},
		{queue.Filter{Reasons: []queue.Reason{queue.Rejected}}, []string{"one", "two"}},
		{queue.Filter{Reasons: []queue.Reason{queue.Expired, queue.Invalid, queue.Poison}}, []string{"four", "door"}},
		{queue.Filter{Statuses: []int{422, 413}}, []string{"two", "three"}},
		{queue.Filter{Event: updated}, []string{"two", "three"}},
		{queue.Filter{ID: "four"}, []string{"four"}},
		{queue.Filter{ID: "fou"}, nil},
		{queue.Filter{User: "ann"}, []string{"one", "three"}},
		{queue.Filter{TakenBefore: at["two"].Taken}, []string{"one"}},
		{queue.Filter{At: []queue.Address{at["three"].Address, at["door"].Address}}, []string{"three", "door"}},
		{queue.Filter{Event: updated, User: "ann", Reasons: []queue.Reason{queue.TooLarge}}, []string{"three"}},
		{queue.Filter{Event: updated, User: "bob", Statuses: []int{413}}, nil},
	} {
		r.wantLetters(test.filter, test.want...)
	}
}

func filterQueued(r *rig) {
	r.append(newEvent("one", opened, "ann", 0))
	<-time.After(2 * grain)
	r.append(newEvent("two", updated, "bob", 0), newEvent("three", updated, "ann", 0))
	all := r.queued(queue.Filter{})
	r.wantQueued(queue.Filter{}, "one", "two", "three")
	r.wantQueued(queue.Filter{Event: updated}, "two", "three")
	r.wantQueued(queue.Filter{ID: "two"}, "two")
	r.wantQueued(queue.Filter{User: "ann"}, "one", "three")
	r.wantQueued(queue.Filter{TakenBefore: all[1].Taken}, "one")
	r.wantQueued(queue.Filter{At: []queue.Address{all[0].Address, all[2].Address}}, "one", "three")
	r.wantQueued(queue.Filter{After: all[0].Address}, "two", "three")
	r.wantQueued(queue.Filter{After: all[0].Address, Limit: 1}, "two")
	r.wantQueued(queue.Filter{User: "ann", Event: updated}, "three")
}

// listInPages reads 2,500 letters and as many queued events, 400 at a time.
func listInPages(r *rig) {
	const n, page = 2_500, 400
	r.bury(poison(), sample("dead", n)...)
	r.append(sample("live", n)...)
	letters, queued := map[string]bool{}, map[string]bool{}
	dead, live := queue.Filter{Limit: page}, queue.Filter{Limit: page}
	for range n/page + 1 {
		for _, l := range r.letters(dead) {
			letters[l.Event.ID], dead.After = true, l.Address
		}
		for _, d := range r.queued(live) {
			queued[d.Event.ID], live.After = true, d.Address
		}
	}
	if len(letters) != n || len(queued) != n {
		r.Errorf("in %d pages of %d: got %d letters and %d queued, want %d of each", n/page+1, page, len(letters), len(queued), n)
	}
	if got := len(r.letters(queue.Filter{})); got != n {
		r.Errorf("at once: got %d letters, want %d", got, n)
	}
	last := fmt.Sprintf("live-%05d", n-1)
	r.wantQueued(queue.Filter{ID: last}, last)
}
