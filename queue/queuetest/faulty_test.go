package queuetest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/queuetest"
)

// calls makes each call of a queue in which one event is leased and one is
// dead, and returns its error.
func calls(held, dead queue.Delivery) map[queuetest.Method]func(context.Context, queue.Queue) error {
	return map[queuetest.Method]func(context.Context, queue.Queue) error{
		queuetest.Append: func(ctx context.Context, q queue.Queue) error {
			return q.Append(ctx, queue.Batch{Events: []event.Event{{ID: "new", Body: []byte(`{}`)}}})
		},
		queuetest.Lease: func(ctx context.Context, q queue.Queue) error {
			_, err := q.Lease(ctx, 1)
			return err
		},
		queuetest.Settle: func(ctx context.Context, q queue.Queue) error {
			return q.Settle(ctx, queue.Outcome{Address: held.Address, Verb: queue.Delivered})
		},
		queuetest.Replay: func(ctx context.Context, q queue.Queue) error {
			_, err := q.Replay(ctx, queue.Filter{At: []queue.Address{dead.Address}})
			return err
		},
		queuetest.Discard: func(ctx context.Context, q queue.Queue) error {
			_, err := q.Discard(ctx, queue.Filter{At: []queue.Address{dead.Address}})
			return err
		},
		queuetest.Close: func(_ context.Context, q queue.Queue) error { return q.Close() },
	}
}

func TestAFaultBeforeHasNoEffectAndOneAfterHasAll(t *testing.T) {
	sick := errors.New("sick")
	for method := range calls(queue.Delivery{}, queue.Delivery{}) {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%t", method, after), func(t *testing.T) {
				m := queuetest.NewMemory(queuetest.Options{})
				held := leased(t, m, "held", "dead", "due")
				must(t, m.Settle(t.Context(),
					queue.Outcome{Address: held[1].Address, Verb: queue.Bury, Reason: queue.Poison},
					queue.Outcome{Address: held[2].Address, Verb: queue.Return},
				))
				call, f := calls(held[0], held[1])[method], queuetest.NewFaulty(m)
				healthy, _ := m.Stats(t.Context())
				fault := queuetest.Fault{Before: sick, Times: 1}
				if after {
					fault = queuetest.Fault{After: sick, Times: 1}
				}
				f.Fail(method, fault)
				if err := call(t.Context(), f); !errors.Is(err, sick) {
					t.Fatalf("got %v, want the fault", err)
				}
				stats, err := m.Stats(t.Context())
				acted := stats.Account != healthy.Account || stats.Leased != healthy.Leased || errors.Is(err, queue.ErrClosed)
				if acted != after {
					t.Errorf("had an effect: %t, want %t", acted, after)
				}
				if after { // most calls cannot be made twice
					return
				}
				if err := call(t.Context(), f); err != nil || f.Calls(method) != 2 {
					t.Errorf("second of %d calls: got %v, want it well again", f.Calls(method), err)
				}
			})
		}
	}
}

func TestAFaultyListingFailsAtItsBeginningOrItsEnd(t *testing.T) {
	sick := errors.New("sick")
	m := queuetest.NewMemory(queuetest.Options{})
	held := leased(t, m, "dead", "live", "more")
	must(t, m.Settle(t.Context(), queue.Outcome{Address: held[0].Address, Verb: queue.Bury, Reason: queue.Poison}))
	f := queuetest.NewFaulty(m)
	read := func(method queuetest.Method) (n int, last error) {
		if method == queuetest.Queued {
			for _, last = range f.Queued(t.Context(), queue.Filter{}) {
				n++
			}
			return n, last
		}
		for _, last = range f.DeadLetters(t.Context(), queue.Filter{}) {
			n++
		}
		return n, last
	}
	for method, whole := range map[queuetest.Method]int{queuetest.Queued: 2, queuetest.DeadLetters: 1} {
		f.Fail(method, queuetest.Fault{Before: sick})
		if n, err := read(method); n != 1 || !errors.Is(err, sick) {
			t.Errorf("%s before: got %d items, the last %v, want the fault alone", method, n, err)
		}
		f.Fail(method, queuetest.Fault{After: sick})
		if n, err := read(method); n != whole+1 || !errors.Is(err, sick) {
			t.Errorf("%s after: got %d items, the last %v, want %d and the fault", method, n, err, whole)
		}
		f.Fail(method, queuetest.Fault{})
		if n, err := read(method); n != whole || err != nil {
			t.Errorf("%s healed: got %d items, the last %v, want %d", method, n, err, whole)
		}
	}
}

// The worst answer a door can get: the event is stored, and yet an error.
func ExampleFaulty() {
	f := queuetest.NewFaulty(queuetest.NewMemory(queuetest.Options{}))
	f.Fail(queuetest.Append, queuetest.Fault{After: errors.New("disk: input/output error"), Times: 1})

	ctx := context.Background()
	err := f.Append(ctx, queue.Batch{Events: []event.Event{{ID: "a", Name: "Application Opened", Body: []byte(`{}`)}}})
	stats, _ := f.Stats(ctx)
	fmt.Println(err, "- but queued:", stats.Queued)
	// Output: disk: input/output error - but queued: 1
}

func ExampleMemory() {
	q := queuetest.NewMemory(queuetest.Options{MaxEvents: 1})
	ctx := context.Background()
	one := queue.Batch{Events: []event.Event{{ID: "a", Name: "Application Opened", Body: []byte(`{}`)}}}
	fmt.Println(q.Append(ctx, one), q.Append(ctx, one))

	held, _ := q.Lease(ctx, 10)
	_ = q.Settle(ctx, queue.Outcome{Address: held[0].Address, Verb: queue.Delivered})
	q = q.Crash() // the outcome was not flushed
	stats, _ := q.Stats(ctx)
	fmt.Println("queued after the crash:", stats.Queued)
	// Output:
	// <nil> queue is full
	// queued after the crash: 1
}
