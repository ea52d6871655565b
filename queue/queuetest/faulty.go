package queuetest

import (
	"context"
	"errors"
	"iter"
	"sync"

	"trackd/queue"
)

var _ queue.Queue = (*Faulty)(nil)

// Method names a method of queue.Queue that can be made to fail.
type Method string

// The methods of a queue.
const (
	Append      Method = "Append"
	Lease       Method = "Lease"
	Settle      Method = "Settle"
	Stats       Method = "Stats"
	Queued      Method = "Queued"
	DeadLetters Method = "DeadLetters"
	Replay      Method = "Replay"
	Discard     Method = "Discard"
	Close       Method = "Close"
)

// Fault is how a method fails. The zero Fault is none.
type Fault struct {
	Before error // the call has no effect and returns this
	After  error // the call has its effect and returns this all the same
	Times  int   // calls that fail before the method is well again; 0: all
}

// Faulty is a queue whose methods fail when told to: before they have had
// their effect or, which is worse, after it. An event leased by a Lease that
// fails After stays on loan until the next start, as it would in a process
// that lost the answer.
type Faulty struct {
	Queue queue.Queue // the one that does the work

	mu     sync.Mutex // owns everything below
	faults map[Method]Fault
	calls  map[Method]int
}

// NewFaulty returns a queue that behaves as q until it is told to fail.
func NewFaulty(q queue.Queue) *Faulty {
	return &Faulty{Queue: q, faults: map[Method]Fault{}, calls: map[Method]int{}}
}

// Fail makes a method fail from its next call on. The zero Fault heals it.
func (f *Faulty) Fail(method Method, fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[method] = fault
}

// Calls returns how often a method was called, failed calls included.
func (f *Faulty) Calls(method Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// call counts a call and returns the fault it meets.
func (f *Faulty) call(method Method) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls[method]++
	fault := f.faults[method]
	switch fault.Times {
	case 0:
	case 1:
		delete(f.faults, method)
	default:
		f.faults[method] = Fault{Before: fault.Before, After: fault.After, Times: fault.Times - 1}
	}
	return fault
}

// Append implements queue.Queue.
func (f *Faulty) Append(ctx context.Context, batch queue.Batch) error {
	return f.do(Append, func() error { return f.Queue.Append(ctx, batch) })
}

// Lease implements queue.Queue. A fault takes effect when the call is made, not
// while it waits.
func (f *Faulty) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	return get(f, Lease, func() ([]queue.Delivery, error) { return f.Queue.Lease(ctx, max) })
}

// Settle implements queue.Queue.
func (f *Faulty) Settle(ctx context.Context, outcomes ...queue.Outcome) error {
	return f.do(Settle, func() error { return f.Queue.Settle(ctx, outcomes...) })
}

// Stats implements queue.Queue.
func (f *Faulty) Stats(ctx context.Context) (queue.Stats, error) {
	return get(f, Stats, func() (queue.Stats, error) { return f.Queue.Stats(ctx) })
}

// Queued implements queue.Queue.
func (f *Faulty) Queued(ctx context.Context, filter queue.Filter) iter.Seq2[queue.Delivery, error] {
	return spoil(f, Queued, f.Queue.Queued(ctx, filter))
}

// DeadLetters implements queue.Queue.
func (f *Faulty) DeadLetters(ctx context.Context, filter queue.Filter) iter.Seq2[queue.DeadLetter, error] {
	return spoil(f, DeadLetters, f.Queue.DeadLetters(ctx, filter))
}

// Replay implements queue.Queue.
func (f *Faulty) Replay(ctx context.Context, filter queue.Filter) (int, error) {
	return get(f, Replay, func() (int, error) { return f.Queue.Replay(ctx, filter) })
}

// Discard implements queue.Queue.
func (f *Faulty) Discard(ctx context.Context, filter queue.Filter) (int, error) {
	return get(f, Discard, func() (int, error) { return f.Queue.Discard(ctx, filter) })
}

// Close implements queue.Queue.
func (f *Faulty) Close() error { return f.do(Close, f.Queue.Close) }

// do makes a call unless it fails before.
func (f *Faulty) do(method Method, call func() error) error {
	fault := f.call(method)
	if fault.Before != nil {
		return fault.Before
	}
	return errors.Join(call(), fault.After)
}

// get makes a call unless it fails before; a failed call returns no result.
func get[T any](f *Faulty, method Method, call func() (T, error)) (got T, err error) {
	err = f.do(method, func() (err error) {
		got, err = call()
		return err
	})
	if err != nil {
		var none T
		return none, err
	}
	return got, nil
}

// spoil puts an error in the place of a listing, or at its end. Each loop over
// the listing is a call.
func spoil[T any](f *Faulty, method Method, listing iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		fault := f.call(method)
		if fault.Before != nil {
			yield(none, fault.Before)
			return
		}
		for item, err := range listing {
			if !yield(item, err) {
				return
			}
		}
		if fault.After != nil {
			yield(none, fault.After)
		}
	}
}
