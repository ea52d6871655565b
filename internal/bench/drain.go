package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	drainWorkers = 16

	// unpaced is a rate that no machine reaches: what is measured is delivery,
	// not the limiter.
	unpaced = "10000000"

	// warmUp is the part of a drain that is not counted: connections are opened
	// and the clients beside it started meanwhile.
	warmUp = 0.1

	// sinkTimeout bounds the wait of a sink for the next event.
	sinkTimeout = 30 * time.Second

	// whileDraining is longer than any drain: clients of one end with it.
	whileDraining = time.Hour
)

// draining measures how fast the daemon delivers what is in its queue.
func draining(r *run) (figures, error) {
	if err := r.prepareQueue(r.queueDir(), 0, r.fill); err != nil {
		return nil, err
	}
	return r.drain(r.queueDir(), r.fill, nil)
}

// drainingUnder measures delivery while a client loads the daemon, and adds what
// the client saw.
func drainingUnder(c client) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		if err := r.prepareQueue(r.queueDir(), 0, r.fill); err != nil {
			return nil, err
		}
		return r.drain(r.queueDir(), r.fill, &c)
	}
}

// drainingInOrder measures delivery of events of so many persons, with that value
// of sender.order.
func drainingInOrder(order string, persons, count int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		if _, err := r.role("fill", r.queueDir(), "0", fmt.Sprint(count), fmt.Sprint(persons)); err != nil {
			return nil, err
		}
		return r.drain(r.queueDir(), count, nil, "TRACKD_SENDER_ORDER="+order)
	}
}

// drain starts a daemon on the queue in dir with further settings, and a client
// of it unless that is nil, and has a sink measure the delivery of count events.
func (r *run) drain(dir string, count int, c *client, settings ...string) (figures, error) {
	sink, url, err := r.startSink(count)
	if err != nil {
		return nil, err
	}
	daemon, err := r.serve(dir, url, settings...)
	if err != nil {
		return nil, err
	}
	var loading *server
	if c != nil {
		args := append([]string{"role", "client"}, c.args(daemon, whileDraining)...)
		if loading, err = r.start(connected, nil, r.self, args...); err != nil {
			return nil, err
		}
	}
	got, err := r.sinkFigures(sink, url)
	if err != nil {
		return nil, err
	}
	if err := r.stop(daemon); err != nil || loading == nil {
		return got, err
	}
	var seen figures
	err = json.NewDecoder(loading.out).Decode(&seen)
	return got.with(seen), errors.Join(err, r.reap(loading))
}

// drainFloor measures POSTs of what needs no queue.
func drainFloor(r *run) (figures, error) {
	sink, url, err := r.startSink(r.fill)
	if err != nil {
		return nil, err
	}
	post, err := r.start("ready", nil, r.self, "role", "post", url+"/track", fmt.Sprint(drainWorkers), fmt.Sprint(r.fill))
	if err != nil {
		return nil, err
	}
	got, err := r.sinkFigures(sink, url)
	if err != nil {
		return nil, err
	}
	return got, r.reap(post)
}

// sinkFigures lets the sink begin to answer, and returns what it has measured.
func (r *run) sinkFigures(sink *server, url string) (got figures, err error) {
	req, err := http.NewRequestWithContext(r.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	resp.Body.Close()
	if err := json.NewDecoder(sink.out).Decode(&got); err != nil {
		return nil, fmt.Errorf("read what the sink measured: %w", err)
	}
	return got, nil
}

// startSink starts a destination that accepts everything and measures the
// delivery of count events. It returns the base URL too.
func (r *run) startSink(count int) (s *server, url string, err error) {
	_, free, err := r.addresses(1)
	if err != nil {
		return nil, "", err
	}
	s, err = r.start("ready", nil, r.self, "role", "sink", free[0], fmt.Sprint(count))
	return s, "http://" + free[0] + "/v1", err
}

// playSink answers every POST with 200 {}, once a GET says that all is ready.
// After so many it prints how fast they came, the first ones aside.
//
//	sink ADDRESS COUNT
func playSink(_ context.Context, args []string) error {
	var address string
	var count int64
	if err := scan(args, &address, &count); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	first := int64(float64(count) * warmUp)
	times := make(chan time.Time, 2) // of the first counted and the last
	ready := make(chan struct{})
	begin := sync.OnceFunc(func() { close(ready) })
	var received atomic.Int64
	failed := make(chan error, 1)
	go func() {
		failed <- http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet {
				begin()
				return
			}
			<-ready
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("{}"))
			if n := received.Add(1); n == first || n == count {
				times <- time.Now()
			}
		}))
	}()
	fmt.Fprintln(os.Stderr, "ready")

	var from time.Time
	for last := int64(-1); ; {
		select {
		case at := <-times:
			if from.IsZero() {
				from = at
				continue
			}
			events := float64(count - first)
			if err := (figures{counted: events, delivered: events / at.Sub(from).Seconds()}).print(); err != nil {
				return err
			}
			return <-failed
		case err := <-failed:
			return err
		case <-time.After(sinkTimeout):
			if now := received.Load(); now == last {
				return fmt.Errorf("%d of %d events came, and none for %v", now, count, sinkTimeout)
			} else {
				last = now
			}
		}
	}
}

// playPost is workers that POST prepared bodies.
//
//	post URL WORKERS COUNT
func playPost(ctx context.Context, args []string) error {
	var url string
	var workers, count int
	if err := scan(args, &url, &workers, &count); err != nil {
		return err
	}
	bodies := newWorkload(1, 0, typical, appendBody)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	fmt.Fprintln(os.Stderr, "ready")
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			for n := next.Add(1); n <= int64(count); n = next.Add(1) {
				body, _ := bodies.pieces(uint64(n), 1)
				if err := postOne(ctx, client, url, body); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func postOne(ctx context.Context, client *http.Client, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("bench", "")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", resp.Status)
	}
	return err
}
