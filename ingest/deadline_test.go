package ingest

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
)

func TestIdleConnectionStays(t *testing.T) {
	overPipes(t, &shelf{}, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		time.Sleep(100 * time.Hour)
		c.send(opened + "\n" + opened[:9])
		c.await("1/0/0")
		time.Sleep(29 * time.Second)
		c.send(opened[9:] + "\n")
		c.await("2/0/0")
		time.Sleep(100 * time.Hour) // the deadline of that line is gone
		c.send(opened + "\n")
		c.await("3/0/0")
	})
}

func TestUnfinishedLineEndsItsConnection(t *testing.T) {
	for _, c := range []struct {
		name, first, drip, want string
		accepted, rejected      int
	}{
		{"one that stops", opened + "\n" + opened[:9], "", "unfinished 1/0/1", 1, 0},
		{"one that drips", opened + "\n" + opened[:9], " ", "unfinished 1/0/1", 1, 0},
		{"one of white space", opened + "\n ", " ", "unfinished 1/0/0", 1, 0},
		{"one that is already rejected", strings.Repeat("x", 2*maxLine), "x", "oversize@1 unfinished 0/1/0", 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &shelf{}
			overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
				cl, began := ln.dial(t), time.Now()
				var sender sync.WaitGroup
				defer sender.Wait()
				sender.Go(func() {
					cl.send(c.first)
					for c.drip != "" { // until the server hangs up
						time.Sleep(time.Second)
						if _, err := cl.Write([]byte(c.drip)); err != nil {
							return
						}
					}
				})
				if got := render(cl.rest()); got != c.want {
					t.Errorf("replies %s, want %s", got, c.want)
				}
				if took := time.Since(began); took < 30*time.Second || took > 31*time.Second {
					t.Errorf("ended after %v, want 30 s", took)
				}
			})
			q.checkKept(t, c.accepted, c.rejected)
		})
	}
}

// The time the queue takes is not the client's: its line waited in the kernel.
func TestSlowQueueDoesNotEndALine(t *testing.T) {
	q := &shelf{}
	q.before = func(queue.Batch) error { time.Sleep(20 * time.Second); return nil }
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		for range 5 { // each leaves the next one begun
			c.send(opened + "\n" + opened[:9])
			c.send(opened[9:] + "\n")
		}
		c.hangUp()
		if got := render(c.rest()); got != "10/0/0" {
			t.Errorf("replies %s, want 10/0/0", got)
		}
	})
}

func TestClientThatHangsUpAndNeverReadsIsLetGo(t *testing.T) {
	overPipes(t, &shelf{}, func(t *testing.T, ln *pipes, s *Server) {
		c := ln.dial(t)
		c.send(opened + "\n")
		c.hangUp()
		time.Sleep(9 * time.Second)
		if n := s.opts.SocketConns.Use().Open; n != 1 {
			t.Fatalf("%d connections before the reply has timed out, want 1", n)
		}
		time.Sleep(2 * time.Second)
		if n := s.opts.SocketConns.Use().Open; n != 0 {
			t.Errorf("%d connections after the reply has timed out, want 0", n)
		}
	})
}

// stopping runs Run over pipes in virtual time; f plays a client and then calls
// stop, which returns how long Run took from there.
func stopping(t *testing.T, q *shelf, f func(c *client, stop func() time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := open(t, q)
		go func() { done <- s.Run(ctx, Listeners{Lines: []net.Listener{ln}}) }()
		f(ln.dial(t), func() time.Duration {
			began := time.Now()
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
			return time.Since(began)
		})
	})
}

func TestStopTellsIdleClientsAndIsQuick(t *testing.T) {
	stopping(t, &shelf{}, func(c *client, stop func() time.Duration) {
		c.send(opened + "\n")
		c.await("1/0/0")
		said := make(chan string, 1)
		go func() { said <- render(c.rest()) }()
		if took := stop(); took > time.Second {
			t.Errorf("Run took %v to return", took)
		}
		if got := <-said; got != "stopping 1/0/0" {
			t.Errorf("replies %s, want stopping 1/0/0", got)
		}
	})
}

