package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"trackd/event"
	"trackd/queue"
)

// Ledger writes down what a queue was asked and what it answered, and knows
// from that where each event may be now: it is what a client of the queue may
// rely on, and nothing else. A test tells it of every call and of every end of
// the process, and asks it with [Ledger.Check] whether the queue's listings
// agree. Where an answer leaves something open, such as an Append that failed,
// the ledger allows every outcome until it has seen one. Each messageId, and
// each reject's body, may be used once. Not for concurrent use.
type Ledger struct {
	entries map[string]*entry // by letterKey
	loans   map[queue.Address]*entry

	// Upper bounds: what a backend forgot or a crash undid is still in them.
	taken, delivered, discarded uint64
}

// place is a set of places where an event may be.
type place uint8

const (
	placeGone   place = 1 << iota // in no listing: delivered, discarded or never stored
	placeQueued                   // listed by Queued
	placeDead                     // listed by DeadLetters
)

// String names the places of the set.
func (p place) String() string {
	var names []string
	for bit, name := range map[place]string{placeGone: "gone", placeQueued: "queued", placeDead: "dead"} {
		if p&bit != 0 {
			names = append(names, name)
		}
	}
	return fmt.Sprint(slices.Sorted(slices.Values(names)))
}

// entry is what the ledger knows of one event or reject.
type entry struct {
	event event.Event // of a reject, Body only
	now   place       // where it may be
	disk  place       // where it may be if the process dies now
	seen  bool        // since the start of the process, so that now is disk

	want    queue.Delivery   // what a lease must say; Address and Taken are not known
	past    []queue.Delivery // strikes and first failures said of it since it was queued
	unsure  bool             // a crash left one of past, or none
	parked  bool             // not due before the next start
	letters queue.DeadLetter // what it must say while it is dead
}

// NewLedger returns the ledger of an empty queue.
func NewLedger() *Ledger {
	return &Ledger{entries: map[string]*entry{}, loans: map[queue.Address]*entry{}}
}

// letterKey names a letter in a ledger: its messageId or, from the door, its
// input.
func letterKey(l queue.DeadLetter) string {
	if l.AtDoor {
		return string(l.Event.Body)
	}
	return l.Event.ID
}

// Appended notes an Append and its error.
func (l *Ledger) Appended(batch queue.Batch, err error) {
	if errors.Is(err, queue.ErrFull) {
		return
	}
	unknown := err != nil && !errors.Is(err, queue.ErrRejectsFull)
	for _, ev := range batch.Events {
		l.add(ev.ID, ev, placeQueued, unknown)
	}
	if errors.Is(err, queue.ErrRejectsFull) {
		return
	}
	for _, rej := range batch.Rejects {
		e := l.add(string(rej.Body), event.Event{Body: rej.Body}, placeDead, unknown)
		e.letters = queue.DeadLetter{AtDoor: true, Reason: rej.Reason, Detail: rej.Detail}
	}
}

func (l *Ledger) add(key string, ev event.Event, at place, unknown bool) *entry {
	ev.Body = bytes.Clone(ev.Body)
	if unknown {
		at |= placeGone
	}
	e := &entry{event: ev, now: at, disk: at, want: queue.Delivery{Event: ev}}
	l.entries[key] = e
	l.taken++
	return e
}

// Leased notes deliveries, and says which of them should not have been made.
func (l *Ledger) Leased(deliveries []queue.Delivery) error {
	var wrong []error
	for _, d := range deliveries {
		if err := l.leased(d); err != nil {
			wrong = append(wrong, fmt.Errorf("lease %s: %w", d.Event.ID, err))
		}
	}
	return errors.Join(wrong...)
}

func (l *Ledger) leased(d queue.Delivery) error {
	e := l.entries[d.Event.ID]
	switch {
	case e == nil:
		return errors.New("was never taken")
	case e.now&placeQueued == 0:
		return fmt.Errorf("is %v", e.now)
	case e.parked:
		return errors.New("is not due")
	case slices.Contains(slices.Collect(maps.Values(l.loans)), e):
		return errors.New("is on loan")
	}
	e.now = placeQueued
	l.loans[d.Address] = e
	if e.unsure {
		e.settleEvidence(d)
	}
	want := e.want
	want.Address, want.Taken = d.Address, d.Taken
	if diff := cmp.Diff(want, d, alike()); diff != "" {
		return fmt.Errorf("(-want +got):\n%s", diff)
	}
	return nil
}

