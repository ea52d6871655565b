package boltqueue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/queue"
	"trackd/queue/boltqueue"
	"trackd/queue/queuetest"
)

// TestACutOfPowerLosesNothingAcknowledged runs a queue on a filesystem inside an
// image and copies that image, in one instant, while the queue works: what the
// filesystem had not yet written is not in the copy, as after a cut of power.
// Each copy is mounted and the queue in it started. Without fsync the same
// must fail, or the test would prove nothing.
func TestACutOfPowerLosesNothingAcknowledged(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, kind)
			points := b.cutAtPoints(t)
			load := b.cutUnderLoad(t, false, 30)
			if n := len(points) + len(load); n < 50 {
				t.Errorf("%d cuts, want 50", n)
			}
			for _, c := range append(points, load...) {
				if err := b.audit(t, c); err != nil {
					t.Errorf("cut %s: %v", c.where, err)
				}
			}
			failed := 0
			unsynced := b.cutUnderLoad(t, true, 10)
			for _, c := range unsynced {
				if b.audit(t, c) != nil {
					failed++
				}
			}
			if failed == 0 {
				t.Error("without fsync nothing was lost either: these cuts prove nothing")
			}
			t.Logf("%d cuts at points, %d under load: nothing lost; without fsync %d of %d lost something", len(points), len(load), failed, len(unsynced))
		})
	}
}

// cut is a copy of the image in one instant.
type cut struct {
	where string
	image string
	queue string // the queue's directory in it
	notes []note // all that was told, also after the cut
	begin int64  // the instant lies between these
	end   int64
}

// bench is a filesystem in an image whose blocks can be shared with copies.
type bench struct {
	kind  string
	outer string // mount point of the filesystem that holds the images
	inner string // mount point of the one under test
	image string
	cuts  int
}

func newBench(t testing.TB, kind string) *bench {
	t.Helper()
	switch {
	case !everything():
		t.Skip("mounts filesystems and takes long: set TRACKD_CRASH=all, or run make crash")
	case os.Getuid() != 0:
		t.Skip("cuts the power of a mounted filesystem: only root may mount one")
	}
	for _, tool := range []string{"mkfs.xfs", "mkfs." + kind, "mount", "umount", "losetup", "cp"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("cuts the power of a mounted filesystem: ", err)
		}
	}
	dir := t.TempDir()
	b := &bench{kind: kind, outer: filepath.Join(dir, "outer"), inner: filepath.Join(dir, "inner")}
	for _, d := range []string{b.outer, b.inner} {
		must(t, os.Mkdir(d, 0o700))
	}
	store := image(t, filepath.Join(dir, "outer.img"), 2<<30)
	command(t, "mkfs.xfs", "-q", "-m", "reflink=1", store)
	b.mount(t, store, b.outer, false)
	b.image = image(t, filepath.Join(b.outer, "inner.img"), 400<<20)
	if kind == "xfs" {
		command(t, "mkfs.xfs", "-q", b.image)
	} else {
		command(t, "mkfs."+kind, "-q", b.image)
	}
	b.mount(t, b.image, b.inner, true)
	return b
}

func image(t testing.TB, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	must(t, errors.Join(f.Truncate(size), f.Close()))
	return path
}

// mount mounts an image until the test ends, or the function it returns is
// called. When direct, what is written to the device goes past the page cache
// to the image: only that is in a copy of it.
func (b *bench) mount(t testing.TB, image, at string, direct bool) (unmount func()) {
	t.Helper()
	args := []string{"--find", "--show"}
	if direct {
		args = append(args, "--direct-io=on")
	}
	device := strings.TrimSpace(string(command(t, "losetup", append(args, image)...)))
	options := "rw"
	if b.kind == "xfs" && at != b.outer {
		options = "nouuid" // copies have the identity of what they copy
	}
	out, err := exec.Command("mount", "-o", options, device, at).CombinedOutput()
	undone := false
	unmount = func() {
		if undone {
			return
		}
		undone = true
		_ = exec.Command("umount", at).Run() // it may not have been mounted
		if out, err := exec.Command("losetup", "--detach", device).CombinedOutput(); err != nil {
			t.Errorf("detach %s: %v, %s", device, err, out)
		}
	}
	t.Cleanup(unmount)
	if err != nil {
		t.Fatalf("mount %s: %v\n%s", image, err, out)
	}
	if direct && !strings.Contains(string(command(t, "losetup", "--noheadings", "--output", "DIO", device)), "1") {
		t.Skip("cuts the power of a mounted filesystem: this kernel gives loop devices no direct I/O to ", image)
	}
	return unmount
}

