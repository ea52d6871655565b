package sender_test

import (
	"testing"
	"testing/synctest"
	"time"

	"trackd/sender"
)

// wantBusy fails unless the sender says so, now that nothing moves.
func wantBusy(t testing.TB, snd *running, want bool, when string) {
	t.Helper()
	synctest.Wait()
	if got := snd.Busy(); got != want {
		t.Errorf("%s: busy is %t, want %t", when, got, want)
	}
}

func TestTheSenderIsBusyWhileEveryWorkerHasSomethingToSend(t *testing.T) {
	atDesk(t, 4, func(t *testing.T, q *clerk, d *desk, snd *running) {
		wantBusy(t, snd, false, "at the start")
		q.add(ids("a", 3)...)
		wantBusy(t, snd, false, "with a worker to spare")
		q.add("b")
		wantBusy(t, snd, true, "with something for each")
		q.add(ids("c", 100)...)
		wantBusy(t, snd, true, "with a backlog")
		d.answer(t, 4, 200, "{}")
		wantBusy(t, snd, true, "with a backlog still")
		for range 100 {
			d.answer(t, 1, 200, "{}")
		}
		wantAtDesk(t, d, 0, 104)
		wantBusy(t, snd, false, "when all is sent")
		snd.end(t)
		wantAccount(t, q.memQueue, 104, 0)
	})
}

func TestAClosedLineIsNotBusy(t *testing.T) {
	atDesk(t, 4, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add(ids("e", 100)...)
		wantBusy(t, snd, true, "with a backlog")
		d.answer(t, 1, 401, "")
		wantBusy(t, snd, false, "with three requests out and the line denied")
		d.answer(t, 3, 401, "")
		for range 100 {
			time.Sleep(time.Minute)
			wantBusy(t, snd, false, "while probing")
			if waiting, _ := d.counts(); waiting > 0 {
				d.answer(t, waiting, 401, "")
			}
		}
		snd.end(t)
	})
}

func TestALineThatWaitsForItsRateIsNotBusy(t *testing.T) {
	atDesk(t, 2, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add(ids("e", 20)...)
		for sent := range 20 {
			wantBusy(t, snd, false, "with one of two workers at it")
			wantAtDesk(t, d, 1, sent+1)
			d.answer(t, 1, 200, "{}")
			wantBusy(t, snd, false, "with a backlog and nobody at it")
			time.Sleep(time.Second)
		}
		snd.end(t)
		wantAccount(t, q.memQueue, 20, 0)
	}, func(o *sender.Options) { o.Rate, o.Burst = 1, 1 })
}

func TestASenderThatHasStoppedIsNotBusy(t *testing.T) {
	atDesk(t, 1, func(t *testing.T, q *clerk, d *desk, snd *running) {
		q.add(ids("e", 5)...)
		wantBusy(t, snd, true, "with a backlog")
		snd.stop()
		synctest.Wait()
		d.answer(t, 1, 200, "{}")
		if err := <-snd.done; err != nil {
			t.Error(err)
		}
		wantBusy(t, snd, false, "after Run")
	})
}
