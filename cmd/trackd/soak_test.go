package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"

	"trackd/internal/sandbox"
)

const (
	// refusedUser's events get 400 and become dead letters. poisonUser's get 500
	// until the end; those that fail often enough while others pass do, too.
	refusedUser, poisonUser = "user-7", "user-8"

	// roomBytes is what a daemon under pressure may use of the disk, and
	// ballastBytes what takes that away from it.
	roomBytes, ballastBytes = 192 << 20, 192 << 20

	soakStop = 10 * time.Second // bounds a stop in good order
)

// soak is a crash test that goes on and on: lives of the daemon, with a load
// over both doors, trouble at the destination and a disk that fills up, that
// end by SIGKILL or SIGTERM.
type soak struct {
	*crash
	calm       []string // the environment without pressure
	squeezable bool     // whether there is disk enough to take away
	squeezed   bool     // whether it is taken away

	lives, stops, troubles, squeezes int
	slowest                          time.Duration // stop in good order
}

// String tells what the daemon went through.
func (s *soak) String() string {
	return fmt.Sprintf("%d lives, %d ended by SIGKILL and %d by SIGTERM (within %v), %d troubles, disk taken away %d times, %d times told that the queue is full, %d events acknowledged",
		s.lives, s.kills, s.stops, s.slowest.Round(time.Millisecond), s.troubles, s.squeezes, s.full, len(s.yes))
}

// TestSoak runs for as long as TRACKD_SOAK says. At the end every event that
// got a yes has arrived or is a dead letter, and the files balance.
func TestSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv("TRACKD_SOAK"))
	if os.Getenv("TRACKD_SOAK") == "" {
		t.Skip("set TRACKD_SOAK=20m, or run make soak")
	} else if err != nil {
		t.Fatal(err)
	}
	s, begin := newSoak(t), time.Now()
	for told := begin; time.Since(begin) < length; {
		s.live(t)
		if time.Since(told) < min(time.Minute, length/4) {
			continue
		}
		told = time.Now()
		stats, missing := s.audit(t)
		t.Logf("%v: %v; %d queued", time.Since(begin).Round(time.Second), s, stats.Queued)
		if len(missing) > 0 {
			t.Fatalf("%d of %d acknowledged events are nowhere: %q …", len(missing), len(s.yes), missing[:min(len(missing), 5)])
		}
	}
	s.recover(t)
	s.settleUp(t)
}

func newSoak(tb testing.TB) *soak {
	s := &soak{crash: newCrash(tb)}
	s.mayBeFull, s.padding = true, 4*paddingBytes
	s.pace = rate.NewLimiter(100, 100)
	s.env = append(s.env,
		"TRACKD_QUEUE_MAX_BYTES=512MiB",
		"TRACKD_SENDER_MAX_ATTEMPTS=8",
		"TRACKD_UPSTREAM_TIMEOUT=1s",
		"TRACKD_SHUTDOWN_TIMEOUT="+soakStop.String(),
	)
	s.calm = slices.Clip(s.env)
	free := freeBytes(tb, s.dir)
	err := s.squeeze()
	s.release(tb)
	s.squeezable = err == nil && free > 2*(roomBytes+ballastBytes)
	if !s.squeezable {
		tb.Logf("without disk pressure: %d bytes are free in %s, and reserving %d of them: %v", free, s.dir, ballastBytes, err)
	}
	return s
}

// live starts the daemon and ends it: every eighth time somewhere in its start,
// else after some seconds of load and trouble, every third time in good order.
func (s *soak) live(tb testing.TB) {
	s.lives++
	s.makeTrouble(tb)
	s.leaveRoom(tb)
	s.start()
	defer func() { s.kill(); s.kills = s.lives - s.stops }()
	if rand.N(8) == 0 {
		<-time.After(rand.N(200 * time.Millisecond))
		return
	}
	s.awaitDoors()
	s.pace.SetLimit(anyPace())
	var clients sync.WaitGroup
	clients.Go(func() { s.rush(s.process) })
	for range 1 + rand.N(8) {
		<-time.After(rand.N(time.Second))
		s.makeTrouble(tb)
		s.maybeSqueeze(tb)
	}
	if rand.N(3) == 0 {
		s.stop(tb)
	} else {
		s.kill()
	}
	clients.Wait()
}

// anyPace is, in events a second, what a daemon in trouble can deliver too, or
// sometimes more than it can ever.
func anyPace() rate.Limit {
	if rand.N(4) == 0 {
		return 1500
	}
	return rate.Limit(50 + rand.N(200))
}

// stop ends the daemon in good order.
func (s *soak) stop(tb testing.TB) {
	tb.Helper()
	code, took := s.terminate()
	s.stops++
	s.slowest = max(s.slowest, took)
	if code != 0 || took > soakStop {
		tb.Errorf("stopped with exit code %d after %v, want 0 within %v", code, took, soakStop)
	}
}

// awaitDoors waits until both doors are there, be the queue full or not.
func (s *soak) awaitDoors() {
	for _, door := range []string{"events.sock", "http.sock"} {
		until(s.process.tb, door, func() bool {
			if s.gone() {
				s.process.tb.Fatalf("the daemon ended by itself: %v", s.err)
			}
			conn, err := net.Dial("unix", s.path(door))
			if err == nil {
				conn.Close()
			}
			return err == nil
		})
	}
}

