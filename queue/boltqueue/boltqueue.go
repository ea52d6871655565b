// Package boltqueue is the default queue of trackd: durable, on this disk, in
// bbolt.
//
// The queue is a line of small bbolt files, the segments. Events are appended
// to the newest, delivered from the oldest, and a segment in which nothing is
// live or dead is unlinked. Nothing ever moves between segments: what happens
// to an event is written where it lies, in one transaction, beside a book that
// must balance. So nothing grows with the largest backlog ever reached, and a
// damaged file costs what it held and no more.
//
//	Append ─▶ group ─▶ writer ──commit──▶ tail segment      keeper: spare, unlink,
//	                     ▲                      │           books after a start
//	          marks due ─┘                      ▼
//	Settle ─▶ open blocks ◀──── cursor ◀── blocks, cached or read
//	                                │
//	Lease ◀── fresh and parked ◀────┘
//
// Guarantees: those of [queue.Queue]; Append is fsynced before it returns nil.
// Settled outcomes reach the disk within about 200 ms. Not promised: a disk
// that lies about fsync, network filesystems.
//
// Reading order: boltqueue.go (open and close), layout.go (the format),
// block.go, codec.go, marks.go and book.go (what is stored), segment.go (one file),
// append.go and writer.go (the way in), line.go (birth, roll, seal, unlink),
// lease.go, cursor.go and settle.go (the way out), letters.go and amend.go (an operator's
// view and hand), stats.go, check.go.
package boltqueue

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// ErrNewer and ErrOlder mean that another trackd wrote the queue, in a format
// this one does not know. Nothing was touched.
var (
	ErrNewer = errors.New("upgrade trackd")
	ErrOlder = errors.New("run the older trackd")
)

// Defaults of Options.
const (
	DefaultMaxBytes     = 10 << 30
	DefaultMinFreeBytes = 256 << 20
	DefaultRejectBytes  = 256 << 20
)

// Options says where a queue lies and how large it may be.
type Options struct {
	Dir          string // required; made if missing, mode 0700
	MaxBytes     int64  // bound on the directory, reservations included; default 10 GiB, at least 512 MiB
	MinFreeBytes int64  // left free on the medium; default 256 MiB, negative: none
	RejectBytes  int64  // bound on what rejects cost on disk; default 256 MiB, at most a quarter of MaxBytes, negative: none is kept

	// OnCommit, if set, is told of every commit. It must be quick.
	OnCommit func(Commit)

	Log *slog.Logger // default: discard

	noSync       bool                                 // tests break the promise to see the proof fail
	segmentBytes int64                                // where a segment is full; tests make the line roll early
	fault        func(point string, after bool) error // tests strike here; see step
}

// Commit tells of one transaction.
type Commit struct {
	Duration time.Duration
	Events   int // made durable by it, rejects included
	Err      error
}

func (o Options) withDefaults() Options {
	defaultTo(&o.MaxBytes, DefaultMaxBytes)
	defaultTo(&o.MinFreeBytes, DefaultMinFreeBytes)
	defaultTo(&o.RejectBytes, DefaultRejectBytes)
	defaultTo(&o.segmentBytes, segment.DefaultSegmentBytes)
	o.RejectBytes = min(o.RejectBytes, o.MaxBytes/4)
	if o.OnCommit == nil {
		o.OnCommit = func(Commit) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func defaultTo(v *int64, def int64) {
	if *v == 0 {
		*v = def
	}
}

func (o Options) validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("no directory given"))
	}
	if least := 16 * o.segmentBytes; o.MaxBytes < least {
		errs = append(errs, fmt.Errorf("max bytes %d: want at least %d, room for the line to roll", o.MaxBytes, least))
	}
	return errors.Join(errs...)
}

// Queue is a durable queue in one directory. Open makes one.
type Queue struct {
	opts Options
	log  *slog.Logger
	lock *os.File // held until Close

	packer *segment.Packer

	intake      intake        // the way in: what the next commit will hold
	kick        chan struct{} // capacity 1: there is work for the writer
	ops         chan func()   // run by the writer, between commits
	tend        chan struct{} // capacity 1: there is work for the keeper
	wake        chan struct{} // capacity 1: there may be something to lease
	lessee      chan struct{} // capacity 1: held by the one Lease that looks
	stop        chan struct{} // closed when Close begins
	othersLast  bool          // see othersShare; owned by the holder of lessee
	replayFirst bool          // who of the others gets the odd one; owned by the holder of lessee
	workers     sync.WaitGroup
	closing     sync.Once
	closed      error // what Close returned; set by closing

	verifying sync.Mutex // held while a file is verified and repaired: one at a time, and none after Close

	spares  sync.Mutex    // guards spare and its making
	spare   *segmentState // born ahead, not in the line yet
	highest uint64        // number given last: none is given twice in one process

	// mu guards everything below, and the fields of segments and open blocks
	// that say so. It is never held over I/O.
	mu       sync.Mutex
	line     []*segmentState // oldest first
	tail     *segmentState   // takes appends; last of the line; nil: none can
	removed  []*segmentState // out of the line, file not unlinked yet
	open     map[blockKey]*openBlock
	held     map[queue.Address]*heldEvent // leased and not settled
	returned heldHeap                     // of held
	parked   heldHeap                     // of held
	claims   map[queue.Address]bool       // dead letters that a Replace works on
	cursor   cursor
	replay   replayed
	rereadAt time.Time // nothing is read from segments before: the last try failed
	tailSize int64     // what the tail uses
	hasSpare bool      // a segment is made ahead
	reserved int64     // room set aside for appends to come
	entering int64     // what other appends in progress will take
	ahead    int64     // segments that the bounds still allow, when last counted
	cache    cache
	full     string                 // why ErrFull; "" when there is room
	alarms   map[string]string      // by what they are about
	rejects  int64                  // what rejects cost on disk, stored or about to be; samples not counted
	samples  int64                  // the same of rejects of not_lifecycle
	nDirty   int                    // open blocks to be flushed to healthy segments
	work     map[*segmentState]bool // segments the writer may have to do something about
	disk     diskState              // as Stats saw it last
}

