package boltqueue_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trackd/queue"
	"trackd/queue/boltqueue"
)

const (
	smallDisk       = 48 << 20 // of the filesystems under test; XFS makes none below 300 MiB
	smallestXFS     = 320 << 20
	fullSegment     = 512 << 10
	resumePatience  = 30 * time.Second
	eventsPerAppend = 32
)

// smallDisks lists filesystems that can be made small, and how to mount one at
// a directory.
func smallDisks() map[string]func(t testing.TB, at string) {
	image := func(kind string, size int64) func(testing.TB, string) {
		return func(t testing.TB, at string) {
			if kind == "xfs" && !everything() {
				t.Skip("fills 320 MiB up: make crash, or set TRACKD_CRASH=all")
			}
			if _, err := exec.LookPath("mkfs." + kind); err != nil {
				t.Skip("fills a disk up: ", err)
			}
			path := filepath.Join(t.TempDir(), kind)
			must(t, os.WriteFile(path, nil, 0o600))
			must(t, os.Truncate(path, size))
			command(t, "mkfs."+kind, "-q", path)
			mountSmall(t, at, "-o", "loop", path)
		}
	}
	return map[string]func(testing.TB, string){
		"tmpfs": func(t testing.TB, at string) {
			mountSmall(t, at, "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", smallDisk), "tmpfs")
		},
		"ext4": image("ext4", smallDisk),
		"xfs":  image("xfs", smallestXFS),
	}
}

// mountSmall mounts what args say at a directory until the test ends.
func mountSmall(t testing.TB, at string, args ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("fills a disk up: only root may mount a small one")
	}
	if out, err := exec.Command("mount", append(args, at)...).CombinedOutput(); err != nil {
		t.Skipf("fills a disk up, and none can be mounted here: %v: %s", err, out)
	}
	t.Cleanup(func() { command(t, "umount", at) })
}

// filler is a file that takes all the room others left.
type filler struct{ path string }