// makeTrouble gives the destination some trouble or, most of the time, only
// that with two users: the pace takes seconds to recover.
func (s *soak) makeTrouble(tb testing.TB) {
	tb.Helper()
	trouble := sandbox.Trouble{refusedAlways(), {Preset: "poison", Match: sandbox.Match{UserID: poisonUser}}}
	if rand.N(4) == 0 {
		trouble = append(trouble, sandbox.Rule{Preset: anyPreset()})
		s.troubles++
	}
	if err := s.box.SetTrouble(trouble); err != nil {
		tb.Fatal(err)
	}
}

// refusedAlways is the trouble that never ends.
func refusedAlways() sandbox.Rule {
	return sandbox.Rule{Preset: "refuse", Match: sandbox.Match{UserID: refusedUser}}
}

// anyPreset names one of all presets but those that lie: who says yes and
// drops, or refuses what is good, makes its own account true.
func anyPreset() string {
	presets := slices.DeleteFunc(sandbox.Presets(), func(p sandbox.Preset) bool {
		return p.Name == "lossy" || p.Name == "refuse"
	})
	return presets[rand.N(len(presets))].Name
}

// leaveRoom has the next daemon keep so much of the disk free that it may use
// roomBytes, as long as there is no ballast.
func (s *soak) leaveRoom(tb testing.TB) {
	if !s.squeezable {
		return
	}
	s.release(tb)
	s.env = append(s.calm, fmt.Sprintf("TRACKD_QUEUE_MIN_FREE_BYTES=%d", freeBytes(tb, s.dir)-roomBytes))
	if s.squeezed { // it starts on a full disk
		s.squeezed = s.squeeze() == nil
	}
}

// maybeSqueeze sometimes takes the disk away, or gives it back, for about as
// long as the queue needs to use up what it has reserved.
func (s *soak) maybeSqueeze(tb testing.TB) {
	tb.Helper()
	switch {
	case !s.squeezable || rand.N(10) > 0:
	case s.squeezed:
		s.release(tb)
		s.squeezed = false
	case s.squeeze() == nil: // somebody else may have filled the disk
		s.squeezed = true
		s.squeezes++
	}
}

// squeeze claims ballastBytes of the disk.
func (s *soak) squeeze() error {
	f, err := os.OpenFile(s.path("ballast"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), 0, 0, ballastBytes)
}

// release gives the ballast back.
func (s *soak) release(tb testing.TB) {
	tb.Helper()
	if err := os.RemoveAll(s.path("ballast")); err != nil {
		tb.Fatal(err)
	}
}

// freeBytes is what is left on the medium of dir.
func freeBytes(tb testing.TB, dir string) int64 {
	tb.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		tb.Fatal(err)
	}
	return int64(fs.Bavail) * fs.Bsize
}

// recover gives the daemon all it needs and waits until its queue is empty,
// for as long as it gets emptier. Poison is mended too: the last events would
// else fail for ever, since nobody is blamed while nothing passes.
func (s *soak) recover(tb testing.TB) {
	tb.Helper()
	s.release(tb)
	s.env = append(s.calm, "TRACKD_QUEUE_MIN_FREE_BYTES=0")
	if err := s.box.SetTrouble(sandbox.Trouble{refusedAlways()}); err != nil {
		tb.Fatal(err)
	}
	s.lives++
	s.start()
	s.awaitReady()
	for left := uint64(1); left > 0; {
		before := s.status().Account
		until(tb, fmt.Sprintf("the queue of %d to drain", before.Queued), func() bool {
			now := s.status().Account
			left = now.Queued
			return now.Exact && (left == 0 || left < before.Queued)
		})
	}
	s.stop(tb)
}

// settleUp compares who was told yes with what arrived and with the dead
// letters, and tells the account.
func (s *soak) settleUp(tb testing.TB) {
	tb.Helper()
	stats, missing := s.audit(tb)
	got, arrived := s.box.Received(), s.box.IDs()
	deadOnly, unheard := 0, 0
	for id := range s.letters {
		if arrived[id] == 0 {
			deadOnly++
		}
		if arrived[id] == 0 && !s.yes[id] {
			unheard++
		}
	}
	for id := range arrived {
		if !s.yes[id] {
			unheard++
		}
	}
	tb.Logf("%v\n"+
		"%8d acknowledged\n%8d kept without anybody's hearing so: the reply died with the daemon\n"+
		"%8d arrived, %d of them more than once\n%8d are dead letters alone: %v\n%8d are nowhere",
		s, len(s.yes), unheard, got.Unique, got.Duplicates, deadOnly, stats.DeadByReason, len(missing))
	switch {
	case len(missing) > 0:
		tb.Errorf("%d of %d acknowledged events neither arrived nor are dead letters: %q …", len(missing), len(s.yes), missing[:min(len(missing), 5)])
	case len(s.yes)+unheard != len(arrived)+deadOnly:
		tb.Errorf("%d + %d were kept, %d + %d are there", len(s.yes), unheard, len(arrived), deadOnly)
	case len(s.yes) == 0 || s.weighed == 0 || len(arrived) == 0 || deadOnly == 0:
		tb.Error("not everything was put to the test")
	case stats.Queued+stats.Discarded+stats.Lost > 0 || len(stats.Damaged) > 0 || stats.Dead != uint64(len(s.letters)):
		tb.Errorf("the files hold more than %d dead letters: %+v, damaged %q", len(s.letters), stats.Account, stats.Damaged)
	case len(arrived) > s.sent || got.WithoutID > 0:
		tb.Errorf("%d events were sent and %d different ones arrived", s.sent, len(arrived))
	case bytes.Contains(s.logged(), []byte("panic")):
		tb.Error("the log holds a panic")
	}
}