// Due returns how many events a Lease could give now, at least.
func (l *Ledger) Due() (n int) {
	for _, e := range l.entries {
		if e.now == placeQueued && !e.parked {
			n++
		}
	}
	return n - len(l.loans)
}

// Settled notes outcomes and the error of their Settle. A retry with a Delay
// is taken to be parked until the next start: tests use none or a very long
// one. After an error the event may or may not have moved.
func (l *Ledger) Settled(outcomes []queue.Outcome, err error) {
	for _, o := range outcomes {
		e := l.loans[o.Address]
		if e == nil {
			continue
		}
		delete(l.loans, o.Address)
		to := placeQueued
		switch o.Verb {
		case queue.Delivered:
			to = placeGone
			l.delivered++
		case queue.Bury:
			to = placeDead
			e.letters = queue.DeadLetter{Reason: o.Reason, Status: o.Status, Detail: o.Detail, Attempts: o.Attempts}
		case queue.Retry:
			e.want.Attempts, e.want.Strikes, e.want.Successes = o.Attempts, o.Strikes, o.Successes
			e.want.FirstFailed, e.want.LastStatus, e.want.LastDetail = o.FirstFailed, o.Status, o.Detail
			e.past = append(e.past, e.want)
			e.parked = o.Delay > 0
		}
		e.disk, e.seen = e.disk|to, false
		if e.now = to; err != nil {
			e.now |= placeQueued
		}
	}
}

// Replayed notes that these letters were replayed and the error of that:
// without one all of them, durably.
func (l *Ledger) Replayed(letters []queue.DeadLetter, err error) {
	for _, letter := range letters {
		e := l.entries[letterKey(letter)]
		e.move(placeQueued, err != nil)
		e.want = queue.Delivery{Event: e.event}
		if e.unsure = err != nil; !e.unsure { // else what was said of it before may still stand
			e.past = nil
		}
	}
}

// Replaced notes that these letters, which [Parse] accepts, were appended anew
// and then discarded, and the error of that.
func (l *Ledger) Replaced(letters []queue.DeadLetter, err error) {
	for _, letter := range letters {
		l.entries[letterKey(letter)].move(placeGone, err != nil)
		l.discarded++
		if ev, refused := Parse(letter.Event.Body, time.Time{}); refused == nil {
			l.add(ev.ID, ev, placeQueued, err != nil)
		}
	}
}

// Erased notes that the queued events and dead letters that match were erased
// without an error. Of a leased one no outcome counts any more.
func (l *Ledger) Erased(match func(event.Event) bool) (n int) {
	for _, e := range l.entries {
		if e.now&placeGone == 0 && match(e.event) {
			e.move(placeGone, false)
			maps.DeleteFunc(l.loans, func(_ queue.Address, loan *entry) bool { return loan == e })
			l.discarded++
			n++
		}
	}
	return n
}

// settleEvidence settles on the evidence that a delivery after a crash tells
// of, if it was ever said.
func (e *entry) settleEvidence(d queue.Delivery) {
	for _, p := range append(e.past, queue.Delivery{}) {
		if p.Strikes == d.Strikes && p.FirstFailed.Sub(d.FirstFailed).Abs() <= grain {
			e.want.Strikes, e.want.FirstFailed, e.unsure = p.Strikes, p.FirstFailed, false
			return
		}
	}
}

// Discarded notes that these letters were discarded and the error of that:
// without one all of them, durably.
func (l *Ledger) Discarded(letters []queue.DeadLetter, err error) {
	for _, letter := range letters {
		l.entries[letterKey(letter)].move(placeGone, err != nil)
		l.discarded++
	}
}