var _ queue.Queue = (*Queue)(nil)

// Open opens the queue in opts.Dir, or makes one, and starts its goroutines,
// which end with Close. Errors: ErrLocked when another process has it,
// ErrNewer when a newer trackd wrote it. Damaged content is set aside and
// never an error.
func Open(opts Options) (*Queue, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("queue options: %w", err)
	}
	packer, err := segment.NewPacker()
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	q := &Queue{
		opts: opts, log: opts.Log, packer: packer,
		kick: make(chan struct{}, 1), ops: make(chan func()), tend: make(chan struct{}, 1),
		wake: make(chan struct{}, 1), lessee: make(chan struct{}, 1), stop: make(chan struct{}),
		open: map[blockKey]*openBlock{}, held: map[queue.Address]*heldEvent{}, claims: map[queue.Address]bool{}, work: map[*segmentState]bool{}, alarms: map[string]string{},
	}
	q.intake.init(q.packing(), opts.groupBytes())
	q.cache.init()
	if err := q.start(); err != nil {
		switch {
		case errors.Is(err, segment.ErrNewer):
			err = fmt.Errorf("%w: %w", ErrNewer, err)
		case errors.Is(err, segment.ErrOlder):
			err = fmt.Errorf("%w: %w", ErrOlder, err)
		}
		return nil, fmt.Errorf("open the queue in %s: %w", opts.Dir, err)
	}
	return q, nil
}

// start takes the directory and the newest segment; the others are read in
// the background.
func (q *Queue) start() error {
	if err := segment.PrepareDir(q.opts.Dir); err != nil {
		return err
	}
	warning, err := segment.JudgeMedium(q.opts.Dir)
	if err != nil {
		return err
	}
	if warning != "" {
		q.log.Warn("weaker promise", "why", warning)
	}
	err = q.step("lock.take", func() (err error) {
		q.lock, err = lock(q.opts.Dir)
		return err
	})
	if err != nil {
		return errors.Join(err, q.unlock())
	}
	if err := q.startLine(); err != nil {
		return errors.Join(err, q.closeFiles(), q.unlock())
	}
	q.workers.Go(q.write)
	q.workers.Go(q.keep)
	return nil
}

// Close ends all calls in progress with ErrClosed, makes what was settled
// durable and lets go of the files. Calling it again returns the same.
func (q *Queue) Close() error {
	q.closing.Do(func() {
		q.intake.close()
		close(q.stop)
		q.workers.Wait()
		q.sweep()          // what the writer retired last
		q.verifying.Lock() // a listing that runs on must not repair what another process owns
		defer q.verifying.Unlock()
		q.closed = errors.Join(q.closeFiles(), q.unlock())
	})
	return q.closed
}

// unlock lets go of the directory, if it was taken.
func (q *Queue) unlock() error {
	if q.lock == nil {
		return nil
	}
	return unlock(q.lock)
}

// closeFiles closes every segment this queue has open, for good: a listing
// that is still at work must not open one again.
func (q *Queue) closeFiles() error {
	all := q.segments()
	q.spares.Lock()
	if q.spare != nil {
		all = append(all, q.spare)
	}
	q.spares.Unlock()
	var errs []error
	for _, s := range all {
		errs = append(errs, s.End(queue.ErrClosed))
	}
	return errors.Join(errs...)
}

// segments copies the line.
func (q *Queue) segments() []*segmentState {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*segmentState(nil), q.line...)
}

// isClosed reports whether Close has begun.
func (q *Queue) isClosed() bool {
	select {
	case <-q.stop:
		return true
	default:
		return false
	}
}

// nudge signals a channel of capacity 1 without waiting.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (q *Queue) syncDir() error { return segment.SyncDir(q.opts.Dir) }

// raise sets the alarm about a subject and logs it, once.
func (q *Queue) raise(about, text string) {
	q.mu.Lock()
	_, known := q.alarms[about]
	q.alarms[about] = text
	q.mu.Unlock()
	if !known {
		q.log.Error("queue alarm", "about", about, "why", text)
	}
}

// lower ends the alarm about a subject.
func (q *Queue) lower(about string) {
	q.mu.Lock()
	_, known := q.alarms[about]
	delete(q.alarms, about)
	q.mu.Unlock()
	if known {
		q.log.Info("queue alarm over", "about", about)
	}
}
