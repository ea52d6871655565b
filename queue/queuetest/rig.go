package queuetest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"trackd/event"
	"trackd/queue"
)

const (
	patience = 10 * time.Second       // for what must happen; never waited out by a queue that works
	lull     = 20 * time.Millisecond  // for what must not happen
	pause    = 2 * time.Millisecond   // between two looks at what happens by itself
	grain    = 2 * time.Millisecond   // to which a backend may round a time
	never    = 1000 * time.Hour       // a Delay that no test lives to see
	opened   = "Application Opened"   // name of events where it does not matter
	updated  = "Application Updated"  // name of events that must be told from those
	unread   = `{"messageId": "open"` // a reject that Parse refuses
)

// rig is a queue under test with the calls as a sentence wants them: whatever
// must not fail is checked here.
type rig struct {
	testing.TB
	queue.Queue
	harness Harness
	closed  bool // by the sentence itself
	again   bool // it was closed or crashed, and opened again
}

// rig returns a rig around a new queue, closed when the test ends.
func (h Harness) rig(t testing.TB) *rig { return h.around(t, h.Open(t)) }

func (h Harness) around(t testing.TB, q queue.Queue) *rig {
	r := &rig{TB: t, Queue: q, harness: h}
	t.Cleanup(func() {
		if !r.closed {
			r.close()
		}
	})
	return r
}

// close closes the queue, once.
func (r *rig) close() {
	r.Helper()
	r.closed = true
	if err := r.Close(); err != nil {
		r.Errorf("close: %v", err)
	}
}

// reopen replaces the queue by what the next process finds after a clean stop.
func (r *rig) reopen() {
	r.Helper()
	if r.harness.Reopen == nil {
		r.Skip("this backend cannot be reopened")
	}
	r.Queue, r.again = r.harness.Reopen(r, r.Queue), true
}

// crash replaces the queue by what the next process finds after a kill.
func (r *rig) crash() {
	r.Helper()
	if r.harness.Crash == nil {
		r.Skip("this backend cannot be crashed")
	}
	r.Queue, r.again = r.harness.Crash(r, r.Queue), true
}

// newEvent returns an event whose body says which id, name and user it
// has, made larger by pad bytes that do not compress.
func newEvent(id, title, user string, pad int) event.Event {
	body := fmt.Sprintf(`{"type":"track","event":%q,"messageId":%q,"userId":%q,"properties":{"pad":%q}}`,
		title, id, user, noise(id, pad))
	return event.Event{ID: id, Name: title, Body: []byte(body), Persons: event.Persons{event.PersonHash([]byte(user))}}
}

// noise returns n hexadecimal digits that depend on seed.
func noise(seed string, n int) string {
	var key [32]byte
	copy(key[:], seed)
	raw := make([]byte, (n+1)/2)
	rand.NewChaCha8(key).Read(raw)
	return hex.EncodeToString(raw)[:n]
}

// sample returns n small events whose ids begin with prefix.
func sample(prefix string, n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = newEvent(fmt.Sprintf("%s-%05d", prefix, i), opened, "user-"+prefix, 0)
	}
	return events
}

// reject returns a reject with body.
func reject(body string) queue.Reject {
	return queue.Reject{Body: []byte(body), Reason: queue.Invalid, Detail: "event: found 7, allowed a string"}
}

// append takes events and checks that the queue says yes.
func (r *rig) append(events ...event.Event) {
	r.Helper()
	r.appendBatch(queue.Batch{Events: events})
}

func (r *rig) appendBatch(batch queue.Batch) {
	r.Helper()
	if err := r.Append(r.Context(), batch); err != nil {
		r.Fatalf("append %d events and %d rejects: %v", len(batch.Events), len(batch.Rejects), err)
	}
}

// lease returns exactly n deliveries, however many calls that takes.
func (r *rig) lease(n int) []queue.Delivery {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var all []queue.Delivery
	for len(all) < n {
		some, err := r.Lease(ctx, n-len(all))
		if err != nil {
			r.Fatalf("lease: got %d of %d, then: %v", len(all), n, err)
		}
		if len(some) == 0 || len(some) > n-len(all) {
			r.Fatalf("lease(%d): got %d deliveries, want 1 to %[1]d", n-len(all), len(some))
		}
		all = append(all, some...)
	}
	return all
}

