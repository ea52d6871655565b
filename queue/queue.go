// Package queue is the contract between the two halves of trackd: ingest,
// which takes events, and the sender, which delivers them.
//
//	ingest ──Append──▶ Queue ──Lease──▶ sender ──POST──▶ destination
//	                     ▲ ◀──Settle──────┘
//	                     │
//	 admin ──Stats, Queued, DeadLetters, Replay, Replace, Discard, Erase
//
// Guarantees every backend gives: an Append that returned nil is durable; each
// event taken is at every moment exactly one of queued, delivered, dead or
// discarded, unless a damaged medium lost it, and then it is counted as lost
// (see [Account]). Delivery is at least once. Not promised: order,
// deduplication.
//
// The package holds no backend. boltqueue keeps the queue on this disk;
// queuetest is this contract as a test suite and an in-memory model of it.
//
// Reading order: queue.go (the interface), delivery.go (what the sender
// handles), letter.go (what an operator handles), reserve.go (room ahead of a
// batch), stats.go (the account).
package queue

import (
	"context"
	"errors"
	"iter"

	"trackd/event"
)

// Errors that callers branch on.
var (
	// ErrFull means the queue has no room: nothing of the batch was kept.
	ErrFull = errors.New("queue is full")

	// ErrRejectsFull means that the rejects of the batch, those of not_lifecycle
	// apart, were not kept because rejects fill their own bound. The batch's
	// events are durable.
	ErrRejectsFull = errors.New("room for rejects is full")

	// ErrSamplesFull means that the batch's rejects of not_lifecycle were not
	// kept: samples of what the configuration excludes have MaxSampleBytes of
	// their own. The rest of the batch is judged without them. An error may be
	// both this and ErrRejectsFull.
	ErrSamplesFull = errors.New("room for samples of excluded calls is full")

	// ErrClosed means the queue is closed or closing.
	ErrClosed = errors.New("queue is closed")
)

// Queue holds events from the moment they are taken until they are delivered
// or an operator discards them. All methods are safe for concurrent use.
type Queue interface {
	// Append makes the batch durable in one commit, or in as few as its size
	// allows, and returns nil once it is. After an error other than ErrFull,
	// ErrRejectsFull and ErrSamplesFull the outcome is unknown to the caller: the
	// events may have been stored and may be delivered. When ctx ends first the
	// batch may still be stored. The queue keeps no reference to the batch, nor to
	// what it holds, once Append returned: the caller uses that memory again.
	Append(ctx context.Context, batch Batch) error

	// Reserve sets aside room for events to come, the sum of their [Cost] or an
	// upper bound of it, or answers ErrFull. An Append whose Room is the
	// reservation draws from it and is not refused for want of room while it
	// lasts, whatever others append meanwhile. Release it when done: what was not
	// used is free again then, and after a crash.
	Reserve(ctx context.Context, bytes int64) (*Reservation, error)

	// Lease waits for events that are due and returns 1 to max of them. Returned
	// events come before any fresh one, in address order; fresh ones in address
	// order, too. While replayed events or due retries also wait, at least every
	// second event leased is fresh. A lease does not expire: every Delivery must
	// be settled, with Return if nothing was decided. The error is that of ctx,
	// or ErrClosed.
	Lease(ctx context.Context, max int) ([]Delivery, error)

	// Settle records what became of leased events. It is durable soon, not at
	// return: a crash may lead to the same events being leased again. Bury may
	// also name an event that waits for its retry: so the sender makes room when
	// [Stats].Parked reaches ParkedMax. Any other outcome for an event that is
	// not leased changes nothing. Strikes and FirstFailed of a Retry reach the
	// disk, at most once an hour an event.
	Settle(ctx context.Context, outcomes ...Outcome) error

	// Stats returns the account and the state of the queue.
	Stats(ctx context.Context) (Stats, error)

	// Queued yields the events that match and are neither settled nor lost, in
	// arrival order, without disturbing them. Leased ones are included.
	Queued(ctx context.Context, filter Filter) iter.Seq2[Delivery, error]

	// DeadLetters yields the letters that match, oldest address first.
	DeadLetters(ctx context.Context, filter Filter) iter.Seq2[DeadLetter, error]

	// Replay makes the dead letters that match and that were accepted once queued
	// again, with the same address and messageId and without evidence, and
	// returns how many. Rejected input is never replayed: see Replace. Durable at
	// return.
	Replay(ctx context.Context, filter Filter) (int, error)

	// Replace hands the dead letters that match, in chunks of bounded memory, to
	// put, which appends what shall stand in their place and returns the addresses
	// of those it replaced; they are then discarded, durably, and counted in the
	// result. An error of put ends the call after that. While a chunk is with put
	// its letters are claimed: another Replace, Replay or Discard passes them
	// over. A crash between the append and the discard leaves both: it may send an
	// event twice, and loses none.
	Replace(ctx context.Context, filter Filter, put func(context.Context, []DeadLetter) ([]Address, error)) (int, error)

	// Discard throws away the dead letters that match, for ever, and returns how
	// many. Durable at return.
	Discard(ctx context.Context, filter Filter) (int, error)

	// Erase throws away the queued events and the dead letters that match, for
	// ever, and counts them as discarded. Durable at return. inFlight of the erased
	// were leased: they may still reach the destination but are never sent again,
	// whatever their outcome. With compactNow the files that held them are
	// rewritten, so that the bytes are gone from them at return; without, that
	// happens when the file is rewritten or removed.
	Erase(ctx context.Context, filter Filter, compactNow bool) (erased, inFlight int, err error)

	// Close makes settled outcomes durable and releases the queue. Calls in
	// progress end with ErrClosed.
	Close() error
}

// Batch is what one caller wants made durable together.
type Batch struct {
	Events  []event.Event // to be delivered
	Rejects []Reject      // to be kept as dead letters from the start
	Room    *Reservation  // for Events; nil: none was reserved
}

// Reject is input that was rejected at ingest and is kept, so that the mistake
// of a fire-and-forget client can be seen and mended.
type Reject struct {
	Body   []byte // as it came, at most event.MaxInputBytes of it
	Reason Reason // malformed, invalid, not_lifecycle or oversize
	Detail string // every problem, in words
}
