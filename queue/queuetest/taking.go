package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"trackd/event"
	"trackd/queue"
)

// taking is what the contract says of Append.
func taking() []sentence {
	return []sentence{
		{"an event leaves as it came", func(r *rig) {
			want := newEvent("id <&> \"ü\"", updated, "someone", 300)
			before := time.Now()
			r.append(want)
			after := time.Now()
			got := r.lease(1)[0]
			if !sameEvent(got.Event, want) {
				r.Errorf("got %q %q %s, want %q %q %s", got.Event.ID, got.Event.Name, got.Event.Body, want.ID, want.Name, want.Body)
			}
			if !within(got.Taken, before, after) {
				r.Errorf("taken: got %v, want between %v and %v", got.Taken, before, after)
			}
			if got.Event.Persons != want.Persons || got.Event.Type != event.TypeTrack {
				r.Errorf("got type %v and persons %v, want %v and %v", got.Event.Type, got.Event.Persons, want.Type, want.Persons)
			}
			if got.Attempts != 0 || got.Strikes != 0 || got.Successes != 0 {
				r.Errorf("got %d attempts, %v strikes, %d successes, want none", got.Attempts, got.Strikes, got.Successes)
			}
			if got.Address == (queue.Address{}) {
				r.Error("got the zero address, which is before every event")
			}
		}},
		{"every type of call and up to three persons are kept", func(r *rig) {
			var want []event.Event
			for i, typ := range event.Types() {
				ev := newEvent(typ.String(), opened, "user", 0)
				ev.Type, ev.Persons = typ, event.Persons{}
				for p := range i % 4 {
					ev.Persons[p] = event.PersonHash(fmt.Append(nil, p, i))
				}
				want = append(want, ev)
			}
			r.append(want...)
			r.wantSameEvents(r.lease(len(want)), want)
		}},
		{"the queue keeps no reference to a batch", func(r *rig) {
			mine := newEvent("id", opened, "user", 300)
			want := string(mine.Body)
			r.append(mine)
			clear(mine.Body)
			got := r.lease(1)[0]
			if string(got.Event.Body) != want {
				r.Fatalf("got body %q, want %q", got.Event.Body, want)
			}
			clear(got.Event.Body) // the holder owns the memory of a delivery, too
			r.settleAll([]queue.Delivery{got}, queue.Outcome{Verb: queue.Return})
			if got := r.lease(1)[0]; string(got.Event.Body) != want {
				r.Fatalf("leased again: got body %q, want %q", got.Event.Body, want)
			}
		}},
		{"an empty batch changes nothing", func(r *rig) {
			r.appendBatch(queue.Batch{})
			r.wantAccount(queue.Account{})
			r.wantIdle()
		}},
		{"ten thousand events in one batch all arrive", func(r *rig) {
			want := sample("many", 10_000)
			r.append(want...)
			r.wantSameEvents(r.lease(len(want)), want)
			r.wantAccount(queue.Account{Queued: 10_000})
		}},
		{"events of the largest size that do not compress all arrive", func(r *rig) {
			want := make([]event.Event, 100)
			for i := range want {
				want[i] = largest(fmt.Sprintf("large-%03d", i))
			}
			r.append(want...)
			r.wantSameEvents(r.lease(len(want)), want)
		}},
		{"small and large events in one batch keep their bodies", func(r *rig) {
			var want []event.Event
			for i := range 300 {
				want = append(want, newEvent(fmt.Sprintf("mixed-%03d", i), opened, "user", i*i%9_000))
			}
			r.append(want...)
			r.wantSameEvents(r.lease(len(want)), want)
		}},
		{"a reject is a dead letter from the start", rejectIsLetter},
		{"a reject of any bytes is kept as it came", func(r *rig) {
			var rejects []queue.Reject
			for _, body := range []string{"", "\x00\xff\n", strings.Repeat("a", event.MaxInputBytes), noise("reject", event.MaxInputBytes)} {
				rejects = append(rejects, reject(body))
			}
			r.appendBatch(queue.Batch{Rejects: rejects})
			var bodies []string
			for _, rej := range rejects {
				bodies = append(bodies, string(rej.Body))
			}
			r.wantLetters(queue.Filter{}, bodies...)
			r.wantAccount(queue.Account{Dead: uint64(len(rejects))})
		}},
		{"a batch may hold events and rejects", func(r *rig) {
			r.appendBatch(queue.Batch{Events: sample("good", 3), Rejects: []queue.Reject{reject("bad"), reject("worse")}})
			r.wantAccount(queue.Account{Queued: 3, Dead: 2})
			r.wantQueued(queue.Filter{}, eventIDs(sample("good", 3))...)
			r.wantLetters(queue.Filter{}, "bad", "worse")
			r.lease(3)
			r.wantIdle() // the rejects are never leased
		}},
		{"an append whose context has ended stores all of its events or none", func(r *rig) {
			ctx, cancel := context.WithCancel(r.Context())
			cancel()
			err := r.Append(ctx, queue.Batch{Events: sample("late", 3)})
			if err != nil && !errors.Is(err, context.Canceled) {
				r.Fatalf("got %v, want nil or that of the context", err)
			}
			r.append(sample("next", 1)...) // whatever was on its way has arrived when this has
			got := deliveryIDs(r.queued(queue.Filter{}))
			if all := append(eventIDs(sample("late", 3)), "next-00000"); !slices.Equal(got, all) && (err == nil || len(got) != 1) {
				r.Fatalf("append answered %v, queued: %v", err, got)
			}
		}},
	}
}

