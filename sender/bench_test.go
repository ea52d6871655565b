package sender_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/sender"
)

const benchWorkers = 16

var benchBody = fmt.Appendf(nil, `{"type":"track","event":"Application Opened","userId":"u1","properties":{"pad":%q}}`, bytes.Repeat([]byte("x"), 340))

// BenchmarkDrain measures the sender against the bare loop it is made of, over
// loopback, with the same workers.
func BenchmarkDrain(b *testing.B) {
	b.Run("bare POST loop", func(b *testing.B) {
		url := loopback(b)
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: benchWorkers}}
		defer client.CloseIdleConnections()
		var left atomic.Int64
		left.Store(int64(b.N))
		b.ResetTimer()
		var wg sync.WaitGroup
		for range benchWorkers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					resp, err := client.Post(url+"/track", "application/json", bytes.NewReader(benchBody))
					if err != nil {
						b.Error(err)
						return
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
		wg.Wait()
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	})
	for _, c := range []struct {
		name    string
		persons uint64
		order   sender.Order
	}{
		{"sender without order", 10_000, sender.OrderNone},
		{"sender in order of 10,000 persons", 10_000, sender.OrderPerson},
		{"sender in order of 100 persons", 100, sender.OrderPerson},
		{"sender in order of 10 persons", 10, sender.OrderPerson},
		{"sender in order of one person", 1, sender.OrderPerson},
	} {
		b.Run(c.name, func(b *testing.B) {
			q := &spring{left: b.N, persons: c.persons, done: make(chan struct{})}
			s, err := sender.New(sender.Options{
				Settings: sender.Settings{Key: "k", Rate: 1e6, Burst: 1000}, URL: loopback(b), Workers: benchWorkers, Queue: q, Order: c.order,
			})
			if err != nil {
				b.Fatal(err)
			}
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error)
			b.ResetTimer()
			go func() { ended <- s.Run(ctx) }()
			<-q.done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
			stop()
			if err := <-ended; err != nil {
				b.Error(err)
			}
		})
	}
}

// loopback is a destination that takes everything.
func loopback(b *testing.B) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "{}")
	})}
	go s.Serve(l)
	b.Cleanup(func() { s.Close() })
	return "http://" + l.Addr().String()
}

// spring is a queue from which events flow until all are settled.
type spring struct {
	mu      sync.Mutex
	left    int
	seq     uint64
	settled int
	persons uint64 // that take turns; 0: events are nobody's
	done    chan struct{}
}

func (q *spring) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(max, q.left)
	q.left -= n
	if n == 0 {
		q.mu.Unlock()
		<-ctx.Done()
		q.mu.Lock()
		return nil, ctx.Err()
	}
	ds := make([]queue.Delivery, n)
	for i := range ds {
		q.seq++
		ds[i] = queue.Delivery{Address: queue.Address{Lo: q.seq}, Event: event.Event{Body: benchBody}}
		if q.persons > 0 {
			ds[i].Event.Persons[0] = 1 + q.seq%q.persons
		}
	}
	q.settled -= n
	return ds, nil
}

func (q *spring) Settle(_ context.Context, outcomes ...queue.Outcome) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settled += len(outcomes)
	if q.settled == 0 && q.left == 0 {
		close(q.done)
	}
	return nil
}
