package ingest

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// whileBusy has delivery be short of time for as long as busy says.
func whileBusy(busy *atomic.Bool) func(*Options) {
	return func(o *Options) { o.Busy = busy.Load }
}

func TestLinesAreTakenAndAnsweredWhileDeliveryIsBusy(t *testing.T) {
	const clients, each = 8, 3 * turnLines
	var busy atomic.Bool
	busy.Store(true)
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, door *pipes, s *Server) {
		all := make([]*client, clients)
		for i := range all {
			all[i] = door.dial(t)
			go func() {
				all[i].send(strings.Repeat(opened+"\n", each))
				all[i].hangUp()
			}()
		}
		for _, c := range all {
			if got := render(c.rest()); got != "96/0/0" {
				t.Errorf("replies %s, want 96/0/0", got)
			}
		}
		if n := len(s.turns); n != 0 {
			t.Errorf("%d turns are held when all is said", n)
		}
	}, whileBusy(&busy))
	q.checkKept(t, clients*each, 0)
}

func TestClientsTakeTurnsOnHalfTheCPUsWhileDeliveryIsBusy(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, door *pipes, s *Server) {
		if got, want := cap(s.turns), maxTurns(runtime.GOMAXPROCS(0)); got != want {
			t.Errorf("%d clients may parse at a time, want %d", got, want)
		}
		for range cap(s.turns) { // as many others are at it
			s.turns <- struct{}{}
		}
		first, second := door.dial(t), door.dial(t)
		first.send(opened + "\n")
		second.send(opened + "\n")
		time.Sleep(time.Hour) // waiting for a turn is no idling: nobody's time runs out
		synctest.Wait()
		q.checkKept(t, 0, 0)

		<-s.turns // one of them is done, and the two go one after the other
		first.await("1/0/0")
		second.await("1/0/0")
		synctest.Wait()
		if got, want := len(s.turns), cap(s.turns)-1; got != want {
			t.Errorf("%d turns are held, want the %d of the others", got, want)
		}

		s.turns <- struct{}{}
		busy.Store(false)
		first.send(opened + "\n")
		first.await("2/0/0") // nobody needs a turn now
	}, whileBusy(&busy))
	q.checkKept(t, 3, 0)
}

func TestATurnEndsAfterSomeLinesAndABatchGoesOn(t *testing.T) {
	var asked int
	s := open(t, &shelf{}, func(o *Options) { o.Busy = func() bool { asked++; return true } })
	c := newConn(s, nil)
	c.in.use(make([]byte, largeRead))
	c.in.filled(copy(c.in.space(), strings.Repeat(opened+"\n", 2*turnLines+1)))
	b := c.newBatch()
	for turn, want := range []int{turnLines, 2 * turnLines, 2*turnLines + 1} {
		more := c.parseSome(b)
		if b.size() != want || more != (turn < 2) || asked != turn+1 || len(s.turns) != 0 {
			t.Errorf("turn %d: %d lines, more: %t, asked %d times, %d turns held; want %d, %t, %d, 0",
				turn, b.size(), more, asked, len(s.turns), want, turn < 2, turn+1)
		}
	}
}

func TestDeliveryKeepsHalfOfTheCPUs(t *testing.T) {
	for threads, want := range map[int]int{1: 1, 2: 1, 3: 1, 5: 2, 9: 4, 65: 32} { // one thread is for the disk
		if got := maxTurns(threads); got != want {
			t.Errorf("%d threads: %d turns, want %d", threads, got, want)
		}
	}
}
