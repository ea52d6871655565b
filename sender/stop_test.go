package sender_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
	"trackd/sender"
)

func TestStoppingUnderLoadSettlesEverythingInTime(t *testing.T) {
	for name, c := range map[string]struct {
		reply  reply
		before func(*sender.Sender)
		within time.Duration
	}{
		"open":                   {reply: late(200*time.Millisecond, passes), within: time.Second},
		"open, answers are slow": {reply: late(8*time.Second, passes), within: 10 * time.Second},
		"open, nothing answers":  {reply: hangs, within: 10 * time.Second},
		"probing":                {reply: says(503, ""), within: time.Second},
		"probing, nothing is up": {reply: nil, within: time.Second},
		"denied":                 {reply: says(401, ""), within: time.Second},
		"throttled":              {reply: says(429, ""), within: time.Second},
		"paused":                 {reply: passes, before: func(s *sender.Sender) { s.Pause(time.Now(), "") }, within: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, s := newMemQueue(), newSite(t)
				s.set(c.reply)
				snd := start(t, q, s, nil)
				if c.before != nil {
					c.before(snd.Sender)
				}
				q.add(ids("e", 1000)...)
				time.Sleep(1500 * time.Millisecond)
				if took := snd.end(t); took > c.within {
					t.Errorf("stopping took %v", took)
				}
				delivered, queued, leased, dead := q.account()
				if delivered+queued != 1000 || leased != 0 || dead != 0 {
					t.Errorf("delivered %d, queued %d, leased %d, dead %d of 1000", delivered, queued, leased, dead)
				}
				s.wantTold(t, q)
			})
		})
	}
}

// wantTold fails if the site has taken an event whose delivery was not settled.
func (s *site) wantTold(t testing.TB, q *memQueue) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, h := range s.seen() {
		if h.status == 200 && q.delivered[h.id] != 1 {
			t.Errorf("%s was taken and settled %d times", h.id, q.delivered[h.id])
		}
	}
}

func TestShutdownTimeoutCutsOffWhatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		s.set(hangs)
		snd := start(t, q, s, func(o *sender.Options) { o.Timeout = time.Hour; o.ShutdownTimeout = 4 * time.Second })
		q.add(ids("e", 100)...)
		time.Sleep(time.Minute)
		if took := snd.end(t); took < 2*time.Second || took > 3500*time.Millisecond {
			t.Errorf("stopping took %v, want about three quarters of 4 s", took)
		}
		if _, queued, leased, _ := q.account(); queued != 100 || leased != 0 {
			t.Errorf("%d queued and %d leased, want 100 and 0", queued, leased)
		}
	})
}

// deaf is a queue whose Settle fails until it is mended.
type deaf struct {
	*memQueue
	mended atomic.Bool
	tries  atomic.Int64
}

func (q *deaf) Settle(ctx context.Context, outcomes ...queue.Outcome) error {
	if q.tries.Add(1); !q.mended.Load() {
		return errors.New("not now")
	}
	return q.memQueue.Settle(ctx, outcomes...)
}

func TestOutcomesTheQueueDoesNotTakeAreOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := &deaf{memQueue: newMemQueue()}, newSite(t)
		snd := start(t, q, s, nil)
		q.add(ids("e", 3000)...)
		time.Sleep(time.Minute)
		if n := len(s.seen()); n > 1200 {
			t.Errorf("%d events sent whose outcomes nobody took", n)
		}
		if n := q.tries.Load(); n > 40 {
			t.Errorf("%d attempts to settle in a minute", n)
		}
		q.mended.Store(true)
		time.Sleep(time.Minute)
		snd.end(t)
		wantAccount(t, q.memQueue, 3000, 0)
		s.wantTold(t, q.memQueue)
	})
}

func TestAQueueThatNeverSettlesDoesNotHoldUpTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := &deaf{memQueue: newMemQueue()}, newSite(t)
		snd := start(t, q, s, nil)
		q.add(ids("e", 100)...)
		time.Sleep(time.Minute)
		if took := snd.end(t); took > 20*time.Second {
			t.Errorf("stopping took %v, want at most 20 s", took)
		}
	})
}

func TestAClosedQueueEndsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		q.add(ids("e", 10)...)
		time.Sleep(time.Second)
		q.close()
		if err := <-snd.done; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("run returned %v, want ErrClosed", err)
		}
	})
}

func TestOldEventsExpireInsteadOfBeingSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		q.add(ids("old", 3)...)
		time.Sleep(2 * time.Hour)
		q.add(ids("new", 2)...)
		snd := start(t, q, s, func(o *sender.Options) { o.MaxAge = time.Hour })
		time.Sleep(time.Minute)
		if o, _ := q.letter("old0"); o.Reason != queue.Expired {
			t.Errorf("letter = %+v, want expired", o)
		}
		s.set(nil)
		q.add(ids("stuck", 20)...)
		time.Sleep(3 * time.Hour)
		snd.end(t)
		if delivered, _, leased, _ := q.account(); delivered != 2 || leased != 0 {
			t.Errorf("%d delivered and %d leased, want 2 and 0", delivered, leased)
		}
		if o, _ := q.letter("stuck0"); o.Reason != queue.Expired {
			t.Errorf("letter = %+v, want expired", o)
		}
	})
}

func TestALoneEventThatCannotBeSentExpiresToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		s.set(says(401, ""))
		snd := start(t, q, s, func(o *sender.Options) { o.MaxAge = time.Hour })
		q.add("lone")
		time.Sleep(time.Hour + 10*time.Minute)
		snd.end(t)
		if o, _ := q.letter("lone"); o.Reason != queue.Expired {
			t.Errorf("letter = %+v, want expired", o)
		}
	})
}
