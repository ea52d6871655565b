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
	return func(o *Options) { o.Backpressure = busy.Load }
}

func TestLinesAreTakenAndAnsweredWhileDeliveryIsBusy(t *testing.T) {
	const clients, each = 8, 3 * parseChunk
	var busy atomic.Bool
	busy.Store(true)
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, ln *pipes, s *Server) {
		all := make([]*client, clients)
		for i := range all {
			all[i] = ln.dial(t)
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
		if n := len(s.parsing); n != 0 {
			t.Errorf("%d parse slots are held when all is said", n)
		}
	}, whileBusy(&busy))
	q.checkKept(t, clients*each, 0)
}

func TestClientsShareHalfOfTheCPUsWhileDeliveryIsBusy(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, ln *pipes, s *Server) {
		if got, want := cap(s.parsing), parseLimit(runtime.GOMAXPROCS(0)); got != want {
			t.Errorf("%d clients may parse at a time, want %d", got, want)
		}
		for range cap(s.parsing) { // as many others are at it
			s.parsing <- struct{}{}
		}
		first, second := ln.dial(t), ln.dial(t)
		first.send(opened + "\n")
		second.send(opened + "\n")
		time.Sleep(time.Hour) // waiting for a slot is no idling: nobody's time runs out
		synctest.Wait()
		q.checkKept(t, 0, 0)

		<-s.parsing // one of them is done, and the two go one after the other
		first.await("1/0/0")
		second.await("1/0/0")
		synctest.Wait()
		if got, want := len(s.parsing), cap(s.parsing)-1; got != want {
			t.Errorf("%d parse slots are held, want the %d of the others", got, want)
		}

		s.parsing <- struct{}{}
		busy.Store(false)
		first.send(opened + "\n")
		first.await("2/0/0") // nobody needs a slot now
	}, whileBusy(&busy))
	q.checkKept(t, 3, 0)
}

func TestParsingYieldsAfterSomeLinesAndABatchGoesOn(t *testing.T) {
	var asked int
	s := open(t, &shelf{}, func(o *Options) { o.Backpressure = func() bool { asked++; return true } })
	c := newConn(s, nil)
	c.in.use(make([]byte, largeRead))
	c.in.filled(copy(c.in.space(), strings.Repeat(opened+"\n", 2*parseChunk+1)))
	b := s.newBatch(c.in.buffered())
	for round, want := range []int{parseChunk, 2 * parseChunk, 2*parseChunk + 1} {
		more := c.parseSome(b)
		if b.size() != want || more != (round < 2) || asked != round+1 || len(s.parsing) != 0 {
			t.Errorf("round %d: %d lines, more: %t, asked %d times, %d parse slots held; want %d, %t, %d, 0",
				round, b.size(), more, asked, len(s.parsing), want, round < 2, round+1)
		}
	}
}

func TestDeliveryKeepsHalfOfTheCPUs(t *testing.T) {
	for threads, want := range map[int]int{1: 1, 2: 1, 3: 1, 5: 2, 9: 4, 65: 32} { // one thread is for the disk
		if got := parseLimit(threads); got != want {
			t.Errorf("%d threads: %d parse slots, want %d", threads, got, want)
		}
	}
}
