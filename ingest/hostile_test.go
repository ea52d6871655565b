package ingest

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trackd/internal/listen"
	"trackd/queue"
)

// void is a queue that is done at once.
type void struct{ taken atomic.Int64 }

// Append implements Appender.
func (v *void) Append(_ context.Context, b queue.Batch) error {
	v.taken.Add(int64(len(b.Events)))
	return nil
}

// Reserve implements Appender.
func (*void) Reserve(context.Context, int64) (*queue.Reservation, error) { return nil, nil }

// memory returns the bytes in use on heap and stacks after a collection.
func memory() uint64 {
	runtime.GC()
	runtime.GC() // the first one only ages what lies in pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// socketPlaces lets the socket have so many connections.
func socketPlaces(n int) func(*Options) {
	return func(o *Options) { o.SocketConns = listen.NewLimiter("socket", n, o.Log) }
}

func TestTheLongestIdleSocketClientMakesRoomAndIsTold(t *testing.T) {
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, ln *pipes, s *Server) {
		first, second := ln.dial(t), ln.dial(t)
		time.Sleep(time.Second)
		first.send(opened + "\n") // so that the second has been idle longest
		first.await("1/0/0")
		third := ln.dial(t)
		if got := render(second.rest()); got != "idle_closed 0/0/0" {
			t.Errorf("the longest idle is told %q, want idle_closed and its counts", got)
		}
		for _, c := range []*client{first, third} {
			c.send(opened + "\n")
		}
		first.await("2/0/0")
		third.await("1/0/0")
		synctest.Wait() // for the one that was told to go
		if use := s.opts.SocketConns.Use(); use.Evicted != 1 || use.TurnedAway != 0 || use.Open != 2 {
			t.Errorf("use %+v, want 2 open, 1 evicted and none turned away", use)
		}
	}, socketPlaces(2))
	q.checkKept(t, 3, 0)
}

func TestSocketClientsAreTurnedAwayWithAWordWhileNobodyIsIdle(t *testing.T) {
	overPipes(t, &shelf{}, func(t *testing.T, ln *pipes, s *Server) {
		first, second := ln.dial(t), ln.dial(t)
		first.send(opened[:9])
		second.send(opened[:9])
		synctest.Wait()
		third := ln.dial(t)
		if got := render(third.rest()); got != codeTooMany {
			t.Errorf("the third is told %q, want %s", got, codeTooMany)
		}
		first.send(opened[9:] + "\n")
		first.await("1/0/0")
		synctest.Wait()
		fourth := ln.dial(t) // takes the place of the first, which has become idle
		first.await("idle_closed")
		fourth.send(opened + "\n")
		fourth.await("1/0/0")
		if use := s.opts.SocketConns.Use(); use.Evicted != 1 || use.TurnedAway != 1 {
			t.Errorf("use %+v, want 1 evicted and 1 turned away", use)
		}
	}, socketPlaces(2))
}

// What a client sent before it learned that it had to make room is kept.
func TestWhatAnEvictedClientHasSentIsKept(t *testing.T) {
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		first := ln.dial(t)
		synctest.Wait()
		second := ln.dial(t)
		first.send(opened + "\n")
		if got := render(first.rest()); got != "idle_closed 1/0/0" {
			t.Errorf("the evicted client is told %q, want idle_closed 1/0/0", got)
		}
		second.send(opened + "\n")
		second.await("1/0/0")
	}, socketPlaces(1))
	q.checkKept(t, 2, 0)
}

func TestEndlessLineIsBoundedInMemory(t *testing.T) {
	ln, path := unixListener(t)
	q := &shelf{}
	stop := serve(t, open(t, q), Listeners{Lines: []net.Listener{ln}})
	c := dialUnix(t, path)
	before := memory()
	piece := strings.Repeat("x", 1<<20)
	for range 64 {
		c.send(piece)
	}
	if grown := int64(memory()) - int64(before); grown > 2<<20 {
		t.Errorf("64 MiB of one line hold %d bytes", grown)
	}
	c.send("\n" + opened + "\n")
	c.hangUp()
	if got := render(c.rest()); got != "oversize@1 1/1/0" {
		t.Errorf("replies %s, want oversize@1 1/1/0", got)
	}
	stop()
	q.checkKept(t, 1, 1)
}

