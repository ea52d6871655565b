// Package queuetest is the contract of package queue as a test suite, and an
// in-memory queue that keeps it.
//
// A backend proves itself with two calls: [Run] checks every sentence of the
// contract by itself, [Compare] runs random sequences of calls, restarts and
// crashes against a [Ledger] of what the queue has answered. [Benchmark]
// measures what a backend is judged by. What the contract leaves open is not
// tested; where backends may differ, [Harness] says so as data.
//
// [Memory] is the fast, obviously right queue for tests of ingest and the
// sender.
//
// Reading order: queuetest.go (how a backend is handed over), rig.go (the
// handle the sentences are written with), then the sentences: taking.go,
// leasing.go, settling.go, burying.go, judging.go (replay, replace, discard and
// erase), restarting.go, bounding.go, storming.go, sharing.go; then ledger.go and
// compare.go; measuring.go; memory*.go.
package queuetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"trackd/event"
	"trackd/queue"
)

// Harness is what a backend hands to the suite.
type Harness struct {
	// Open returns a new, empty queue. The suite closes it.
	Open func(testing.TB) queue.Queue

	// Reopen closes q and opens the same data again. Nil: the backend cannot.
	Reopen func(testing.TB, queue.Queue) queue.Queue

	// Crash abandons q without flushing anything, as a killed process would, and
	// opens the same data. Nil: the backend cannot. The suite uses q no more.
	Crash func(testing.TB, queue.Queue) queue.Queue

	// Full returns a queue that answers ErrFull before it has taken 128 MiB of
	// events that do not compress. Nil: the backend has no bound.
	Full func(testing.TB) queue.Queue

	// RejectsFull returns a queue that answers ErrRejectsFull before it has taken
	// 128 MiB of rejects that do not compress. Nil: the backend has no bound.
	RejectsFull func(testing.TB) queue.Queue

	// Bounded returns a queue with room for about so many bytes of events, as
	// [queue.Cost] counts them: at least a quarter, at most twice of it. Nil: the
	// backend has no bound.
	Bounded func(t testing.TB, bytes int64) queue.Queue

	// Join opens the data of q once more, as another process would, while q goes
	// on. Nil unless Properties.Shared.
	Join func(testing.TB, queue.Queue) queue.Queue

	// Properties says in what the backend may differ from others.
	Properties queue.Properties

	// Remembers says that the backend forgets no settled event within a test of a
	// few hundred events and without a restart, so that each term of the account is known, not only a
	// bound of it.
	Remembers bool

	// Virtual runs each sentence inside a testing/synctest bubble, where waiting
	// costs nothing and delays are exact.
	Virtual bool
}

// sentence is one sentence of the contract and the test that holds it. The
// functions that list them are long because each stands beside its proof.
type sentence struct {
	says  string
	holds func(*rig)
}

// Run checks the contract, one subtest for each sentence of it.
func Run(t *testing.T, h Harness) {
	all := slices.Concat(taking(), leasing(), settling(), burying(), judging(), restarting(), bounding(), storming(), sharing())
	for _, s := range all {
		t.Run(s.says, func(t *testing.T) {
			h.bubble(t, func(t *testing.T) { s.holds(h.rig(t)) })
		})
	}
}

// bubble runs test, in virtual time if the harness can.
func (h Harness) bubble(t *testing.T, test func(*testing.T)) {
	if h.Virtual {
		synctest.Test(t, test)
		return
	}
	test(t)
}

// Parse judges rejected input that the suite replaces: it accepts any JSON
// object with a non-empty "messageId" and "event", and changes nothing.
func Parse(body []byte, _ time.Time) (event.Event, error) {
	var call struct {
		ID   string `json:"messageId"`
		Name string `json:"event"`
	}
	if err := json.Unmarshal(body, &call); err != nil {
		return event.Event{}, fmt.Errorf("parse event: %w", err)
	}
	if call.ID == "" || call.Name == "" {
		return event.Event{}, errors.New("parse event: messageId and event must be there")
	}
	return event.Event{ID: call.ID, Name: call.Name, Body: bytes.Clone(body)}, nil
}
