package queuetest

import (
	"errors"
	"fmt"

	"trackd/event"
	"trackd/queue"
)

// fillBytes bounds what a queue that is about to be full may still take.
const fillBytes = 128 << 20

// bounding is what the contract says of ErrFull and ErrRejectsFull.
func bounding() []sentence {
	return []sentence{
		{"a full queue keeps nothing more, sends on and recovers by itself", fullAndBack},
		{"full of rejects it still takes events", rejectsFullAndBack},
	}
}

func fullAndBack(base *rig) {
	if base.harness.Full == nil {
		base.Skip("this backend has no bound")
	}
	r := base.harness.around(base.TB, base.harness.Full(base))
	kept, refused := r.fill()
	r.wantAccount(queue.Account{Queued: uint64(len(kept))})
	if s := r.stats(); s.Full == "" {
		r.Error("stats do not say why the queue is full")
	}
	for _, id := range refused {
		r.wantQueued(queue.Filter{ID: id})
	}
	held := r.lease(len(kept))
	if got := deliveryIDs(held); !sameIDs(got, kept) {
		r.Errorf("leased %d events other than the %d that were kept", len(got), len(kept))
	}
	r.settleAll(held[:1], poison())
	r.settleAll(held[1:], queue.Outcome{Verb: queue.Delivered})
	r.eventually("room after all was sent", func() bool {
		err := r.Append(r.Context(), queue.Batch{Events: sample("room", 1)})
		if err != nil && !errors.Is(err, queue.ErrFull) {
			r.Fatalf("append: %v", err)
		}
		return err == nil
	})
	r.wantQueued(queue.Filter{}, "room-00000")
	if s := r.stats(); s.Full != "" {
		r.Errorf("stats still say the queue is full: %s", s.Full)
	}
	r.wantLetters(queue.Filter{}, held[0].Event.ID)
}

// fill appends until the queue refuses even one event, and returns the ids that
// were kept and those that were not.
func (r *rig) fill() (kept, refused []string) {
	r.Helper()
	n := 100
	for taken := 0; taken < fillBytes; taken += n * event.MaxBytes {
		batch := make([]event.Event, n)
		for i := range batch {
			batch[i] = largest(fmt.Sprintf("fill-%d-%d", len(kept)+len(refused), i))
		}
		switch err := r.Append(r.Context(), queue.Batch{Events: batch}); {
		case err == nil:
			kept = append(kept, eventIDs(batch)...)
		case !errors.Is(err, queue.ErrFull):
			r.Fatalf("append to a queue about to be full: %v", err)
		case n > 1:
			refused = append(refused, batch[0].ID, batch[n-1].ID)
			n = 1
		default:
			return kept, append(refused, batch[0].ID)
		}
	}
	r.Fatalf("took %d events and %d bytes without being full", len(kept), fillBytes)
	return nil, nil
}

func rejectsFullAndBack(base *rig) {
	if base.harness.RejectsFull == nil {
		base.Skip("this backend has no bound on rejects")
	}
	r := base.harness.around(base.TB, base.harness.RejectsFull(base))
	const each = 10
	var err error
	batches := 0
	for ; err == nil && batches*each*event.MaxInputBytes < fillBytes; batches++ {
		err = r.Append(r.Context(), batchOfRejects(batches, each))
	}
	if !errors.Is(err, queue.ErrRejectsFull) {
		r.Fatalf("after %d rejects: got %v, want ErrRejectsFull", batches*each, err)
	}
	kept := (batches - 1) * each
	r.wantAccount(queue.Account{Queued: uint64(batches), Dead: uint64(kept)})
	if got := deliveryIDs(r.lease(batches)); len(got) != batches {
		r.Errorf("got %d events, want %d: one of each batch", len(got), batches)
	}
	r.discard(queue.Filter{}, kept)
	r.eventually("room after all rejects were discarded", func() bool {
		return r.Append(r.Context(), queue.Batch{Rejects: []queue.Reject{reject("small")}}) == nil
	})
	r.wantLetters(queue.Filter{}, "small")
}

// batchOfRejects returns one event and n of the largest rejects.
func batchOfRejects(number, n int) queue.Batch {
	batch := queue.Batch{Events: sample(fmt.Sprintf("with-%d", number), 1)}
	for i := range n {
		batch.Rejects = append(batch.Rejects, reject(noise(fmt.Sprintf("reject-%d-%d", number, i), event.MaxInputBytes)))
	}
	return batch
}
