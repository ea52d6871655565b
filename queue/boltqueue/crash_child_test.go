package boltqueue_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"trackd/queue/boltqueue"
)

// childEnv, when set, makes the test binary a process that uses a queue until
// a fault or its parent kills it. It holds a script.
const childEnv = "TRACKD_CRASH_CHILD"

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(childMain(text))
	}
	os.Exit(m.Run())
}

// script tells a child what to do.
type script struct {
	Dir          string
	Story        string // which of stories
	Seed         uint64
	Name         string // begins every messageId
	SegmentBytes int64
	NoSync       bool
	Strike       strike
	Pause        int // stop at each fault point this often, until told to go on
}

// strike is one fault.
type strike struct {
	Point string // none if empty
	After bool   // else before
	Nth   int    // which time it is passed, from 1
	Kill  bool   // else fail with Errno
	Errno unix.Errno
}

func (s strike) String() string {
	what, when := "fails with "+s.Errno.Error(), "before"
	if s.Kill {
		what = "is killed"
	}
	if s.After {
		when = "after"
	}
	return fmt.Sprintf("%s %s %s, time %d", what, when, s.Point, s.Nth)
}

// childMain does what the script says. Notes go to file 3, permission to go on
// comes from file 4.
func childMain(text string) int {
	var s script
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	tell := teller(os.NewFile(3, "notes"))
	hand := &striker{script: s, tell: tell, goOn: os.NewFile(4, "go on"), passed: map[string]int{}}
	knobs := boltqueue.Knobs{SegmentBytes: s.SegmentBytes, NoSync: s.NoSync, Fault: hand.fault}
	d := newDriver(s.Dir, s.Name, s.Seed, knobs, tell)
	if hookBolt != nil {
		hookBolt(d.knobs.Fault)
	}
	if err := stories()[s.Story](d, hand); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// striker fires the script's fault, in the process it befalls.
type striker struct {
	script
	tell func(note)
	goOn io.Reader

	mu     sync.Mutex // guards passed
	passed map[string]int
}

func (h *striker) fault(point string, after bool) error {
	key := fmt.Sprintf("%s %t", point, after)
	h.mu.Lock()
	h.passed[key]++
	n := h.passed[key]
	h.mu.Unlock()
	if n <= h.Pause {
		h.tell(note{Op: opPaused, Answered: true, Err: key})
		_, _ = io.ReadFull(h.goOn, make([]byte, 1)) // or the parent is gone
	}
	if s := h.Strike; point != s.Point || after != s.After || n != s.Nth {
		return nil
	}
	h.tell(note{Op: opStruck, Answered: true, Err: h.Strike.String()})
	if h.Strike.Kill {
		die()
	}
	return h.Strike.Errno
}

// die ends the process as a power switch would end it, but for the machine.
func die() {
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}

// stories are what a child may do.
func stories() map[string]func(*driver, *striker) error {
	return map[string]func(*driver, *striker) error{
		"life":    func(d *driver, _ *striker) error { return life(d) },
		"salvage": func(d *driver, _ *striker) error { return salvage(d) },
		"failure": func(d *driver, _ *striker) error { return failure(d) },
		"wander":  func(d *driver, _ *striker) error { return wanderOn(d) },
	}
}

// life passes through all that a queue does when nothing is wrong, so that a
// fault can strike anywhere in it.
func life(d *driver) error {
	if err := d.open(); err != nil {
		return err
	}
	for i := range 16 { // three segments
		d.append(8, 500, i%4)
	}
	for i := range 8 {
		d.lease(16)
		if i%4 == 0 {
			d.settle(3, d.bury)
			d.settle(1, hold)
		}
		d.settle(16, deliver) // what little is left is made small
		d.flush()
	}
	d.replay(4)
	d.replace(2)
	d.discard(4)
	d.replay(3)
	d.append(4, 500, 2)
	if err := d.again(); err != nil {
		return err
	}
	for i := range 8 {
		d.append(8, 500, i%2)
		d.lease(20)
		d.settle(20, d.any)
	}
	d.flush()
	d.discard(1000)
	for range 20 { // whole segments are empty now
		d.lease(50)
		d.settle(50, deliver)
	}
	d.flush()
	d.append(8, 500, 0)
	d.close()
	return nil
}

// again closes the queue and opens it.
func (d *driver) again() error {
	d.close()
	return d.open()
}

// salvage lets a file rot between two lives of a queue, where nothing in it
// was settled yet: one meta page of its oldest segment.
func salvage(d *driver) error {
	if err := d.open(); err != nil {
		return err
	}
	for range 12 {
		d.append(8, 500, 1)
	}
	d.close()
	paths, _ := filepath.Glob(filepath.Join(d.dir, "*.seg")) // the pattern is right
	if len(paths) < 3 {
		return fmt.Errorf("%d segments, want three", len(paths))
	}
	slices.Sort(paths)
	f, err := os.OpenFile(paths[0], os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, 64), 16)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	for range 20 {
		d.lease(10)
		d.settle(10, d.any)
	}
	d.flush()
	d.close()
	return nil
}

