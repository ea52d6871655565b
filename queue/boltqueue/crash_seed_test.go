package boltqueue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"trackd/queue/boltqueue"
	"trackd/queue/queuetest"
)

// seeds returns the seeds of a test: TRACKD_CRASH_SEED alone if that is set,
// which is how a failure is looked into, else all of them or a slice.
func seeds(t testing.TB, slice, all int) (list []uint64) {
	t.Helper()
	if text := os.Getenv("TRACKD_CRASH_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	n := slice
	if everything() {
		n = all
	}
	for seed := range n {
		list = append(list, uint64(seed))
	}
	return list
}

// TestRandomLivesAndDeathsMatchTheLedger lets a queue of small segments live a
// few times: random calls, a disk that is full or fails now and then, a clock
// that jumps, and an end anywhere between two writes. After each, and at the
// end, what the files hold must be what was acknowledged.
func TestRandomLivesAndDeathsMatchTheLedger(t *testing.T) {
	var mu sync.Mutex // guards total
	total := map[string]int{}
	t.Run("with", func(t *testing.T) {
		for _, seed := range seeds(t, 40, 9_500) {
			t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
				t.Parallel()
				s := newSaga(t, seed)
				s.run(t)
				mu.Lock()
				defer mu.Unlock()
				for what, n := range s.count {
					total[what] += n
				}
			})
		}
	})
	t.Logf("%v", total)
}

// saga is one run: a few lives of one queue.
type saga struct {
	dir    string
	dice   *rand.Rand
	ledger *queuetest.Ledger
	driver *driver
	luck   *luck
	wrong  error // what the queue did wrong since it was last asked
	count  map[string]int
}

func newSaga(t testing.TB, seed uint64) *saga {
	s := &saga{dir: filepath.Join(t.TempDir(), "queue"), dice: rand.New(rand.NewPCG(seed, 2)),
		ledger: queuetest.NewLedger(), luck: &luck{}, count: map[string]int{}}
	knobs := boltqueue.Knobs{SegmentBytes: 16 << 10 << s.dice.IntN(3), NoSync: true, Fault: s.luck.fault}
	s.driver = newDriver(s.dir, "saga", seed, knobs, s.note)
	return s
}

// note enters what the driver tells into the ledger.
func (s *saga) note(n note) {
	if n.Answered {
		s.count[n.Op]++
		s.wrong = errors.Join(s.wrong, n.enter(s.ledger))
	}
}

func (s *saga) run(t *testing.T) {
	for range 1 + s.dice.IntN(3) {
		if s.dice.IntN(4) == 0 {
			// The bubble's clock begins in the year 2000 and leaps: to the queue,
			// time went back by decades, and does again when the bubble is left.
			s.count["jumps"]++
			synctest.Test(t, func(t *testing.T) { s.live(t, true) })
		} else {
			s.live(t, false)
		}
		if t.Failed() {
			return
		}
	}
	reckon(t, s.dir, s.ledger, false)
}

// live opens the queue, looks at what it finds, uses it and ends.
func (s *saga) live(t testing.TB, leaps bool) {
	t.Helper()
	*s.luck = luck{dice: rand.New(rand.NewPCG(s.dice.Uint64(), 3))}
	if err := s.driver.open(); err != nil {
		t.Fatal(err)
	}
	defer s.driver.Abandon() // closed once more is fine, and a bubble must not be left with goroutines
	if err := s.ledger.Check(context.Background(), s.driver.Queue); err != nil {
		t.Fatalf("found: %v", err)
	}
	s.luck.turn(s.dice)
	for range 5 + s.dice.IntN(40) {
		if leaps && s.dice.IntN(5) == 0 {
			time.Sleep(time.Duration(s.dice.Int64N(int64(72 * time.Hour))))
		}
		s.driver.wander()
	}
	clean := s.dice.IntN(4) == 0
	if clean {
		s.driver.close()
	} else {
		s.driver.Abandon()
		s.ledger.Crashed()
	}
	for what, n := range s.luck.had() {
		s.count[what] += n
	}
	if s.wrong != nil {
		t.Fatalf("while it lived: %v", s.wrong)
	}
}

// luck decides which writes of a life fail.
type luck struct {
	mu       sync.Mutex // guards all below
	dice     *rand.Rand
	full     int // one write in so many finds the disk full; 0: none
	failing  int // one in so many fails
	untilEnd int // writes until the process is gone; 0: never
	dead     bool
	tally    map[string]int
}

// turn draws the luck of a life.
func (l *luck) turn(dice *rand.Rand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally = map[string]int{}
	switch dice.IntN(6) {
	case 0:
		l.full = 2 + dice.IntN(6)
	case 1:
		l.failing = 3 + dice.IntN(20)
	case 2, 3:
		l.untilEnd = 1 + dice.IntN(100)
	}
}

func (l *luck) fault(point string, after bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.dead:
		return errors.New("the process is gone")
	case l.untilEnd == 1:
		l.dead = true
		l.tally["deaths between two writes"]++
		return errors.New("the process is gone")
	case l.untilEnd > 1:
		l.untilEnd--
	case l.full > 0 && !strings.HasPrefix(point, "unlink.") && l.dice.IntN(2*l.full) == 0:
		l.tally["disk full"]++
		return unix.ENOSPC
	case l.failing > 0 && l.dice.IntN(2*l.failing) == 0:
		l.tally["disk failed"]++
		return unix.EIO
	}
	return nil
}

// had returns what befell the process.
func (l *luck) had() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tally
}

// TestAKillAtAnyMomentMatchesTheLedger kills real processes that use a queue,
// each after a random number of calls and a little later.
func TestAKillAtAnyMomentMatchesTheLedger(t *testing.T) {
	for _, seed := range seeds(t, 4, 500) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(seed, 4))
			after, delay := 2+dice.IntN(300), time.Duration(dice.IntN(2_000))*time.Microsecond
			dir, heard := filepath.Join(t.TempDir(), "queue"), 0
			s := script{Dir: dir, Story: "wander", Name: "kill", Seed: seed, SegmentBytes: 16 << 10 << dice.IntN(3), NoSync: seed%5 > 0}
			notes, killed := start(t, "", s, func(c *child, _ note) {
				if heard++; heard == after {
					for begin := time.Now(); time.Since(begin) < delay; { // shorter than any sleep is exact
					}
					_ = c.cmd.Process.Kill()
				}
			}).wait(t)
			if !killed {
				t.Fatal("it was not killed")
			}
			l := queuetest.NewLedger()
			if err := enterAll(l, notes); err != nil {
				t.Errorf("before its end: %v", err)
			}
			l.Crashed()
			reckon(t, dir, l, false)
		})
	}
}