// wantIdle checks that nothing is due now.
func (r *rig) wantIdle() {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), lull)
	defer cancel()
	if got, err := r.Lease(ctx, 100); !errors.Is(err, context.DeadlineExceeded) {
		r.Fatalf("lease: got %v (%v), want nothing to be due", deliveryIDs(got), err)
	}
}

// settle records outcomes.
func (r *rig) settle(outcomes ...queue.Outcome) {
	r.Helper()
	if err := r.Settle(r.Context(), outcomes...); err != nil {
		r.Fatalf("settle %d outcomes: %v", len(outcomes), err)
	}
}

// settleAll gives every delivery the same outcome.
func (r *rig) settleAll(deliveries []queue.Delivery, outcome queue.Outcome) {
	r.Helper()
	r.settle(same(deliveries, outcome)...)
}

// same returns outcome once for each delivery.
func same(deliveries []queue.Delivery, outcome queue.Outcome) []queue.Outcome {
	outcomes := make([]queue.Outcome, len(deliveries))
	for i, d := range deliveries {
		outcomes[i] = outcome
		outcomes[i].Address = d.Address
	}
	return outcomes
}

// bury takes events and makes each of them a letter.
func (r *rig) bury(outcome queue.Outcome, events ...event.Event) {
	r.Helper()
	outcome.Verb = queue.Bury
	r.append(events...)
	r.settleAll(r.lease(len(events)), outcome)
}

// poison is what most tests bury with.
func poison() queue.Outcome {
	return queue.Outcome{Verb: queue.Bury, Reason: queue.Poison, Status: 500, Detail: "it never passed", Attempts: 20}
}

// replace sends rejected input that Parse accepts through Append, as package
// admin does, and checks how many letters were replaced.
func (r *rig) replace(filter queue.Filter, want int) {
	r.Helper()
	if got, err := r.Replace(r.Context(), filter, reparse(r)); err != nil || got != want {
		r.Fatalf("replace: got %d (%v), want %d", got, err, want)
	}
}

// reparse returns a put for Replace that appends what Parse accepts.
func reparse(q queue.Queue) func(context.Context, []queue.DeadLetter) ([]queue.Address, error) {
	return func(ctx context.Context, letters []queue.DeadLetter) (at []queue.Address, err error) {
		var b queue.Batch
		for _, l := range letters {
			if ev, err := Parse(l.Event.Body, l.Taken); err == nil {
				b.Events = append(b.Events, ev)
				at = append(at, l.Address)
			}
		}
		if err := q.Append(ctx, b); err != nil {
			return nil, err
		}
		return at, nil
	}
}

// erase erases and checks how many, and how many of them were leased.
func (r *rig) erase(filter queue.Filter, want, wantInFlight int) {
	r.Helper()
	if got, inFlight, err := r.Erase(r.Context(), filter, false); err != nil || got != want || inFlight != wantInFlight {
		r.Fatalf("erase: got %d, %d in flight (%v), want %d and %d", got, inFlight, err, want, wantInFlight)
	}
}

// replay replays and checks how many.
func (r *rig) replay(filter queue.Filter, want int) {
	r.Helper()
	if got, err := r.Replay(r.Context(), filter); err != nil || got != want {
		r.Fatalf("replay: got %d (%v), want %d", got, err, want)
	}
}

// discard discards and checks how many.
func (r *rig) discard(filter queue.Filter, want int) {
	r.Helper()
	if got, err := r.Discard(r.Context(), filter); err != nil || got != want {
		r.Fatalf("discard: got %d (%v), want %d", got, err, want)
	}
}

