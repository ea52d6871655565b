package sender_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
	"trackd/sender"
)

// desk is a transport where every request waits until a test answers it. It
// lives in the bubble of a synctest.
type desk struct {
	mu      sync.Mutex
	waiting []visit
	came    int
}

// visit is one request at a desk.
type visit struct {
	id     string
	answer chan *http.Response // capacity 1
}

// RoundTrip implements http.RoundTripper.
func (d *desk) RoundTrip(r *http.Request) (*http.Response, error) {
	var body struct{ MessageID string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		panic(err)
	}
	r.Body.Close()
	v := visit{body.MessageID, make(chan *http.Response, 1)}
	d.mu.Lock()
	d.came++
	d.waiting = append(d.waiting, v)
	d.mu.Unlock()
	select {
	case resp := <-v.answer:
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// answer answers the n requests that have waited longest, lets the sender do
// what follows at this very moment, and returns whose they were.
func (d *desk) answer(t testing.TB, n, status int, body string, header ...string) (ids []string) {
	t.Helper()
	d.mu.Lock()
	if len(d.waiting) < n {
		t.Fatalf("%d requests wait, want at least %d", len(d.waiting), n)
	}
	served := d.waiting[:n]
	d.waiting = d.waiting[n:]
	d.mu.Unlock()
	for _, v := range served {
		resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
		for i := 0; i < len(header); i += 2 {
			resp.Header.Set(header[i], header[i+1])
		}
		v.answer <- resp
		ids = append(ids, v.id)
	}
	synctest.Wait()
	return ids
}

// counts returns how many requests wait and how many have come.
func (d *desk) counts() (waiting, came int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting), d.came
}

// wantAtDesk fails unless so many requests wait, of so many that came.
func wantAtDesk(t testing.TB, d *desk, waiting, came int) {
	t.Helper()
	if gotWaiting, gotCame := d.counts(); gotWaiting != waiting || gotCame != came {
		t.Errorf("%d requests wait of %d that came, want %d of %d", gotWaiting, gotCame, waiting, came)
	}
}

// clerk is a queue that notes when it is told what.
type clerk struct {
	*memQueue
	settled []settling // guarded by mu of memQueue
}

// settling is one call of Settle.
type settling struct {
	at       time.Time
	outcomes []queue.Outcome
}

func (q *clerk) Settle(ctx context.Context, outcomes ...queue.Outcome) error {
	q.mu.Lock()
	q.settled = append(q.settled, settling{time.Now(), outcomes})
	q.mu.Unlock()
	return q.memQueue.Settle(ctx, outcomes...)
}

// calls returns the calls of Settle.
func (q *clerk) calls() []settling {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.settled)
}

// onLoan returns the ids of the events that are leased.
func (q *clerk) onLoan() map[queue.Address]string {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := map[queue.Address]string{}
	for at, d := range q.leased {
		all[at] = d.Event.ID
	}
	return all
}

// verbs counts outcomes by what they do.
func (q *clerk) verbs() map[queue.Verb]int {
	n := map[queue.Verb]int{}
	for _, c := range q.calls() {
		for _, o := range c.outcomes {
			n[o.Verb]++
		}
	}
	return n
}

// atDesk runs a sender with so many workers from a fresh queue to a fresh desk,
// in virtual time.
func atDesk(t *testing.T, workers int, f func(t *testing.T, q *clerk, d *desk, snd *running), tune ...func(*sender.Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q, d := &clerk{memQueue: newMemQueue()}, &desk{}
		o := sender.Options{
			Settings: sender.Settings{Key: "key", Rate: 1e6, Burst: 1000}, URL: "http://desk.test/v1",
			Workers: workers, Timeout: time.Hour, Queue: q, Transport: d,
		}
		for _, change := range tune {
			change(&o)
		}
		snd := begin(t, o)
		synctest.Wait()
		f(t, q, d, snd)
	})
}
