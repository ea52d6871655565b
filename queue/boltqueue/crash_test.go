package boltqueue_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"trackd/queue/boltqueue"
	"trackd/queue/queuetest"
)

// everything reports whether all crash tests shall run, as `make crash` wants
// it, and not the slice of them that fits a few seconds.
func everything() bool { return os.Getenv("TRACKD_CRASH") == "all" }

// TestWhereverItDiesOrFailsNothingAcknowledgedIsLost is the matrix: at every
// fault point, before and after its effect, a real process is killed or is
// told that the disk failed or is full; then the next process must find each
// event in exactly one place, and none where it was known to have left.
func TestWhereverItDiesOrFailsNothingAcknowledgedIsLost(t *testing.T) {
	var mu sync.Mutex // guards passed and runs
	passed, runs := map[string]bool{}, 0
	t.Run("at", func(t *testing.T) {
		for _, point := range boltqueue.Points() {
			for _, s := range strikes(point) {
				t.Run(s.String(), func(t *testing.T) {
					t.Parallel()
					hit := crashOnce(t, "", script{Story: storyOf(point), Strike: s, Seed: uint64(s.Nth)})
					if !hit && s.Nth == 1 {
						t.Error("the story does not pass here")
					}
					mu.Lock()
					defer mu.Unlock()
					passed[point] = passed[point] || hit
					if hit {
						runs++
					}
				})
			}
		}
	})
	if got, want := slices.Sorted(maps.Keys(passed)), slices.Sorted(slices.Values(boltqueue.Points())); !slices.Equal(got, want) {
		t.Errorf("points run: %v, want %v", got, want)
	}
	t.Logf("%d points, %d faults that struck", len(passed), runs)
}

// strikes are the faults that may befall a process at a point.
func strikes(point string) (all []strike) {
	if !everything() {
		return []strike{{Point: point, After: true, Nth: 1, Kill: true}, {Point: point, Nth: 1, Errno: unix.EIO}}
	}
	for _, nth := range []int{1, 2, 5} {
		for _, after := range []bool{false, true} {
			all = append(all,
				strike{Point: point, After: after, Nth: nth, Kill: true},
				strike{Point: point, After: after, Nth: nth, Errno: unix.EIO},
				strike{Point: point, After: after, Nth: nth, Errno: unix.ENOSPC})
		}
	}
	return all
}

func storyOf(point string) string {
	switch {
	case strings.HasPrefix(point, "salvage."):
		return "salvage"
	case strings.HasPrefix(point, "fail."), point == "create.undo":
		return "failure"
	}
	return "life"
}

// crashOnce runs a script to its end, whatever that is, and compares what the
// next process finds with what was acknowledged. It reports whether the fault
// struck.
func crashOnce(t testing.TB, path string, s script, env ...string) bool {
	t.Helper()
	s.Dir, s.Name, s.SegmentBytes = filepath.Join(t.TempDir(), "queue"), "matrix", 64<<10
	s.NoSync = !everything() // a killed process leaves its writes in the page cache
	notes, killed := start(t, path, s, nil, env...).wait(t)
	where := struck(notes)
	if killed != (where != "" && s.Strike.Kill) {
		t.Errorf("killed: %t, struck: %q", killed, where)
	}
	l := queuetest.NewLedger()
	if err := enterAll(l, notes); err != nil {
		t.Errorf("before its end: %v", err)
	}
	l.Crashed()
	reckon(t, s.Dir, l, s.Story == "salvage")
	return where != ""
}

// reckon holds the files of a dead process against the ledger, then lives on
// with them: everything that is queued is delivered, one more event is taken.
func reckon(t testing.TB, dir string, l *queuetest.Ledger, damaged bool) {
	t.Helper()
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		t.Fatal("there is no queue")
	}
	checkFiles(t, dir, "at rest", damaged)
	tell := func(n note) {
		if !n.Answered {
			return
		}
		if err := n.enter(l); err != nil {
			t.Error(err)
		}
	}
	d := newDriver(dir, "reckon", 0, boltqueue.Knobs{SegmentBytes: 64 << 10, NoSync: true}, tell)
	if err := d.open(); err != nil {
		t.Fatal(err)
	}
	defer d.Close() // twice is fine
	if err := l.Check(context.Background(), d.Queue); err != nil {
		t.Errorf("the next process finds: %v", err)
	}
	d.append(1, 10, 0)
	if err := d.drain(); err != nil {
		t.Error(err)
	}
	if err := l.Check(context.Background(), d.Queue); err != nil {
		t.Errorf("drained: %v", err)
	}
	d.close()
	checkFiles(t, dir, "drained", damaged)
}

// checkFiles walks every file and checks the conservation law.
func checkFiles(t testing.TB, dir, when string, damaged bool) {
	t.Helper()
	report, err := boltqueue.Check(context.Background(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Problems) > 0 && !damaged || !report.Account.Balances() || report.Account.Lost > 0 {
		t.Errorf("%s: %s", when, fmt.Sprintf("%+v", report))
	}
}
