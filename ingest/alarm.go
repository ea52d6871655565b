package ingest

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// holdDown is how long nothing may have gone wrong before an alarm counts as over.
// A queue at the edge of its bound takes one batch and refuses the next; that
// is one trouble, not many.
const holdDown = time.Second

// alarm tells of a trouble when it begins and when it is over, not each time.
type alarm struct {
	log         *slog.Logger
	begun, over string // what is logged

	on atomic.Bool // lets the good path pass without the lock

	mu      sync.Mutex
	since   time.Time // when it began; guarded by mu
	last    time.Time // when it was last raised; guarded by mu
	refused uint64    // in all since it began; guarded by mu
}

// raise notes that n more were turned away because of err, which may be nil.
func (a *alarm) raise(n uint64, err error) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused += n
	a.last = now
	if a.on.Swap(true) {
		return
	}
	a.since = now
	if err != nil {
		a.log.Warn(a.begun, "error", err)
	} else {
		a.log.Warn(a.begun)
	}
}

// end notes that something went well.
func (a *alarm) end() {
	if !a.on.Load() {
		return
	}
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.on.Load() || now.Sub(a.last) < holdDown {
		return
	}
	a.on.Store(false)
	a.log.Info(a.over, "refused", a.refused, "after", now.Sub(a.since).Round(time.Millisecond))
	a.refused = 0
}
