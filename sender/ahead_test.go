package sender_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
)

// Four workers are given eight events: four are out, and four wait behind them,
// launched ahead. What the first answer means holds for those, too.

func TestASilenceHoldsBackWhatWasLaunchedAhead(t *testing.T) {
	atDesk(t, 4, func(t *testing.T, q *clerk, d *desk, snd *running) {
		all := ids("e", 8)
		q.add(all...)
		synctest.Wait()
		wantAtDesk(t, d, 4, 4)
		throttled := d.answer(t, 1, 429, "", "Retry-After", "60")
		passed := d.answer(t, 3, 200, "{}")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		wantAtDesk(t, d, 0, 4)
		if n := q.verbs()[queue.Return]; n != 0 {
			t.Errorf("%d events returned, want them kept at hand", n)
		}

		for range 5 { // a letter tells how often its event was tried
			time.Sleep(time.Minute)
			synctest.Wait()
			d.answer(t, 1, 400, "{}")
		}
		snd.end(t)
		wantAtDesk(t, d, 0, 9)
		wantAccount(t, q.memQueue, 3, 5)
		for _, id := range all {
			want := 1
			if slices.Contains(throttled, id) {
				want = 2
			}
			if o, dead := q.letter(id); dead == slices.Contains(passed, id) || dead && o.Attempts != want {
				t.Errorf("%s is dead: %t after %d attempts, want %d", id, dead, o.Attempts, want)
			}
		}
	})
}

func TestADenialKeepsWhatWasLaunchedAheadAtHandUntried(t *testing.T) {
	atDesk(t, 4, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add(ids("e", 8)...)
		synctest.Wait()
		d.answer(t, 1, 401, "")
		wantAtDesk(t, d, 3, 4)
		d.answer(t, 3, 401, "")
		wantAtDesk(t, d, 0, 4)
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if n := q.verbs()[queue.Return]; n != 0 {
			t.Errorf("%d events returned, want them kept at hand", n)
		}

		for range 8 {
			snd.ProbeNow()
			time.Sleep(time.Minute)
			synctest.Wait()
			if waiting, _ := d.counts(); waiting > 0 {
				d.answer(t, waiting, 200, "{}")
			}
		}
		snd.end(t)
		wantAtDesk(t, d, 0, 12)
		wantAccount(t, q.memQueue, 8, 0)
	})
}

func TestAStopReturnsWhatWasLaunchedAheadUntried(t *testing.T) {
	atDesk(t, 4, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add(ids("e", 8)...)
		synctest.Wait()
		snd.stop()
		synctest.Wait()
		d.answer(t, 4, 200, "{}")
		if err := <-snd.done; err != nil {
			t.Error(err)
		}
		wantAtDesk(t, d, 0, 4)
		wantUntried(t, q, 4)
		if delivered, queued, leased, _ := q.account(); delivered != 4 || queued != 4 || leased != 0 {
			t.Errorf("%d delivered, %d queued, %d leased, want 4, 4, 0", delivered, queued, leased)
		}
	})
}

// wantUntried fails unless so many events, and no others, were returned as if
// nobody had tried them.
func wantUntried(t testing.TB, q *clerk, n int) {
	t.Helper()
	if got := q.verbs()[queue.Return]; got != n {
		t.Errorf("%d events returned, want %d", got, n)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, d := range q.back {
		if d.Attempts != 0 {
			t.Errorf("%s was returned after %d attempts, want none", d.Event.ID, d.Attempts)
		}
	}
	if len(q.back) != n {
		t.Errorf("%d events are back in the queue, want %d", len(q.back), n)
	}
}
