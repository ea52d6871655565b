package boltqueue_test

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
	"trackd/queue/queuetest"
)

// note is what a process that uses a queue tells of one call: before it is
// made, and once it was answered.
type note struct {
	Op       string
	Answered bool
	At       int64 // CLOCK_MONOTONIC, which all processes share, nanoseconds
	Err      string

	Batch    noteBatch
	Got      []queue.Delivery
	Outcomes []queue.Outcome
	Letters  []queue.DeadLetter
}

// noteBatch is a batch without what has no meaning in another process.
type noteBatch struct {
	Events  []event.Event
	Rejects []queue.Reject
}

// The calls, and what else is told.
const (
	opOpen    = "open"
	opAppend  = "append"
	opLease   = "lease"
	opSettle  = "settle"
	opReplay  = "replay"
	opReplace = "replace"
	opDiscard = "discard"
	opErase   = "erase"
	opFlush   = "flush" // every outcome so far is durable
	opClose   = "close"

	opStruck = "struck" // a fault struck; Err says where
	opWrong  = "wrong"  // the queue broke its word; Err says how
	opPaused = "paused" // at the point in Err, until told to go on
)

var errUnanswered = errors.New("the process died before it was answered")

// err is the error of the call as its caller saw it.
func (n note) err() error {
	if !n.Answered {
		return errUnanswered
	}
	for _, known := range []error{queue.ErrFull, queue.ErrRejectsFull} {
		if strings.HasPrefix(n.Err, known.Error()) {
			return fmt.Errorf("%w%s", known, strings.TrimPrefix(n.Err, known.Error()))
		}
	}
	if n.Err != "" {
		return errors.New(n.Err)
	}
	return nil
}

// enter writes an answered or unanswered call into the ledger and returns what
// the queue did wrong.
func (n note) enter(l *queuetest.Ledger) error {
	switch n.Op {
	case opAppend:
		l.Appended(queue.Batch{Events: n.Batch.Events, Rejects: n.Batch.Rejects}, n.err())
	case opLease:
		return l.Leased(n.Got)
	case opSettle:
		l.Settled(n.Outcomes, n.err())
	case opReplay:
		l.Replayed(n.Letters, n.err())
	case opReplace:
		l.Replaced(n.Letters, n.err())
	case opDiscard, opErase:
		l.Discarded(n.Letters, n.err())
	case opFlush:
		if n.err() == nil {
			l.Flushed()
		}
	case opClose:
		if n.err() == nil {
			l.Closed()
		} else {
			l.Crashed()
		}
	case opWrong:
		return errors.New(n.Err)
	}
	return nil
}

// enterAll writes what a process told into the ledger: one goroutine made the
// calls, so at most the last was not answered.
func enterAll(l *queuetest.Ledger, notes []note) error {
	var wrong []error
	var open *note
	for _, n := range notes {
		switch {
		case n.Op == opStruck || n.Op == opPaused:
		case n.Answered:
			open = nil
			wrong = append(wrong, n.enter(l))
		default:
			open = &n
		}
	}
	if open != nil {
		wrong = append(wrong, open.enter(l))
	}
	return errors.Join(wrong...)
}

// passed returns the fault that struck, if one did.
func struck(notes []note) string {
	for _, n := range notes {
		if n.Op == opStruck {
			return n.Err
		}
	}
	return ""
}

func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // every Linux has that clock
	}
	return ts.Nano()
}

// teller returns a function that writes notes to w, from any goroutine.
func teller(w io.Writer) func(note) {
	var mu sync.Mutex
	enc := gob.NewEncoder(w)
	return func(n note) {
		mu.Lock()
		defer mu.Unlock()
		n.At = monotonic()
		if err := enc.Encode(n); err != nil {
			panic(err) // nobody listens: this process is of no use
		}
	}
}

// listen hands every note that r brings to hear, until its writer is gone.
func listen(r io.Reader, hear func(note)) {
	dec := gob.NewDecoder(r)
	for {
		var n note
		if dec.Decode(&n) != nil { // the end, or a note cut short by a kill
			return
		}
		hear(n)
	}
}

// opened is a queue with the notes its use makes.
type told struct {
	*boltqueue.Queue
	tell func(note)
}

// call tells of a call before and after it is made.
func (q told) call(n note, make func(*note) error) error {
	q.tell(n)
	n.Answered = true
	err := make(&n)
	if err != nil {
		n.Err = err.Error()
	}
	q.tell(n)
	return err
}