// failure meets a failing disk in the middle of its life, so that what follows
// such a failure can fail as well: the third append is not stored, and the name
// of the second segment does not become durable.
func failure(d *driver) error {
	var mu sync.Mutex // guards passed
	strike, passed := d.knobs.Fault, map[string]int{}
	d.knobs.Fault = func(point string, after bool) error {
		mu.Lock()
		passed[point]++
		n := passed[point] // counts before and after
		mu.Unlock()
		if point == "append.commit" && n == 5 || point == "create.syncdir" && n == 4 {
			d.sick.Store(true)
			return unix.EIO
		}
		return strike(point, after)
	}
	if err := d.open(); err != nil {
		return err
	}
	for range 5 {
		d.append(4, 100, 1)
		d.lease(2)
		d.settle(2, deliver)
	}
	if err := d.again(); err != nil {
		return err
	}
	d.append(4, 100, 1)
	d.close()
	return nil
}

// wanderOn makes random calls until somebody ends it.
func wanderOn(d *driver) error {
	for {
		if err := d.open(); err != nil {
			return err
		}
		for range 200 {
			d.wander()
		}
		d.close()
	}
}

// child is a process that uses a queue.
type child struct {
	cmd  *exec.Cmd
	goOn *os.File // one byte ends one pause

	mu    sync.Mutex // guards notes
	notes []note
	over  chan struct{} // closed when the last note was heard
}

// start starts this test binary, or the one at path, as a child. hear, if not
// nil, is told of every note as it comes.
func start(t testing.TB, path string, s script, hear func(*child, note), env ...string) *child {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	notes, theirNotes := pipe(t)
	theirGoOn, goOn := pipe(t)
	c := &child{goOn: goOn, over: make(chan struct{}), cmd: exec.Command(cmp.Or(path, os.Args[0]))}
	c.cmd.Env = append(append(os.Environ(), childEnv+"="+string(text)), env...)
	c.cmd.ExtraFiles = []*os.File{theirNotes, theirGoOn}
	c.cmd.Stderr = os.Stderr
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirNotes.Close()
	theirGoOn.Close()
	go func() {
		defer close(c.over)
		listen(notes, func(n note) {
			c.mu.Lock()
			c.notes = append(c.notes, n)
			c.mu.Unlock()
			if hear != nil {
				hear(c, n)
			}
		})
	}()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended by itself
		notes.Close()
		goOn.Close()
	})
	return c
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// wait waits for the end of the child and returns what it told, and whether it
// was killed.
func (c *child) wait(t testing.TB) (notes []note, killed bool) {
	t.Helper()
	select {
	case <-c.over:
	case <-time.After(6 * patience):
		_ = c.cmd.Process.Kill()
		<-c.over
		t.Errorf("the child hangs")
	}
	_ = c.cmd.Wait() // how it ended is asked below
	status := c.cmd.ProcessState.Sys().(interface{ Signaled() bool })
	if killed = status.Signaled(); !killed && c.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("the child ended with %v", c.cmd.ProcessState)
	}
	return c.notes, killed
}
