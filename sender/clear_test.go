package sender_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/queuetest"
	"trackd/sender"
)

// counting answers every request with 200 and counts them.
type counting struct{ requests atomic.Int64 }

func (c *counting) RoundTrip(*http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(`{"success":true}`))}, nil
}

func TestWhatIsLeasedIsReturnedUnsentWhileAnotherMayDeliver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		upstream, q := &counting{}, queuetest.NewMemory(queuetest.Options{})
		s, err := sender.New(sender.Options{
			Settings: sender.Settings{Key: "key"}, URL: "http://127.0.0.1:1/v1", Transport: upstream, Queue: q,
			Clear: func() bool { return asked.Add(1) > 3 },
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Append(t.Context(), queue.Batch{Events: []event.Event{{ID: "a", Name: "A", Body: []byte(`{}`)}}}); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(time.Minute)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		stats, err := q.Stats(t.Context())
		if err != nil || stats.Delivered != 1 || upstream.requests.Load() != 1 || asked.Load() != 4 {
			t.Errorf("got %+v, %v after %d requests and %d questions, want it sent once, at the fourth", stats.Account, err, upstream.requests.Load(), asked.Load())
		}
	})
}