// move notes a durable change, or one that may have happened.
func (e *entry) move(to place, unknown bool) {
	if unknown {
		e.disk |= to
		to |= e.now
	} else {
		e.disk = to
	}
	e.now, e.parked = to, false
}

// Flushed notes that every outcome so far is durable.
func (l *Ledger) Flushed() {
	for _, e := range l.entries {
		e.disk, e.seen = e.now, true
	}
}

// Closed notes a Close that returned nil: the next process finds all as it is.
func (l *Ledger) Closed() {
	for _, e := range l.entries {
		e.disk = e.now
	}
	l.end(false)
}

// Crashed notes that the process died: what was not durable may be undone.
func (l *Ledger) Crashed() { l.end(true) }

func (l *Ledger) end(crashed bool) {
	clear(l.loans)
	for _, e := range l.entries {
		e.now, e.seen, e.parked = e.disk, true, false
		e.unsure = e.unsure || crashed
		e.want = queue.Delivery{Event: e.event, Strikes: e.want.Strikes, FirstFailed: e.want.FirstFailed}
	}
}

// Check compares the queue's listings and account with the ledger, reports all
// that does not agree, and settles on what it saw where several outcomes were
// allowed.
func (l *Ledger) Check(ctx context.Context, q queue.Queue) error {
	seen, wrong := l.look(ctx, q)
	var queued, dead uint64
	for key, e := range l.entries {
		at, listed := seen[key]
		if !listed {
			at = placeGone
		}
		if at&e.now == 0 || at&(at-1) != 0 {
			wrong = append(wrong, fmt.Errorf("%.60q is %v, want it in one of %v", key, at, e.now))
			continue
		}
		if e.now = at; e.seen {
			e.disk = at
		}
		switch at {
		case placeQueued:
			queued++
		case placeDead:
			dead++
		}
	}
	return errors.Join(append(wrong, l.checkAccount(ctx, q, queued, dead))...)
}

// look returns where the listings show each event, and what is wrong with what
// they say.
func (l *Ledger) look(ctx context.Context, q queue.Queue) (map[string]place, []error) {
	seen := map[string]place{}
	var wrong []error
	see := func(key string, at place, compare func(*entry) string) {
		e := l.entries[key]
		if e == nil || seen[key]&at != 0 {
			wrong = append(wrong, fmt.Errorf("%.60q is %v, but was never taken or is listed twice", key, at))
			return
		}
		seen[key] |= at
		if diff := compare(e); diff != "" {
			wrong = append(wrong, fmt.Errorf("%.60q is %v with (-want +got):\n%s", key, at, diff))
		}
	}
	for d, err := range q.Queued(ctx, queue.Filter{}) {
		if err != nil {
			return seen, append(wrong, fmt.Errorf("list queued: %w", err))
		}
		see(d.Event.ID, placeQueued, func(e *entry) string { return cmp.Diff(e.event, d.Event, alike()) })
	}
	for letter, err := range q.DeadLetters(ctx, queue.Filter{}) {
		if err != nil {
			return seen, append(wrong, fmt.Errorf("list dead letters: %w", err))
		}
		see(letterKey(letter), placeDead, func(e *entry) string {
			want := e.letters
			want.Event = e.event
			return cmp.Diff(want, letter, alike(), cmpopts.IgnoreFields(letter, "Address", "Taken", "Died"))
		})
	}
	return seen, wrong
}

// checkAccount compares the account with what the listings showed.
func (l *Ledger) checkAccount(ctx context.Context, q queue.Queue, queued, dead uint64) error {
	var got queue.Stats
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var err error
		if got, err = q.Stats(ctx); err != nil {
			return fmt.Errorf("stats: %w", err)
		}
		if got.Exact {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("stats are not exact after %v", patience)
		}
	}
	if got.Queued != queued || got.Dead != dead || got.Lost != 0 || !got.Balances() ||
		got.Taken > l.taken || got.Delivered > l.delivered || got.Discarded > l.discarded {
		return fmt.Errorf("account: got %+v, want %d queued, %d dead, none lost and at most %d taken, %d delivered, %d discarded, in balance",
			got.Account, queued, dead, l.taken, l.delivered, l.discarded)
	}
	return nil
}
