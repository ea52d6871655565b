package listen_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"trackd/internal/listen"
)

// arrivals is a listener whose connections, or errors, a test provides.
type arrivals chan any

func (a arrivals) Accept() (net.Conn, error) {
	switch next := (<-a).(type) {
	case net.Conn:
		return next, nil
	case error:
		return nil, next
	default:
		return nil, net.ErrClosed
	}
}

func (a arrivals) Close() error   { close(a); return nil }
func (a arrivals) Addr() net.Addr { return &net.UnixAddr{Name: "arrivals", Net: "unix"} }

// crowd is a limiter of max places, the clients that were let in, and what it
// logs.
type crowd struct {
	t       *testing.T
	limiter *listen.Limiter
	ln      net.Listener
	from    arrivals
	log     *bytes.Buffer
}

func newCrowd(t *testing.T, max int) *crowd {
	log := &bytes.Buffer{}
	c := &crowd{t: t, log: log, from: make(arrivals, 100),
		limiter: listen.NewLimiter("test", max, slog.New(slog.NewTextHandler(log, nil)))}
	c.ln = c.limiter.Listener(c.from)
	return c
}

// come lets one more client in and moves time on by a second.
func (c *crowd) come() *listen.Conn {
	c.t.Helper()
	ours, _ := net.Pipe()
	c.from <- ours
	conn, err := c.ln.Accept()
	if err != nil {
		c.t.Fatal(err)
	}
	time.Sleep(time.Second)
	return conn.(*listen.Conn)
}

// is checks how the places are used.
func (c *crowd) is(open int, evicted, turnedAway uint64) {
	c.t.Helper()
	if u := c.limiter.Use(); u.Open != open || u.Evicted != evicted || u.TurnedAway != turnedAway {
		c.t.Errorf("open %d, evicted %d, turned away %d; want %d, %d, %d", u.Open, u.Evicted, u.TurnedAway, open, evicted, turnedAway)
	}
}

// closed reports whether the server has closed its end.
func closed(c *listen.Conn) bool {
	return c.SetDeadline(time.Time{}) != nil
}

func TestTheLongestIdleConnectionMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 3)
		first, second, third := c.come(), c.come(), c.come()
		first.Busy()
		second.Busy()
		second.Idle() // so that the third has been idle longest
		time.Sleep(time.Second)
		for _, conn := range []*listen.Conn{first, second, third} {
			conn.OnEvict(func() { conn.Close() })
		}
		c.come()
		c.is(3, 1, 0)
		if !closed(third) || closed(second) || closed(first) {
			t.Error("another than the longest idle was closed")
		}
		c.come()
		c.is(3, 2, 0)
		if !closed(second) || closed(first) {
			t.Error("a busy one was closed")
		}
	})
}

// A client told to go may take its time. Meanwhile there are a few more than
// may be, and it is not told again.
func TestThoseWhoLeaveSlowlyAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 2)
		leaving := 0
		slow := func(conn *listen.Conn) *listen.Conn {
			conn.OnEvict(func() { leaving++ })
			return conn
		}
		first := slow(c.come())
		slow(c.come())
		slow(c.come())
		c.is(3, 1, 0)

		// The next finds the extra places taken, waits, and is closed.
		ours, theirs := net.Pipe()
		c.from <- ours
		c.from <- errors.New("nobody else")
		began := time.Now()
		if _, err := c.ln.Accept(); err == nil || time.Since(began) != 100*time.Millisecond {
			t.Errorf("accepted: %v, after %v; want it closed after 100ms", err == nil, time.Since(began))
		}
		if _, err := theirs.Read(make([]byte, 1)); err == nil {
			t.Error("it was not closed")
		}
		c.is(3, 1, 1)

		// One that goes meanwhile lets the next in at once.
		time.AfterFunc(10*time.Millisecond, func() { first.Close() })
		ours, _ = net.Pipe()
		c.from <- ours
		began = time.Now()
		if _, err := c.ln.Accept(); err != nil || time.Since(began) != 10*time.Millisecond {
			t.Errorf("accept: %v, after %v; want it in after 10ms", err, time.Since(began))
		}
		if leaving != 2 {
			t.Errorf("%d were told to go, want 2", leaving)
		}
	})
}

func TestNewcomersAreTurnedAwayOnlyWhileNobodyIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 1)
		only := c.come()
		only.Busy()
		if late := c.come(); !late.TurnedAway() {
			t.Error("one too many was let in")
		} else {
			late.Close()
			late.Close() // twice is once
		}
		c.is(1, 0, 1)
		only.Idle()
		if c.come().TurnedAway() {
			t.Error("one was turned away though another was idle")
		}
		only.Close()
		c.is(1, 1, 1)
	})
}

func TestACrowdIsLoggedWhenItBeginsAndWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 1)
		for range 6 {
			conn := c.come()
			conn.OnEvict(func() { conn.Close() })
		}
		c.come().Close()
		c.come()
		got := c.log.String()
		if n := strings.Count(got, "too many connections"); n != 1 {
			t.Errorf("the beginning is logged %d times:\n%s", n, got)
		}
		if n := strings.Count(got, `msg="connections have room again" listener=test after=6s closed_idle=6 turned_away=0`); n != 1 {
			t.Errorf("the end is logged %d times:\n%s", n, got)
		}
	})
}

func TestAShortageOfDescriptorsIsWaitedOutAndClosesTheLongestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 5)
		first := c.come()
		c.from <- &net.OpError{Op: "accept", Err: syscall.EMFILE}
		began := time.Now()
		c.come()
		if took := time.Since(began) - time.Second; took != 100*time.Millisecond {
			t.Errorf("waited %v, want 100ms", took)
		}
		if !closed(first) {
			t.Error("the idle client still has its descriptor")
		}
		broken := errors.New("broken")
		c.from <- broken
		if _, err := c.ln.Accept(); !errors.Is(err, broken) {
			t.Errorf("another error: %v, want it returned", err)
		}
	})
}

func TestOneEvictedBeforeItSaysHowIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 1)
		first := c.come()
		c.come()
		told := false
		first.OnEvict(func() { told = true })
		if !told {
			t.Error("it was not told")
		}
	})
}

func TestALimiterIsSafeForManyAtOnce(t *testing.T) {
	c := newCrowd(t, 10)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				ours, _ := net.Pipe()
				c.from <- ours
				conn, err := c.ln.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				conn.(*listen.Conn).Busy()
				conn.(*listen.Conn).Idle()
				conn.Close()
			}
		})
	}
	all.Wait()
	if u := c.limiter.Use(); u.Open != 0 {
		t.Errorf("%d are open at the end", u.Open)
	}
}
