package queuetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"trackd/event"
	"trackd/queue"
)

// Compare makes steps random calls on a new queue, one after the other, with
// restarts and crashes between them as far as the harness can, and compares
// the queue with a [Ledger] after each restart and at the end. What the
// contract leaves open it accepts: an outcome may be undone by a crash. The
// same seed makes the same calls; it is printed on failure.
func Compare(t testing.TB, h Harness, seed uint64, steps int) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("reproduce with seed %d and %d steps", seed, steps)
		}
	})
	w := h.walk(t, rand.New(rand.NewPCG(seed, 0)))
	for range steps {
		w.walk()
	}
	w.check("at the end")
}

// CompareBytes is Compare with a fuzzer's input as the dice: it ends with the
// input.
func CompareBytes(t testing.TB, h Harness, input []byte) {
	t.Helper()
	rest := thrown(input)
	w := h.walk(t, &rest)
	for len(rest) > 0 {
		w.walk()
	}
	w.check("at the end")
}

// dice decides what happens next.
type dice interface{ IntN(n int) int }

// thrown is a row of dice already thrown; once used up it gives zeros.
type thrown []byte

// IntN uses one byte up, or two where one cannot reach all numbers below n.
func (d *thrown) IntN(n int) int {
	number := 0
	for reach := 1; reach < n; reach <<= 8 {
		if len(*d) == 0 {
			return 0
		}
		number = number<<8 | int((*d)[0])
		*d = (*d)[1:]
	}
	return number % n
}

func (h Harness) walk(t testing.TB, dice dice) *walk {
	return &walk{rig: h.rig(t), dice: dice, ledger: NewLedger()}
}

// walk is one run of Compare.
type walk struct {
	*rig
	dice   dice
	ledger *Ledger
	held   []queue.Delivery
	number int // of the last event made
	step   int // which call this is
}

// walk makes one call, the frequent ones most often.
func (w *walk) walk() {
	w.step++
	switch w.dice.IntN(18) {
	case 0, 1, 2, 3:
		w.take()
	case 4, 5, 6, 7:
		w.borrow()
	case 8, 9, 10, 11:
		w.settleSome()
	case 12:
		w.replaySome()
	case 13:
		w.discardSome()
	case 14:
		w.stop(w.harness.Reopen, w.ledger.Closed, "after a restart")
	case 15:
		w.stop(w.harness.Crash, w.ledger.Crashed, "after a crash")
	case 16:
		w.replaceSome()
	case 17:
		w.eraseSome()
	}
}

// take appends a few events, sometimes large, sometimes with rejects.
func (w *walk) take() {
	var batch queue.Batch
	for range w.dice.IntN(12) {
		batch.Events = append(batch.Events, w.newEvent())
	}
	for range max(0, w.dice.IntN(6)-3) {
		rej := reject(string(w.newEvent().Body))
		if w.dice.IntN(2) == 0 {
			rej = queue.Reject{Body: rej.Body[:len(rej.Body)-1], Reason: queue.Malformed, Detail: "cut off"}
		}
		batch.Rejects = append(batch.Rejects, rej)
	}
	err := w.Append(w.Context(), batch)
	w.ledger.Appended(batch, err)
	if err != nil {
		w.fail("append", err)
	}
}

func (w *walk) newEvent() event.Event {
	w.number++
	id := fmt.Sprintf("walk-%06d", w.number)
	title := []string{opened, updated}[w.dice.IntN(2)]
	if w.dice.IntN(40) == 0 {
		return largest(id)
	}
	return newEvent(id, title, "user", w.dice.IntN(600))
}

// borrow leases when the ledger says that something is due.
func (w *walk) borrow() {
	if w.ledger.Due() == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	most := 1 + w.dice.IntN(15)
	got, err := w.Lease(ctx, most)
	if err != nil || len(got) == 0 || len(got) > most {
		w.fail("lease", fmt.Errorf("with %d due and %d asked for: got %d, %w", w.ledger.Due(), most, len(got), err))
	}
	if err := w.ledger.Leased(got); err != nil {
		w.fail("lease", err)
	}
	w.held = append(w.held, got...)
}

// settleSome settles some of what is held, and sometimes once more.
func (w *walk) settleSome() {
	n := min(len(w.held), w.dice.IntN(15))
	outcomes := make([]queue.Outcome, n)
	for i, d := range w.held[:n] {
		outcomes[i] = w.outcome(d)
	}
	w.held = w.held[n:]
	for range 1 + w.dice.IntN(2) {
		err := w.Settle(w.Context(), outcomes...)
		w.ledger.Settled(outcomes, err)
		if err != nil {
			w.fail("settle", err)
		}
	}
}

