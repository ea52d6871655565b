package listen

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// defaultMax is the bound of a [Limiter] that was given none.
	defaultMax = 1024

	// maxExtra bounds the connections that a Limiter keeps beyond its bound for
	// a moment: those it is closing, and those that are told why they must go.
	maxExtra = 64

	// evictWait is how long a newcomer waits for idle clients to be gone, and
	// shortageWait how long nobody is accepted when the process or the host has
	// run out of descriptors or memory.
	evictWait    = 100 * time.Millisecond
	shortageWait = 100 * time.Millisecond

	// holdDown is how long there must have been room before a crowd counts as
	// over in the log.
	holdDown = time.Second
)

// Limiter bounds the open connections of some listeners together. When every
// place is taken, the client that has been idle longest is closed to make room
// for a new one. Only while nobody is idle are newcomers turned away.
type Limiter struct {
	name  string
	max   int
	extra int
	log   *slog.Logger

	mu         sync.Mutex
	conns      map[*Conn]struct{} // all that are open; guarded by mu
	leaving    int                // of conns, those told to go; guarded by mu
	freed      chan struct{}      // closed when a connection is gone; guarded by mu
	evicted    uint64             // guarded by mu
	turnedAway uint64             // guarded by mu
	crowd      crowd              // guarded by mu
}

// crowd is a time without a free place, for the log.
type crowd struct {
	began, last         time.Time
	evicted, turnedAway uint64 // of the Limiter, when it began
}

// Use says how much of a Limiter is in use.
type Use struct {
	Listener    string // its name
	Open, Max   int
	Evicted     uint64    // idle clients closed to make room for others
	TurnedAway  uint64    // newcomers for whom there was no room
	LastCrowded time.Time // when either last happened; zero: never
}

// NewLimiter returns a Limiter of max connections; 0 means 1,024. Its name is
// for the log, which may be nil.
func NewLimiter(name string, max int, log *slog.Logger) *Limiter {
	if max <= 0 {
		max = defaultMax
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Limiter{name: name, max: max, extra: ExtraOf(max), log: log, conns: map[*Conn]struct{}{}, freed: make(chan struct{})}
}

// ExtraOf returns how many connections beyond max a Limiter may keep for a
// moment.
func ExtraOf(max int) int { return min(maxExtra, 1+max/8) }

// Max returns the bound.
func (l *Limiter) Max() int { return l.max }

// Use returns how much of l is in use.
func (l *Limiter) Use() Use {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Use{Listener: l.name, Open: len(l.conns), Max: l.max,
		Evicted: l.evicted, TurnedAway: l.turnedAway, LastCrowded: l.crowd.last}
}

// Listener returns ln with its connections bounded by l: each is a [*Conn].
// Its Accept waits out a shortage of descriptors and of memory.
func (l *Limiter) Listener(ln net.Listener) net.Listener { return &limited{Listener: ln, limiter: l} }

// limited is a listener whose connections count in a Limiter.
type limited struct {
	net.Listener
	limiter *Limiter
}

// SetDeadline has Accept return at that time, if the listener can do that.
func (l *limited) SetDeadline(at time.Time) error {
	timed, ok := l.Listener.(interface{ SetDeadline(time.Time) error })
	if !ok {
		return errors.ErrUnsupported
	}
	return timed.SetDeadline(at)
}

// Accept returns the next connection that has a place or may be told that it
// has none. Others are closed.
func (l *limited) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		switch {
		case err == nil:
			if c := l.limiter.enter(nc); c != nil {
				return c, nil
			}
		case !isShortage(err):
			return nil, err
		default:
			l.limiter.relieve(err)
			time.Sleep(shortageWait)
		}
	}
}