// cut copies the image. Its blocks are shared, so that takes one instant.
func (b *bench) cut(t testing.TB, where, dir string) *cut {
	b.cuts++
	c := &cut{where: fmt.Sprintf("%d, %s", b.cuts, where), image: fmt.Sprintf("%s.%d", b.image, b.cuts), queue: dir, begin: monotonic()}
	if out, err := exec.Command("cp", "--reflink=always", b.image, c.image).CombinedOutput(); err != nil {
		t.Errorf("copy the image: %v, %s", err, out) // perhaps not on the test's goroutine
	}
	c.end = monotonic()
	return c
}

// cutAtPoints cuts the power before and after every fault point that a life
// passes, while the process stands still there.
func (b *bench) cutAtPoints(t testing.TB) (cuts []*cut) {
	const dir = "points"
	s := script{Dir: filepath.Join(b.inner, dir), Story: "life", Name: "points", SegmentBytes: 64 << 10, Pause: 1}
	notes, _ := start(t, "", s, func(c *child, n note) {
		if n.Op != opPaused {
			return
		}
		cuts = append(cuts, b.cut(t, "at "+n.Err, dir))
		if _, err := c.goOn.Write([]byte{1}); err != nil {
			t.Error(err)
		}
	}).wait(t)
	seen := map[string]bool{}
	for _, c := range cuts {
		c.notes = notes
		_, point, _ := strings.Cut(c.where, "at ")
		seen[point] = true
	}
	for _, point := range boltqueue.Points() {
		for _, after := range []bool{false, true} {
			if storyOf(point) == "life" && !seen[fmt.Sprintf("%s %t", point, after)] {
				t.Errorf("no cut at %s", point)
			}
		}
	}
	return cuts
}

// cutUnderLoad cuts the power n times at random instants.
func (b *bench) cutUnderLoad(t testing.TB, noSync bool, n int) (cuts []*cut) {
	dir := fmt.Sprintf("load-%t", noSync)
	s := script{Dir: filepath.Join(b.inner, dir), Story: "wander", Name: "load", Seed: 1, SegmentBytes: 64 << 10, NoSync: noSync}
	first := make(chan struct{})
	heard := 0
	c := start(t, "", s, func(*child, note) {
		if heard++; heard == 20 {
			close(first)
		}
	})
	<-first
	if noSync { // or there would be no directory to lose events from
		command(t, "sync", "--file-system", b.inner)
	}
	dice := rand.New(rand.NewPCG(1, 5))
	for range n {
		time.Sleep(time.Duration(dice.IntN(60)) * time.Millisecond) // any instant is as good
		cuts = append(cuts, b.cut(t, "under load", dir))
	}
	must(t, c.cmd.Process.Kill())
	notes, _ := c.wait(t)
	for _, c := range cuts {
		c.notes = notes
	}
	return cuts
}

// audit mounts a copy, starts the queue in it and compares what it finds with
// what was acknowledged before the cut.
func (b *bench) audit(t testing.TB, c *cut) error {
	t.Helper()
	at := filepath.Join(t.TempDir(), "cut")
	must(t, os.Mkdir(at, 0o700))
	unmount := b.mount(t, c.image, at, false)
	defer os.Remove(c.image)
	defer unmount()
	return auditQueue(filepath.Join(at, c.queue), c.ledger())
}

func auditQueue(dir string, l *queuetest.Ledger) error {
	if _, err := os.Stat(dir); err != nil {
		if l.Check(context.Background(), queuetest.NewMemory(queuetest.Options{})) == nil {
			return nil // nothing was acknowledged yet
		}
		return err
	}
	report, err := boltqueue.Check(context.Background(), dir, nil)
	if err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		return fmt.Errorf("problems: %q", report.Problems)
	}
	q, err := boltqueue.OpenWith(boltqueue.Options{Dir: dir, MinFreeBytes: -1}, boltqueue.Knobs{SegmentBytes: 64 << 10, NoSync: true})
	if err != nil {
		return err
	}
	one := queue.Batch{Events: batch("after the cut", 1)}
	err = l.Check(context.Background(), q)
	return errors.Join(err, q.Append(context.Background(), one), q.Close())
}

// ledger is what was acknowledged before the cut. What was called or answered
// while it was made may or may not have happened.
func (c *cut) ledger() *queuetest.Ledger {
	calls := slices.DeleteFunc(slices.Clone(c.notes), func(n note) bool {
		return n.Op == opPaused || n.Op == opStruck || n.Op == opWrong
	})
	l := queuetest.NewLedger()
	for i, n := range calls {
		answer := n
		if !n.Answered && i+1 < len(calls) {
			answer = calls[i+1]
		}
		switch {
		case n.Answered && n.Op != opOpen, n.At > c.end:
			continue // entered with its call; made after the cut
		case answer.Answered && answer.At <= c.begin || answer.Op == opLease:
			n = answer
		}
		_ = n.enter(l) // that the process itself was right is checked elsewhere
	}
	l.Crashed()
	return l
}
