package boltqueue_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"trackd/queue"
	"trackd/queue/boltqueue"
)

// TestWhatAnOperatorDoesAfterThinningIsInTheFileThatHasTheName thins a segment
// down to one letter, with a rename that succeeds, fails, or succeeds and is
// said to have failed, then discards the letter and dies: if the discard was
// acknowledged the letter must not be back.
func TestWhatAnOperatorDoesAfterThinningIsInTheFileThatHasTheName(t *testing.T) {
	for name, fails := range map[string]func(after bool) bool{
		"it succeeds":              func(bool) bool { return false },
		"it fails":                 func(after bool) bool { return !after },
		"it succeeds and fails":    func(after bool) bool { return after },
		"the name does not endure": nil,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "queue")
			var thinned atomic.Bool
			fault := func(point string, after bool) error {
				if point == "compact.rename" && after {
					thinned.Store(true)
				}
				if point == "compact.rename" && fails != nil && fails(after) || point == "compact.syncdir" && fails == nil && !after {
					thinned.Store(true)
					return unix.EIO
				}
				return nil
			}
			knobs := boltqueue.Knobs{SegmentBytes: 256 << 10, NoSync: true, Fault: fault}
			d := newDriver(dir, "thin", 1, knobs, func(note) {})
			must(t, d.open())
			defer d.Abandon()  // twice is fine
			d.append(2, 10, 0) // a letter, and one that keeps the segment when that is gone
			for range 40 {
				d.append(8, 500, 0)
			}
			d.lease(2)
			d.settle(1, d.bury)
			d.settle(1, hold)
			for range 20 {
				d.lease(16)
				d.settle(16, deliver)
			}
			waitFor(t, "something is thinned", thinned.Load) // marks are due soon
			n, err := d.Discard(t.Context(), queue.Filter{})
			d.Abandon()
			report, checkErr := boltqueue.Check(t.Context(), dir, nil)
			must(t, checkErr)
			if well := fails != nil && !(fails(true) && !fails(false)); well != (err == nil) {
				t.Errorf("discard: got %v, want success only where it is known which file has the name", err)
			}
			if want := uint64(1 - n); report.Account.Dead != want || len(report.Problems) > 0 || err == nil && n != 1 {
				t.Errorf("discarding %d (%v) left %d dead, want %d; problems: %v", n, err, report.Account.Dead, want, report.Problems)
			}
		})
	}
}
