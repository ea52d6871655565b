package boltqueue_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"trackd/queue"
	"trackd/queue/boltqueue"
)

// throng is callers that each append one batch a round. One of them finds the
// disk idle, and the others come while it works for that one: not because they
// are quick, but because the commit is held until all of them wait. It lives in
// the bubble of a synctest.
type throng struct {
	callers int
	work    chan queue.Batch
	done    chan error

	hold    bool          // the next commit; set while nobody is at work
	busy    chan struct{} // that commit is begun
	proceed chan struct{}
}

func newThrong(callers int) *throng {
	return &throng{
		callers: callers, work: make(chan queue.Batch), done: make(chan error, callers),
		busy: make(chan struct{}), proceed: make(chan struct{}),
	}
}

// fault is the point where commits are held.
func (c *throng) fault(point string, after bool) error {
	if point == "append.commit" && !after && c.hold {
		c.hold = false
		c.busy <- struct{}{}
		<-c.proceed
	}
	return nil
}

// serve starts the callers, which append to q. The function it returns sends
// them home.
func (c *throng) serve(t testing.TB, q *boltqueue.Queue) (leave func()) {
	var all sync.WaitGroup
	for range c.callers {
		all.Go(func() {
			for b := range c.work {
				c.done <- q.Append(t.Context(), b)
			}
		})
	}
	return func() {
		close(c.work)
		all.Wait()
	}
}

// round has every caller append b, all but the first while a commit is on.
func (c *throng) round(t testing.TB, b queue.Batch) {
	c.hold = true
	c.work <- b
	<-c.busy
	for range c.callers - 1 {
		c.work <- b
	}
	synctest.Wait() // all of them wait for the disk
	c.proceed <- struct{}{}
	for range c.callers {
		if err := <-c.done; err != nil {
			t.Errorf("append: %v", err)
		}
	}
}

// TestAllWhoWaitForTheDiskShareItsNextCommit: 64 callers cost two commits, one
// of the first and one of the 63 that came meanwhile, and so four syncs, that
// is 1/16 a piece. That a commit is synced twice is counted under strace, by
// TestEveryYesWaitsForTheDisk of cmd/trackd.
func TestAllWhoWaitForTheDiskShareItsNextCommit(t *testing.T) {
	const rounds = 3
	synctest.Test(t, func(t *testing.T) {
		c := newThrong(64)
		var sizes []int // owned by the writer until the queue is closed
		q := open(t, boltqueue.Options{Dir: t.TempDir(), OnCommit: func(commit boltqueue.Commit) {
			sizes = append(sizes, commit.Events)
		}}, boltqueue.Knobs{Fault: c.fault})
		leave := c.serve(t, q)
		var want []int
		for range rounds {
			c.round(t, queue.Batch{Events: batch("e", 1)})
			want = append(want, 1, 63)
		}
		leave()
		must(t, q.Close())
		if !slices.Equal(sizes, want) {
			t.Errorf("events by commit %v, want %v", sizes, want)
		}
	})
}
