package sender_test

import (
	"testing"
	"testing/synctest"
	"time"
)

// gather is how long the first of some outcomes may wait for the others.
const gather = 5 * time.Millisecond

func TestOutcomesOfOneMomentAreSettledTogether(t *testing.T) {
	atDesk(t, 16, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add(ids("e", 12)...)
		synctest.Wait()
		d.answer(t, 11, 200, "{}")
		time.Sleep(gather - time.Microsecond)
		synctest.Wait()
		if n := len(q.calls()); n != 0 {
			t.Errorf("settled %d times before %v were over", n, gather)
		}
		time.Sleep(time.Microsecond)
		synctest.Wait()
		if calls := q.calls(); len(calls) != 1 || len(calls[0].outcomes) != 11 {
			t.Errorf("settled %d times after %v, want once with 11 outcomes", len(calls), gather)
		}
		d.answer(t, 1, 200, "{}")
		snd.end(t)
		wantAccount(t, q.memQueue, 12, 0)
	})
}

func TestNoOutcomeWaitsLongForOthers(t *testing.T) {
	atDesk(t, 100, func(t *testing.T, q *clerk, d *desk, snd *running) {
		const answers = 60
		q.add(ids("e", 100)...)
		synctest.Wait()
		names := q.onLoan()
		answered, begun := map[string]time.Time{}, time.Now()
		for range answers { // one each millisecond
			for _, id := range d.answer(t, 1, 200, "{}") {
				answered[id] = time.Now()
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(gather)
		synctest.Wait()
		if delivered, _, _, _ := q.account(); delivered != answers {
			t.Errorf("%d settled, want %d", delivered, answers)
		}
		calls := q.calls()
		if most := int(time.Since(begun) / gather); len(calls) > most {
			t.Errorf("settled %d times in %v, want at most %d", len(calls), time.Since(begun), most)
		}
		for _, c := range calls {
			first := c.at
			for _, o := range c.outcomes {
				if at := answered[names[o.Address]]; at.Before(first) {
					first = at
				}
			}
			if wait := c.at.Sub(first); wait > gather {
				t.Errorf("an outcome waited %v, want at most %v", wait, gather)
			}
		}
		d.answer(t, 100-answers, 200, "{}")
		snd.end(t)
	})
}

func TestAnOutcomeThatNoOtherFollowsIsSettledAtOnce(t *testing.T) {
	atDesk(t, 16, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add("lone")
		synctest.Wait()
		d.answer(t, 1, 200, "{}")
		wantAccount(t, q.memQueue, 1, 0) // no time has passed
		snd.end(t)
	})
}

func TestManyOutcomesAreSettledAtOnce(t *testing.T) {
	atDesk(t, 100, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add(ids("e", 100)...)
		synctest.Wait()
		d.answer(t, 63, 200, "{}")
		if n := len(q.calls()); n != 0 {
			t.Errorf("settled %d times, want 63 outcomes to wait", n)
		}
		d.answer(t, 1, 200, "{}")
		if calls := q.calls(); len(calls) != 1 || len(calls[0].outcomes) != 64 {
			t.Errorf("settled %d times, want once, with 64 outcomes", len(calls))
		}
		d.answer(t, 36, 200, "{}")
		snd.end(t)
		wantAccount(t, q.memQueue, 100, 0)
	})
}