// letters lists the letters that match.
func (r *rig) letters(filter queue.Filter) []queue.DeadLetter {
	r.Helper()
	letters := list(r, "dead letters", r.DeadLetters(r.Context(), filter))
	if !slices.IsSortedFunc(letters, func(a, b queue.DeadLetter) int { return a.Address.Compare(b.Address) }) {
		r.Fatalf("dead letters are not listed by address: %v", letterIDs(letters))
	}
	return letters
}

// queued lists the queued events that match.
func (r *rig) queued(filter queue.Filter) []queue.Delivery {
	r.Helper()
	return list(r, "queued", r.Queued(r.Context(), filter))
}

func list[T any](t testing.TB, what string, listing iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for item, err := range listing {
		if err != nil {
			t.Fatalf("list %s: %v", what, err)
		}
		all = append(all, item)
	}
	return all
}

// stats returns the state of the queue once it is exact.
func (r *rig) stats() queue.Stats {
	r.Helper()
	var s queue.Stats
	r.eventually("stats to be exact", func() bool {
		var err error
		if s, err = r.Stats(r.Context()); err != nil {
			r.Fatalf("stats: %v", err)
		}
		return s.Exact
	})
	return s
}

// eventually waits for something that happens by itself.
func (r *rig) eventually(what string, happened func() bool) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	look := time.NewTicker(pause)
	defer look.Stop()
	for !happened() {
		select {
		case <-look.C:
		case <-ctx.Done():
			r.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// wantAccount checks the account against want, whose Taken follows from the
// other terms. A backend that forgets settled events may show less of them, as
// long as the account balances.
func (r *rig) wantAccount(want queue.Account) {
	r.Helper()
	got := r.stats().Account
	want.Taken = want.Queued + want.Delivered + want.Dead + want.Discarded
	if (!r.harness.Remembers || r.again) && got.Delivered <= want.Delivered && got.Discarded <= want.Discarded {
		want.Delivered, want.Discarded = got.Delivered, got.Discarded
		want.Taken = want.Queued + want.Delivered + want.Dead + want.Discarded
	}
	if diff := cmp.Diff(want, got); diff != "" || !got.Balances() {
		r.Fatalf("account (-want +got, balances: %t):\n%s", got.Balances(), diff)
	}
}

// wantQueued checks which events are queued, in this order.
func (r *rig) wantQueued(filter queue.Filter, want ...string) {
	r.Helper()
	if got := deliveryIDs(r.queued(filter)); !slices.Equal(got, want) {
		r.Fatalf("queued: got %v, want %v", got, want)
	}
}

// wantLetters checks which letters match.
func (r *rig) wantLetters(filter queue.Filter, want ...string) {
	r.Helper()
	got := letterIDs(r.letters(filter))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.Fatalf("dead letters: got %v, want %v", got, want)
	}
}

func deliveryIDs(deliveries []queue.Delivery) []string {
	ids := make([]string, len(deliveries))
	for i, d := range deliveries {
		ids[i] = d.Event.ID
	}
	return ids
}

// letterIDs returns the messageId of each letter, or the body where the door
// never learned one.
func letterIDs(letters []queue.DeadLetter) []string {
	ids := make([]string, len(letters))
	for i, l := range letters {
		ids[i] = letterKey(l)
	}
	return ids
}

func eventIDs(events []event.Event) []string {
	ids := make([]string, len(events))
	for i, ev := range events {
		ids[i] = ev.ID
	}
	return ids
}

// byAddress returns deliveries in the order in which a backend lists them.
func byAddress(deliveries []queue.Delivery) []queue.Delivery {
	return slices.SortedFunc(slices.Values(deliveries), func(a, b queue.Delivery) int { return a.Address.Compare(b.Address) })
}

// alike lets times differ by as much as a backend may round them, and compares
// events without explaining each byte, which takes cmp a second for a large one.
func alike() cmp.Option {
	return cmp.Options{cmpopts.EquateApproxTime(grain), cmp.Comparer(sameEvent)}
}

// within reports whether t lies between from and to, as far as it may be
// rounded.
func within(t, from, to time.Time) bool {
	return !t.Before(from.Round(0).Add(-grain)) && !t.After(to.Round(0).Add(grain))
}