// lateWake is a connection whose wake-up at the stop comes late.
type lateWake struct{ duplex }

func (l lateWake) SetReadDeadline(at time.Time) error {
	if at.Equal(longAgo()) {
		time.Sleep(stopReadWait / 4)
	}
	return l.duplex.SetReadDeadline(at)
}

func TestWakeUpDoesNotCutOffTheLastWords(t *testing.T) {
	q := &shelf{}
	synctest.Test(t, func(t *testing.T) {
		theirs, ours := newDuplex()
		c := newClient(t, ours)
		ctx, cancel := context.WithCancel(t.Context())
		s := open(t, q)
		var served sync.WaitGroup
		served.Go(func() { s.serveConn(ctx, placed(t, s, lateWake{theirs})) })
		served.Go(func() { c.rest() })
		synctest.Wait()
		cancel()
		c.send(opened + "\n") // before the wake-up
		time.Sleep(stopReadWait / 2)
		c.send(opened + "\n") // after it
		served.Wait()
	})
	q.checkKept(t, 2, 0)
}

func TestStopRefusesTheLineThatWasBegun(t *testing.T) {
	stopping(t, &shelf{}, func(c *client, stop func() time.Duration) {
		c.send(opened + "\n" + opened[:9])
		said := make(chan string, 1)
		go func() { said <- render(c.rest()) }()
		synctest.Wait()
		stop()
		if got := <-said; got != "stopping 1/0/1" {
			t.Errorf("replies %s, want stopping 1/0/1", got)
		}
	})
}

func TestStopDoesNotWaitForClientsThatGoOn(t *testing.T) {
	for name, pause := range map[string]time.Duration{"a drip": stopReadWait / 2, "a flood": 0} {
		text := strings.Repeat(opened+"\n", 1000)
		if pause > 0 {
			text = opened + "\n"
		}
		t.Run(name, func(t *testing.T) {
			stopping(t, &shelf{}, func(c *client, stop func() time.Duration) {
				var rest sync.WaitGroup
				defer rest.Wait()
				rest.Go(func() { c.rest() })
				rest.Go(func() {
					for {
						time.Sleep(pause)
						if _, err := io.WriteString(c, text); err != nil {
							return
						}
					}
				})
				if took := stop(); took > 2*time.Second {
					t.Errorf("Run took %v to return", took)
				}
			})
		})
	}
}

func TestStopCutsOffAQueueThatHangs(t *testing.T) {
	q := &shelf{}
	stopping(t, q, func(c *client, stop func() time.Duration) {
		q.hold = make(chan struct{})
		c.send(opened + "\n")
		go c.rest()
		if took := stop(); took != 20*time.Second {
			t.Errorf("Run took %v to return, want the shutdown timeout", took)
		}
	})
	q.checkKept(t, 0, 0)
}

func TestStopReadsWhatClientsHaveAlreadySent(t *testing.T) {
	q := &shelf{hold: make(chan struct{})}
	ln, path := unixListener(t)
	stop := serve(t, open(t, q), Listeners{Lines: []net.Listener{ln}})
	waiting := dialUnix(t, path) // stays, more sent than a batch holds
	waiting.send(strings.Repeat(opened+"\n", 2500))
	gone := dialUnix(t, path) // has already left
	gone.send(strings.Repeat(opened+"\n", 100))
	gone.Close()
	go func() {
		defer close(q.hold)
		q.hold <- struct{}{} // the first commit; the listeners are then closing
	}()
	stop()
	q.checkKept(t, 2600, 0)
	if got := render(waiting.rest()); got != "stopping 2500/0/0" {
		t.Errorf("replies %s, want stopping 2500/0/0", got)
	}
}
