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
		{"reserved room is there, whatever others append", reserveRoom},
		{"a reservation that is released, used or outlived by a crash is room again", releaseRoom},
		{"samples of excluded calls have a bound of their own", samplesFull},
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
	n := 5
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

// reserveBytes is what reservations are tried with.
const reserveBytes = 16 << 20

// bounded replaces the queue by one with room for about reserveBytes.
func (r *rig) bounded() *rig {
	if r.harness.Bounded == nil {
		r.Skip("this backend has no bound")
	}
	return r.harness.around(r.TB, r.harness.Bounded(r, reserveBytes))
}

// batchOfCost returns a batch of events that cost at least bytes, and what.
func batchOfCost(prefix string, bytes int64) (batch queue.Batch, cost int64) {
	for cost < bytes {
		ev := largest(fmt.Sprint(prefix, len(batch.Events)))
		batch.Events = append(batch.Events, ev)
		cost += queue.Cost(ev)
	}
	return batch, cost
}

func reserveRoom(base *rig) {
	r := base.bounded()
	mine, cost := batchOfCost("mine", reserveBytes/8)
	room, err := r.Reserve(r.Context(), cost)
	if err != nil {
		r.Fatal(err)
	}
	defer room.Release()
	if _, err := r.Reserve(r.Context(), 4*reserveBytes); !errors.Is(err, queue.ErrFull) {
		r.Errorf("more than there is: got %v, want ErrFull", err)
	}
	kept, _ := r.fill()
	for i, ev := range mine.Events { // in as many commits as there are events
		if err := r.Append(r.Context(), queue.Batch{Events: mine.Events[i : i+1], Room: room}); err != nil {
			r.Fatalf("reserved event %d, %s: %v", i, ev.ID, err)
		}
	}
	r.wantAccount(queue.Account{Queued: uint64(len(kept) + len(mine.Events))})
}

func releaseRoom(base *rig) {
	r := base.bounded()
	for range 20 { // each would fill the queue
		room, err := r.Reserve(r.Context(), reserveBytes/5)
		if err != nil {
			r.Fatal(err)
		}
		if err := r.Append(r.Context(), queue.Batch{Events: sample("one", 1), Room: room}); err != nil {
			r.Fatal(err)
		}
		room.Release()
		room.Release()
		r.settleAll(r.lease(1), queue.Outcome{Verb: queue.Delivered})
	}
	if s := r.stats(); s.Full != "" {
		r.Errorf("full: %s", s.Full)
	}
}

func samplesFull(r *rig) {
	sample := func(i int) queue.Reject {
		return queue.Reject{Body: []byte(noise(fmt.Sprint("sample", i), event.MaxInputBytes)), Reason: queue.NotLifecycle}
	}
	var batch queue.Batch
	for i := range 2 * queue.MaxSampleBytes / event.MaxInputBytes {
		batch = queue.Batch{Events: []event.Event{newEvent(fmt.Sprint("with-", i), opened, "user", 0)}, Rejects: []queue.Reject{sample(i), reject(fmt.Sprint("other", i))}}
		if err := r.Append(r.Context(), batch); errors.Is(err, queue.ErrSamplesFull) {
			if errors.Is(err, queue.ErrRejectsFull) {
				r.Errorf("got %v, want only samples to be refused", err)
			}
			r.wantAccount(queue.Account{Queued: uint64(i + 1), Dead: uint64(2*i + 1)})
			if s := r.stats(); s.SampleBytes > queue.MaxSampleBytes || s.RejectBytes > queue.MaxSampleBytes/8 {
				r.Errorf("got %d bytes of samples and %d of rejects", s.SampleBytes, s.RejectBytes)
			}
			r.discard(queue.Filter{Reasons: []queue.Reason{queue.NotLifecycle}}, i)
			r.appendBatch(queue.Batch{Rejects: []queue.Reject{sample(-1)}})
			return
		} else if err != nil {
			r.Fatal(err)
		}
	}
	r.Fatalf("took twice %d bytes of samples", queue.MaxSampleBytes)
}

// batchOfRejects returns one event and n of the largest rejects.
func batchOfRejects(number, n int) queue.Batch {
	batch := queue.Batch{Events: sample(fmt.Sprintf("with-%d", number), 1)}
	for i := range n {
		batch.Rejects = append(batch.Rejects, reject(noise(fmt.Sprintf("reject-%d-%d", number, i), event.MaxInputBytes)))
	}
	return batch
}