// fill writes until not a byte more fits.
func (f filler) fill(t testing.TB) {
	t.Helper()
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(t, err)
	defer file.Close()
	for step := 1 << 20; step > 0; {
		if _, err := file.Write(make([]byte, step)); err != nil {
			step /= 2
		}
	}
	if err := file.Sync(); err != nil && !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func (f filler) free(t testing.TB) {
	t.Helper()
	must(t, os.Remove(f.path))
}

// crowd is a queue on a disk of little room, and what it acknowledged.
type crowd struct {
	*boltqueue.Queue
	dir   string
	most  int64
	large bool // segments and events are, so that files are longer than they are made
	dice  *rand.Rand
	next  int
	taken map[string]bool // acknowledged and not delivered or buried yet
	twice map[string]int  // deliveries
}

func newCrowd(t testing.TB, dir string, most int64) *crowd {
	return openCrowd(t, crowd{dir: dir, most: most})
}

func openCrowd(t testing.TB, with crowd) *crowd {
	c := &crowd{dir: with.dir, most: with.most, large: with.large, dice: rand.New(rand.NewPCG(5, 5)), taken: map[string]bool{}, twice: map[string]int{}}
	c.open(t)
	return c
}

func (c *crowd) open(t testing.TB) {
	t.Helper()
	knobs := boltqueue.Knobs{SegmentBytes: fullSegment, NoSync: true}
	if c.large {
		knobs.SegmentBytes = 8 * fullSegment
	}
	q, err := boltqueue.OpenWith(boltqueue.Options{Dir: c.dir, MaxBytes: c.most, MinFreeBytes: -1}, knobs)
	must(t, err)
	c.Queue = q
	t.Cleanup(func() { q.Close() })
}

// append takes one batch, or returns why not.
func (c *crowd) append(t testing.TB) error {
	var batch queue.Batch
	noise := 150
	if c.large {
		noise = 1_500
	}
	for range eventsPerAppend {
		batch.Events = append(batch.Events, padded(c.dice, fmt.Sprintf("ev-%06d", c.next), noise))
		c.next++
	}
	err := c.Append(t.Context(), batch)
	for _, ev := range batch.Events {
		if err == nil {
			c.taken[ev.ID] = true
		}
	}
	return err
}

// appendUntilFull takes what there is room for. Anything but success and
// ErrFull is an error.
func (c *crowd) appendUntilFull(t testing.TB) (batches int) {
	t.Helper()
	for {
		err := c.append(t)
		if errors.Is(err, queue.ErrFull) {
			return batches
		}
		must(t, err)
		batches++
	}
}

// appendAgain waits until the queue takes events by itself.
func (c *crowd) appendAgain(t testing.TB) {
	t.Helper()
	waitFor(t, "the queue takes events again", func() bool {
		err := c.append(t)
		if err != nil && !errors.Is(err, queue.ErrFull) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// drain delivers all there is, burying some, and checks that it is all that
// was acknowledged.
func (c *crowd) drain(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*resumePatience)
	defer cancel()
	for mustStats(t, c.Queue).Queued > 0 {
		got, err := c.Lease(ctx, 100)
		must(t, err)
		for _, d := range got {
			o := queue.Outcome{Address: d.Address, Verb: queue.Delivered}
			if d.Event.ID[len(d.Event.ID)-2:] == "77" {
				o = queue.Outcome{Address: d.Address, Verb: queue.Bury, Reason: queue.Rejected, Status: 400, Detail: "no"}
			}
			must(t, c.Settle(ctx, o))
			if c.twice[d.Event.ID]++; c.twice[d.Event.ID] > 1 {
				t.Errorf("%s was delivered twice", d.Event.ID)
			}
			delete(c.taken, d.Event.ID)
		}
	}
	if len(c.taken) > 0 {
		t.Errorf("%d acknowledged events were never delivered", len(c.taken))
	}
}

// discard throws the letters away, which needs no room either.
func (c *crowd) discard(t testing.TB) {
	t.Helper()
	n, err := c.Discard(t.Context(), queue.Filter{})
	must(t, err)
	if n == 0 {
		t.Error("there was no letter to discard")
	}
}

// onlyLine waits until the directory holds the tail and at most a spare.
func (c *crowd) onlyLine(t testing.TB) {
	t.Helper()
	waitFor(t, "nothing is queued, and all segments but two go", func() bool {
		return len(files(t, c.dir, "*.seg")) <= 2
	})
}

func TestAFullQueueRefusesDrainsAndResumes(t *testing.T) {
	c := newCrowd(t, t.TempDir(), 16*fullSegment)
	for range 2 {
		if c.appendUntilFull(t) == 0 {
			t.Fatal("the queue took nothing")
		}
		if stats := mustStats(t, c.Queue); stats.Full == "" || stats.Bytes > c.most {
			t.Errorf("got full %q with %d bytes of %d", stats.Full, stats.Bytes, c.most)
		}
		c.drain(t)
		c.discard(t)
		c.appendAgain(t)
		c.drain(t)
		c.onlyLine(t)
	}
	if stats := mustStats(t, c.Queue); stats.Full != "" {
		t.Errorf("drained, and still full: %s", stats.Full)
	}
}

func TestADiskFilledToTheLastByteHoldsUpNobodyButTheDoor(t *testing.T) {
	for name, mount := range smallDisks() {
		t.Run(name, func(t *testing.T) {
			at := t.TempDir()
			mount(t, at)
			other := filler{filepath.Join(at, "filler")}
			c := newCrowd(t, filepath.Join(at, "queue"), 1<<30)
			for range 100 {
				must(t, c.append(t))
			}
			other.fill(t)
			c.appendUntilFull(t) // what is reserved may still be used
			c.drain(t)
			c.discard(t)
			c.onlyLine(t)
			other.free(t)
			c.appendAgain(t)

			for range 100 {
				must(t, c.append(t))
			}
			must(t, c.Close())
			other.fill(t)
			c.open(t) // starting on a full disk works, and drains
			c.appendUntilFull(t)
			c.drain(t)
			c.discard(t)
			other.free(t)
			c.appendAgain(t)
			c.drain(t)
			if stats := mustStats(t, c.Queue); stats.Damaged != nil || len(stats.Alarms) > 0 {
				t.Errorf("the disk has room again, and there is %q, %q", stats.Damaged, stats.Alarms)
			}
		})
	}
}

// TestAFailedWriteForLackOfRoomIsFull injects what a filesystem without
// reservations does: any commit may find no room.
func TestAFailedWriteForLackOfRoomIsFull(t *testing.T) {
	full := make(chan struct{}, 1) // holds a token while the disk is full
	q, err := boltqueue.OpenWith(boltqueue.Options{Dir: t.TempDir(), MinFreeBytes: -1}, boltqueue.Knobs{NoSync: true,
		Fault: func(point string, after bool) error {
			if len(full) > 0 && !after && (point == "append.commit" || point == "marks.commit") {
				return &os.PathError{Op: "write", Path: point, Err: unix.ENOSPC}
			}
			return nil
		}})
	must(t, err)
	t.Cleanup(func() { q.Close() })
	c := &crowd{Queue: q, dice: rand.New(rand.NewPCG(5, 5)), taken: map[string]bool{}, twice: map[string]int{}}
	must(t, c.append(t))
	full <- struct{}{}
	if err := c.append(t); !errors.Is(err, queue.ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
	held, err := q.Lease(t.Context(), eventsPerAppend)
	must(t, err)
	for _, d := range held[1:] {
		must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
		delete(c.taken, d.Event.ID)
	}
	waitFor(t, "the outcomes are held", func() bool { return mustStats(t, q).Held > 0 })
	if alarms := mustStats(t, q).Alarms; len(alarms) == 0 {
		t.Error("outcomes are held, and no alarm")
	}
	must(t, q.Settle(t.Context(), queue.Outcome{Address: held[0].Address, Verb: queue.Return}))
	<-full
	c.appendAgain(t)
	c.drain(t)
	waitFor(t, "the alarm ends", func() bool { return len(mustStats(t, q).Alarms) == 0 })
}

// What is reserved at birth is given back at the seal, but for the marks.
func TestASegmentReservesAtBirthAndReleasesAtItsSeal(t *testing.T) {
	dir := t.TempDir()
	c := newCrowd(t, dir, 1<<30)
	first := filepath.Join(dir, "00000001.seg")
	if !reserves(t) {
		t.Skip("looks at what is reserved: this filesystem cannot reserve")
	}
	if got, want := blocks(t, first), int64(fullSegment+fullSegment/4); got < want {
		t.Errorf("got %d bytes behind a new segment, want at least %d", got, want)
	}
	must(t, c.append(t))
	for mustStats(t, c.Queue).Alarms == nil && len(files(t, dir, "*.seg")) < 4 {
		must(t, c.append(t))
	}
	if got, most := blocks(t, first), int64(fullSegment+3*fullSegment/4); got > most {
		t.Errorf("got %d bytes behind a sealed segment, want at most %d", got, most)
	}
	used, err := os.ReadFile(first)
	must(t, err)
	bytes, err := boltqueue.UsedBytes(used)
	must(t, err)
	if got, least := blocks(t, first), bytes+fullSegment/8; got < least {
		t.Errorf("got %d bytes behind a sealed segment of %d, want %d and more: marks need room", got, bytes, least)
	}
}

// reserves reports whether the filesystem of temporary files can reserve disk.
func reserves(t testing.TB) bool {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "probe"))
	must(t, err)
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, 1<<20) == nil
}

// blocks is what a file takes of the disk.
func blocks(t testing.TB, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	return st.Blocks * 512
}

// Nothing happens in a queue that is full and empty: the keeper has to look by
// itself whether others made room.
func TestADoorShutWhileNothingMovesOpensByItself(t *testing.T) {
	at := t.TempDir()
	smallDisks()["tmpfs"](t, at)
	other := filler{filepath.Join(at, "filler")}
	c := newCrowd(t, filepath.Join(at, "queue"), 1<<30)
	waitFor(t, "there is no spare", func() bool { return len(files(t, c.dir, "*.seg")) == 2 })
	other.fill(t)
	if c.appendUntilFull(t) == 0 {
		t.Error("what is reserved was not used")
	}
	other.free(t)
	c.appendAgain(t)
}
