// Package pgqueue is the queue of a fleet: durable in PostgreSQL, filled by
// several centres at once and delivered by one of them at a time.
//
//	Append ─▶ group ─▶ account "in", events     one statement; ids visible in order
//	hold  ─▶ drainer: lease, epoch              who delivers, by the database's clock
//	Lease ◀─ cursor ◀─ events                   the holder's memory: leased, parked
//	Settle ─▶ flush ─▶ events, account "out"    one statement, fenced by the epoch
//
// Guarantees: those of [queue.Queue]. An Append that returned nil is committed
// and, where the database has a synchronous standby, replicated. The account
// balances at every commit: a constraint of the table sees to it. At most one
// centre's outcomes count; the one that lost the lease changes nothing. Settled
// outcomes are committed as soon as the statement before them is.
//
// Not promised: what a database without a synchronous standby promises not. A
// failover to a standby that was behind is detected, counted as lost, and told.
//
// Every statement is a file below sql, the tables are below migrations.
//
// Reading order: pgqueue.go (open and close), migrate.go (the tables),
// database.go (how a statement is run), append.go and reserve.go (the way in),
// hold.go (the lease), lease.go, cursor.go and settle.go (the way out),
// dead_letters.go and erase.go (an operator's hand), stats.go.
package pgqueue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"trackd/queue"
)

var _ queue.Queue = (*Queue)(nil)

// Defaults of Options.
const (
	DefaultMaxBytes    = 10 << 30
	DefaultRejectBytes = 256 << 20
	DefaultLease       = 10 * time.Second
	DefaultTimeout     = 5 * time.Second
)

// Options says where a queue lies and how large it may be.
type Options struct {
	URL         string        // required: hosts, database and role, as PostgreSQL's programs read it
	Name        string        // of this centre, shown to people; default: "centre"
	MaxBytes    int64         // bound on the cost of events, queued and dead; default 10 GiB
	RejectBytes int64         // bound on the cost of rejected input; default 256 MiB, negative: none is kept
	Lease       time.Duration // how long nobody delivers after the holder's death; default 10 s
	Timeout     time.Duration // of one statement; default 5 s

	// OnCommit, if set, is told of every group appended. It must be quick.
	OnCommit func(Commit)

	Log *slog.Logger // default: discard
}

// Commit tells of one group of appends.
type Commit struct {
	Duration time.Duration
	Events   int // made durable by it, rejects included
	Err      error
}

func (o Options) withDefaults() Options {
	defaultTo(&o.MaxBytes, DefaultMaxBytes)
	defaultTo(&o.RejectBytes, DefaultRejectBytes)
	defaultTo(&o.Lease, DefaultLease)
	defaultTo(&o.Timeout, DefaultTimeout)
	defaultTo(&o.Name, "centre")
	if o.OnCommit == nil {
		o.OnCommit = func(Commit) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func defaultTo[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Queue is one centre's hold on the queue in a database. Open makes one.
type Queue struct {
	opts  Options
	log   *slog.Logger
	own   database // for appends, deliveries and the lease
	hands database // for operators
	owner string   // names this process in the drainer's row

	alive   context.Context // ends when no statement of the queue's own may go on
	end     context.CancelFunc
	stop    chan struct{} // closed when Close begins
	workers sync.WaitGroup
	closing sync.Once
	closed  error // what Close returned; set by closing

	toAppend chan struct{} // capacity 1: there is something to append
	toFlush  chan struct{} // capacity 1: there are outcomes to flush
	wake     chan struct{} // capacity 1: there may be something to lease
	lessee   chan struct{} // capacity 1: held by the one Lease that looks

	// mu guards everything below. It is never held while a statement runs.
	mu       sync.Mutex
	intake   []*appending // waiting for the group being written
	reserved int64        // bytes set aside by reservations of this centre
	known    figures      // what the last statement said
	highest  int64        // highest id this centre knows to be acknowledged
	hold     hold         // of the lease on delivering
	held     holding      // events handed out, while hold is ours
	outcomes outcomes     // settled and not flushed
	trouble  map[string]string
}

// figures is what the account charges against bounds.
type figures struct {
	bytes, rejectBytes, sampleBytes int64
	nextID                          int64
}

// Open connects to the database, checks its tables and starts to ask for the
// lease. ctx bounds the start only.
func Open(ctx context.Context, o Options) (*Queue, error) {
	o = o.withDefaults()
	if o.Lease < 50*time.Millisecond {
		return nil, fmt.Errorf("open queue: lease of %v: want at least 50ms", o.Lease)
	}
	q := &Queue{
		opts: o, log: o.Log, owner: o.Name + " " + rand.Text(), stop: make(chan struct{}),
		toAppend: make(chan struct{}, 1), toFlush: make(chan struct{}, 1), wake: make(chan struct{}, 1), lessee: make(chan struct{}, 1),
		held: newHolding(), trouble: map[string]string{},
	}
	q.outcomes.flushed = make(chan struct{})
	q.alive, q.end = context.WithCancel(context.Background())
	var err error
	if q.own, err = connect(ctx, o); err != nil {
		return nil, fmt.Errorf("open queue: %w", err)
	}
	if q.hands, err = connect(ctx, o); err == nil {
		err = q.start(ctx)
	}
	if err != nil {
		q.disconnect()
		return nil, fmt.Errorf("open queue: %w", err)
	}
	q.workers.Go(q.appendGroups)
	q.workers.Go(q.keepHold)
	q.workers.Go(q.flushOutcomes)
	return q, nil
}

// start checks that the tables are those this program knows, and learns what
// the account says.
func (q *Queue) start(ctx context.Context) error {
	if err := checkMigrations(ctx, q.hands.pool); err != nil {
		return err
	}
	if _, err := q.readStats(ctx, q.hands); err != nil {
		return err
	}
	said, err := q.checkStandby(ctx)
	if err != nil {
		return err
	}
	if said != "" {
		q.log.Warn("the database may lose what was acknowledged", "reason", said)
	}
	return nil
}

// Close implements [queue.Queue]. It gives the lease up, so that another centre
// delivers at once.
func (q *Queue) Close() error {
	q.closing.Do(func() {
		close(q.stop)
		q.lessee <- struct{}{} // no Lease looks any more
		nudge(q.toAppend)
		nudge(q.toFlush)
		q.workers.Wait()
		q.closed = errors.Join(q.flushRest(), q.release())
		q.disconnect()
	})
	return q.closed
}

// disconnect ends every statement and connection.
func (q *Queue) disconnect() {
	q.end()
	for _, d := range []database{q.own, q.hands} {
		if d.pool != nil {
			d.pool.Close()
		}
	}
}

func (q *Queue) isClosed() bool {
	select {
	case <-q.stop:
		return true
	default:
		return false
	}
}

// usable says why nothing can be done, if so.
func (q *Queue) usable(ctx context.Context) error {
	if q.isClosed() {
		return queue.ErrClosed
	}
	return ctx.Err()
}

// nudge leaves a message in a channel of capacity 1 unless one is there.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// report logs a trouble when it begins, when it changes and when it ends, and
// keeps it for Stats. An empty text ends it.
func (q *Queue) report(what, text string) {
	q.mu.Lock()
	before := q.trouble[what]
	if text == "" {
		delete(q.trouble, what)
	} else {
		q.trouble[what] = text
	}
	q.mu.Unlock()
	switch {
	case text == "" && before != "":
		q.log.Info("database works again", "for", what)
	case text != "" && before == "":
		q.log.Error("database trouble", "for", what, "reason", text)
	}
}
