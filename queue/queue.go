// Package queue is the contract between the two halves of trackd: the door
// that takes events and the sender that delivers them.
//
//	ingest ──Append──▶ Queue ──Lease──▶ sender ──POST──▶ destination
//	                     ▲ ◀──Settle──────┘
//	                     │
//	 admin ──Stats, Queued, DeadLetters, Replay, Discard
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
// handles), letter.go (what an operator handles), stats.go (the account).
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

	// ErrRejectsFull means the rejects of the batch were not kept because
	// rejects fill their own bound; the batch's events are durable.
	ErrRejectsFull = errors.New("room for rejects is full")

	// ErrClosed means the queue is closed or closing.
	ErrClosed = errors.New("queue is closed")
)

// Queue holds events from the moment they are taken until they are delivered
// or an operator discards them. All methods are safe for concurrent use.
type Queue interface {
	// Append makes the batch durable in one commit, or in as few as its size
	// allows, and returns nil once it is. After an error other than ErrFull and
	// ErrRejectsFull the outcome is unknown to the caller: the events may have
	// been stored and may be delivered. When ctx ends first the batch may still
	// be stored. The queue keeps no reference to the batch, nor to what it holds,
	// once Append returned: the caller uses that memory again.
	Append(ctx context.Context, batch Batch) error

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

	// Replay makes the dead letters that match queued again, with the same
	// messageId, and returns how many. A letter that the door rejected is parsed
	// anew; if it now passes it is taken as a new event and the letter is
	// discarded, else it stays. Durable at return.
	Replay(ctx context.Context, filter Filter) (int, error)

	// Discard throws away the dead letters that match, for ever, and returns how
	// many. Durable at return.
	Discard(ctx context.Context, filter Filter) (int, error)

	// Close makes settled outcomes durable and releases the queue. Calls in
	// progress end with ErrClosed.
	Close() error
}

// Batch is what one caller wants made durable together.
type Batch struct {
	Events  []event.Event // to be delivered
	Rejects []Reject      // to be kept as dead letters from the start
}

// Reject is input that a door refused to send but keeps, so that the mistake
// of a fire-and-forget client can be seen and mended.
type Reject struct {
	Body   []byte // as it came, at most event.MaxInputBytes of it
	Reason Reason // malformed, invalid, not_lifecycle or oversize
	Detail string // every problem, in words
}
