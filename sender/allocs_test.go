//go:build !race

// The race detector allocates, too.

package sender_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"trackd/sender"
)

// nod is a transport that answers at once, with responses made beforehand.
type nod struct {
	next      atomic.Int64
	responses []*http.Response
}

func newNod(n int) *nod {
	d := &nod{responses: make([]*http.Response, n)}
	for i := range d.responses {
		d.responses[i] = &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader("{}"))}
	}
	return d
}

func (d *nod) RoundTrip(r *http.Request) (*http.Response, error) {
	return d.responses[d.next.Add(1)-1], r.Body.Close()
}

// A delivery costs its request: a copy, two readers of the body, and a context
// that ends in time. All else is of a lease, or of a batch of outcomes.
func TestADeliveryCostsFewAllocations(t *testing.T) {
	const n, runs = 5_000, 5
	transport := newNod(n * (runs + 1))
	got := testing.AllocsPerRun(runs, func() {
		q := &spring{left: n, done: make(chan struct{})}
		s, err := sender.New(sender.Options{
			Settings: sender.Settings{Key: "k", Rate: 1e9, Burst: 1e6}, URL: "http://nod.test/v1", Queue: q, Transport: transport,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- s.Run(ctx) }()
		<-q.done
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}) / n
	if came := transport.next.Load(); came != n*(runs+1) {
		t.Errorf("%d requests, want %d", came, n*(runs+1))
	}
	t.Logf("%.2f allocations per delivery", got)
	if got > 10 {
		t.Errorf("%.2f allocations per delivery, want at most 10", got)
	}
}