// isShortage reports whether err, from Accept, will pass.
func isShortage(err error) bool {
	for _, passing := range []error{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// enter counts nc in, or closes it and returns nil.
func (l *Limiter) enter(nc net.Conn) *Conn {
	c := &Conn{Conn: nc, limiter: l, leave: func() { nc.Close() }}
	c.Idle()

	l.mu.Lock()
	if l.leaving > 0 && len(l.conns) >= l.max+l.extra {
		l.waitLocked()
	}
	now := time.Now()
	if len(l.conns) < l.max {
		l.conns[c] = struct{}{}
		l.roomLocked(now)
		l.mu.Unlock()
		return c
	}

	// No place is free. A client told to go still has one until it is gone, so
	// there may be a few more than max for a moment, but never beyond extra.
	l.crowdedLocked(now, errNoPlace)
	if len(l.conns) >= l.max+l.extra {
		l.turnedAway++
		l.mu.Unlock()
		nc.Close()
		return nil
	}
	victim := l.longestIdleLocked()
	if victim == nil {
		l.turnedAway++
		c.turnedAway = true
	}
	l.conns[c] = struct{}{}
	leave := l.tellLocked(victim)
	l.mu.Unlock()
	leave()
	return c
}

// waitLocked lets go of mu until a connection is gone, for evictWait at most.
func (l *Limiter) waitLocked() {
	freed := l.freed
	l.mu.Unlock()
	select {
	case <-freed:
	case <-time.After(evictWait):
	}
	l.mu.Lock()
}

// relieve closes the client that has been idle longest, if one is idle: its
// descriptor may be the one whose lack kept Accept from its work.
func (l *Limiter) relieve(lack error) {
	l.mu.Lock()
	l.crowdedLocked(time.Now(), lack)
	leave := l.tellLocked(l.longestIdleLocked())
	l.mu.Unlock()
	leave()
}

// longestIdleLocked returns the connection that has been idle longest, nil if
// none is idle.
func (l *Limiter) longestIdleLocked() *Conn {
	var longest *Conn
	var since int64
	for c := range l.conns {
		at := c.idleSince.Load()
		if at != 0 && !c.leaving && !c.turnedAway && (longest == nil || at < since) {
			longest, since = c, at
		}
	}
	return longest
}

// tellLocked marks victim, if there is one, as leaving and returns what makes
// it leave, to be called without mu.
func (l *Limiter) tellLocked(victim *Conn) (leave func()) {
	if victim == nil {
		return func() {}
	}
	victim.leaving = true
	l.leaving++
	l.evicted++
	return victim.leave
}

// errNoPlace is why a Limiter is crowded, unless the system has run out first.
var errNoPlace = errors.New("every place is taken")

// crowdedLocked notes that somebody came and could not have a free place.
func (l *Limiter) crowdedLocked(now time.Time, why error) {
	if l.crowd.began.IsZero() {
		l.crowd = crowd{began: now, evicted: l.evicted, turnedAway: l.turnedAway}
		l.log.Warn("too many connections: new ones take the place of the longest idle, or are turned away",
			"listener", l.name, "max", l.max, "error", why)
	}
	l.crowd.last = now
}

// roomLocked notes that somebody came and found a place free.
func (l *Limiter) roomLocked(now time.Time) {
	if l.crowd.began.IsZero() || now.Sub(l.crowd.last) < holdDown {
		return
	}
	l.log.Info("connections have room again", "listener", l.name, "after", now.Sub(l.crowd.began).Round(time.Millisecond),
		"closed_idle", l.evicted-l.crowd.evicted, "turned_away", l.turnedAway-l.crowd.turnedAway)
	l.crowd.began = time.Time{}
}

// Conn is a connection that has a place of a [Limiter] until it is closed. It
// counts as idle from its beginning.
type Conn struct {
	net.Conn
	limiter    *Limiter
	idleSince  atomic.Int64 // Unix nanoseconds; 0 while it is busy
	turnedAway bool         // set before anybody else knows the Conn
	gone       bool         // guarded by limiter.mu
	leaving    bool         // guarded by limiter.mu
	leave      func()       // makes it leave; guarded by limiter.mu
}

// TurnedAway reports whether there was no place: the client should be told, and
// the connection closed.
func (c *Conn) TurnedAway() bool { return c.turnedAway }

// Idle says that the client is owed nothing and owes nothing from now on.
func (c *Conn) Idle() { c.idleSince.Store(time.Now().UnixNano()) }

// Busy says that the client is being served.
func (c *Conn) Busy() { c.idleSince.Store(0) }

// OnEvict has leave called, instead of Close, when the place is needed for
// another client. It must not block, and the connection must then be closed
// soon.
func (c *Conn) OnEvict(leave func()) {
	c.limiter.mu.Lock()
	c.leave = leave
	told := c.leaving
	c.limiter.mu.Unlock()
	if told {
		leave()
	}
}

// Peer names who is at the other end: a host, or on this one the process, where
// the system tells.
func (c *Conn) Peer() string {
	if tcp, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return owner(c.Conn)
}

// CloseWrite closes the writing half, if the connection can do that.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Close closes the connection and gives its place back.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	l := c.limiter
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.gone {
		return err
	}
	c.gone = true
	delete(l.conns, c)
	if c.leaving {
		l.leaving--
	}
	close(l.freed)
	l.freed = make(chan struct{})
	return err
}

// NoteState tells a connection of a Limiter what net/http says of it, to be
// called from [http.Server.ConnState]. net/http calls a connection active only
// once it has read the head of a request: one that dawdles over it is idle.
func NoteState(nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		nc.(*Conn).Busy()
	case http.StateIdle:
		nc.(*Conn).Idle()
	}
}