// A thousand clients that say nothing, one that floods and never reads, and
// one that is polite and must be served.
func TestCrowdIsBoundedAndAPoliteClientIsServed(t *testing.T) {
	const idle, limit = 1000, 40 << 20
	ln, path := unixListener(t)
	q := &void{}
	stop := serve(t, open(t, q), Listeners{Lines: []net.Listener{ln}})
	before, goroutines := memory(), runtime.NumGoroutine()
	for range idle {
		dialUnix(t, path)
	}
	flooder := dialUnix(t, path)
	var flood sync.WaitGroup
	flood.Go(func() {
		text := strings.Repeat(opened+"\n", 1000)
		for {
			if _, err := io.WriteString(flooder, text); err != nil {
				return
			}
		}
	})
	polite := dialUnix(t, path)
	for n := range 100 {
		polite.send(opened + "\n")
		if r, ok := polite.next(); !ok || r.Accepted == nil || *r.Accepted != uint64(n+1) {
			t.Fatalf("reply %v to event %d", r, n+1)
		}
	}
	if grown := int64(memory()) - int64(before); grown > limit {
		t.Errorf("the crowd holds %d bytes, want at most %d", grown, limit)
	} else {
		t.Logf("%d idle clients, a flood of %d events and a polite one hold %d KiB", idle, q.taken.Load(), grown>>10)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 3*(idle+2)+10 {
		t.Errorf("%d goroutines for %d clients, want at most three each", n, idle+2)
	}
	stop() // while it goes on
	flood.Wait()
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines after Run has returned, %d before the clients came", n, goroutines)
	}
}

func TestClientThatWasBusyCostsNoMoreThanAnIdleOne(t *testing.T) {
	const clients = 100
	overPipes(t, &void{}, func(t *testing.T, ln *pipes, _ *Server) {
		before := memory()
		all := make([]*client, clients)
		for i := range all {
			all[i] = ln.dial(t)
			all[i].send(strings.Repeat(opened+"\n", 1000))
			all[i].await("1000/0/0")
		}
		time.Sleep(2 * idleAfter)
		if each := (int64(memory()) - int64(before)) / clients; each > largeRead/2 {
			t.Errorf("each holds %d bytes after its burst, want less than half of the buffer it had", each)
		}
		for _, c := range all {
			c.hangUp()
			c.rest()
		}
	})
}

func TestClientThatHasGoneCostsNothing(t *testing.T) {
	const clients = 2000
	s := open(t, &void{})
	come := func() {
		s.serveConn(t.Context(), placed(t, s, tape{Reader: bytes.NewReader([]byte(opened + "\n"))}))
	}
	come() // what is made once
	before := memory()
	for range clients {
		come()
	}
	if each := (int64(memory()) - int64(before)) / clients; each > 64 {
		t.Errorf("each leaves %d bytes behind", each)
	}
	runtime.KeepAlive(s)
}

// Many clients have a line begun that does not fit the small buffer, and some
// read nothing of the many replies they caused.
func TestHalfOpenAndDeafClientsAreBounded(t *testing.T) {
	const slow, deaf = 200, 10
	const limit = slow*2*largeRead + deaf*4<<20
	ln, path := unixListener(t)
	stop := serve(t, open(t, &void{}), Listeners{Lines: []net.Listener{ln}})
	before := memory()
	for range slow {
		dialUnix(t, path).send(strings.Repeat("x", 2*smallRead))
	}
	for range deaf {
		dialUnix(t, path).send(strings.Repeat("{\n", 5000))
	}
	polite := dialUnix(t, path)
	polite.send(opened + "\n")
	polite.await("1/0/0")
	if grown := int64(memory()) - int64(before); grown > limit {
		t.Errorf("they hold %d bytes, want at most %d", grown, limit)
	} else {
		t.Logf("%d half-open and %d deaf clients hold %d KiB", slow, deaf, grown>>10)
	}
	stop()
}

func TestQueueMayNotSeeMemoryThatIsUsedAgain(t *testing.T) {
	const n = 5_000
	var bodies []string
	q := appendFunc(func(b queue.Batch) error {
		time.Sleep(time.Second) // until nobody can go on without this Append
		for _, ev := range b.Events {
			bodies = append(bodies, string(ev.Body))
		}
		return nil
	})
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		for i := range n {
			c.send(`{"event":"Application Opened","userId":"u` + strings.Repeat(string(rune('a'+i%26)), 20) + `"}` + "\n")
		}
		c.hangUp()
		c.rest()
	})
	if len(bodies) != n {
		t.Fatalf("%d events, want %d", len(bodies), n)
	}
	for i, body := range bodies {
		if want := `"u` + strings.Repeat(string(rune('a'+i%26)), 20) + `"`; !strings.Contains(body, want) {
			t.Fatalf("event %d became %s", i, body)
		}
	}
}

// appendFunc is a queue of one function.
type appendFunc func(queue.Batch) error

// Append implements Appender.
func (f appendFunc) Append(_ context.Context, b queue.Batch) error { return f(b) }

// Reserve implements Appender.
func (appendFunc) Reserve(context.Context, int64) (*queue.Reservation, error) { return nil, nil }