func rejectIsLetter(r *rig) {
	before := time.Now()
	r.appendBatch(queue.Batch{Rejects: []queue.Reject{{
		Body: []byte(unread), Reason: queue.Malformed, Detail: "unexpected end",
	}}})
	after := time.Now()
	letters := r.letters(queue.Filter{})
	if len(letters) != 1 {
		r.Fatalf("got %d letters, want 1", len(letters))
	}
	got := letters[0]
	if string(got.Event.Body) != unread || !got.AtDoor || got.Reason != queue.Malformed || got.Detail != "unexpected end" {
		r.Errorf("got %+v", got)
	}
	if got.Status != 0 || got.Attempts != 0 {
		r.Errorf("got status %d after %d attempts, want none: it was never sent", got.Status, got.Attempts)
	}
	if !within(got.Taken, before, after) || !got.Died.Equal(got.Taken) {
		r.Errorf("taken %v, died %v, want the same moment between %v and %v", got.Taken, got.Died, before, after)
	}
	if n := r.stats().RejectBytes; n <= 0 {
		r.Errorf("reject bytes: got %d, want more than none", n)
	}
}

// largest returns an event of exactly event.MaxBytes that does not compress
// well.
func largest(id string) event.Event {
	return newEvent(id, opened, "user", event.MaxBytes-len(newEvent(id, opened, "user", 0).Body))
}

func sameEvent(a, b event.Event) bool {
	return a.Type == b.Type && a.ID == b.ID && a.Name == b.Name && a.Persons == b.Persons && bytes.Equal(a.Body, b.Body)
}

// wantSameEvents checks that got is want: each once, in arrival order where
// the backend keeps one.
func (r *rig) wantSameEvents(got []queue.Delivery, want []event.Event) {
	r.Helper()
	if len(got) != len(want) {
		r.Fatalf("got %d events, want %d", len(got), len(want))
	}
	if !r.harness.Properties.Ordered {
		got = slices.SortedFunc(slices.Values(got), func(a, b queue.Delivery) int { return strings.Compare(a.Event.ID, b.Event.ID) })
		want = slices.SortedFunc(slices.Values(want), func(a, b event.Event) int { return strings.Compare(a.ID, b.ID) })
	}
	for i := range want {
		if !sameEvent(got[i].Event, want[i]) {
			r.Fatalf("event %d of %d: got %q of %d bytes, want %q of %d bytes",
				i, len(want), got[i].Event.ID, len(got[i].Event.Body), want[i].ID, len(want[i].Body))
		}
	}
}