func (w *walk) outcome(d queue.Delivery) queue.Outcome {
	o := queue.Outcome{Address: d.Address, Verb: queue.Delivered}
	switch w.dice.IntN(8) {
	case 0:
		o.Verb = queue.Return
	case 1:
		o.Verb, o.Attempts, o.Strikes, o.Successes = queue.Retry, d.Attempts+1, d.Strikes+float64(w.dice.IntN(2)), uint64(w.step)
		o.FirstFailed, o.Status, o.Detail = d.Taken, 500, fmt.Sprint("failed in step ", w.step)
	case 2:
		o.Verb, o.Delay, o.Attempts = queue.Retry, never, d.Attempts+1
	case 3, 4:
		o.Verb, o.Reason, o.Status, o.Attempts = queue.Bury, queue.Rejected, 400+w.dice.IntN(30), d.Attempts+1
		o.Detail = fmt.Sprintf("refused in step %d", w.step)
	}
	return o
}

func (w *walk) replaySome() {
	filter := w.filter()
	went := w.judge(filter, w.Replay, func(l queue.DeadLetter) bool { return !l.AtDoor })
	w.ledger.Replayed(went, nil)
}

// replaceSome appends rejects anew that Parse accepts.
func (w *walk) replaceSome() {
	replace := func(ctx context.Context, f queue.Filter) (int, error) {
		f.Reasons, f.Limit = []queue.Reason{queue.Malformed, queue.Invalid}, 0
		return w.Replace(ctx, f, reparse(w))
	}
	filter := queue.Filter{Reasons: []queue.Reason{queue.Malformed, queue.Invalid}}
	went := w.judge(filter, replace, func(l queue.DeadLetter) bool {
		_, err := Parse(l.Event.Body, l.Taken)
		return err == nil
	})
	w.ledger.Replaced(went, nil)
}

// eraseSome erases one event by its messageId.
func (w *walk) eraseSome() {
	id := fmt.Sprintf("walk-%06d", 1+w.dice.IntN(max(w.number, 1)))
	want := w.ledger.Erased(func(ev event.Event) bool { return ev.ID == id })
	n, _, err := w.Erase(w.Context(), queue.Filter{ID: id}, w.dice.IntN(2) == 0)
	if err != nil || n != want {
		w.fail("erase", fmt.Errorf("%s: got %d, %w, want %d", id, n, err, want))
	}
	w.held = slices.DeleteFunc(w.held, func(d queue.Delivery) bool { return d.Event.ID == id })
}

func (w *walk) discardSome() {
	w.ledger.Discarded(w.judge(w.filter(), w.Discard, func(queue.DeadLetter) bool { return true }), nil)
}

// filter returns one of the ways in which an operator picks letters.
func (w *walk) filter() (f queue.Filter) {
	switch w.dice.IntN(6) {
	case 0:
		f.Reasons = []queue.Reason{queue.Rejected}
	case 1:
		f.Reasons = []queue.Reason{queue.Malformed, queue.Invalid}
	case 2:
		f.Statuses = []int{400 + w.dice.IntN(30), 400 + w.dice.IntN(30)}
	case 3:
		f.Limit = 1 + w.dice.IntN(3)
	case 4:
		if letters := w.letters(f); len(letters) > 0 {
			f.At = []queue.Address{letters[w.dice.IntN(len(letters))].Address}
		}
	}
	return f
}

// judge calls act, checks that it took the letters that match filter and that
// may go, and no others, and returns those it took.
func (w *walk) judge(filter queue.Filter, act func(context.Context, queue.Filter) (int, error), mayGo func(queue.DeadLetter) bool) []queue.DeadLetter {
	before := w.letters(queue.Filter{})
	n, err := act(w.Context(), filter)
	if err != nil {
		w.fail("replay or discard", err)
	}
	stayed := letterIDs(w.letters(queue.Filter{}))
	var went []queue.DeadLetter
	could := 0
	for _, l := range before {
		may := filter.MatchLetter(l) && mayGo(l)
		switch gone := !slices.Contains(stayed, letterKey(l)); {
		case gone && !may:
			w.fail("replay or discard", fmt.Errorf("%+v took %.60q", filter, letterKey(l)))
		case gone:
			went = append(went, l)
		}
		if may {
			could++
		}
	}
	tooFew := len(went) < could && filter.Limit == 0
	if len(went) != n || tooFew || filter.Limit > 0 && n > filter.Limit {
		w.fail("replay or discard", fmt.Errorf("%+v took %d of %d letters and said %d", filter, len(went), could, n))
	}
	return went
}

// stop ends the process in one of the two ways and looks at what the next one
// finds.
func (w *walk) stop(restart func(testing.TB, queue.Queue) queue.Queue, note func(), when string) {
	if restart == nil {
		return
	}
	w.Queue = restart(w, w.Queue)
	note()
	w.held = nil
	w.check(when)
}

func (w *walk) check(when string) {
	if err := w.ledger.Check(w.Context(), w.Queue); err != nil {
		w.fail(when, err)
	}
}

func (w *walk) fail(doing string, err error) {
	w.Helper()
	w.Fatalf("step %d: %s: %v", w.step, doing, err)
}
