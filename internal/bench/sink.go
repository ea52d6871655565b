package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// playSink answers every POST with 200 {}.
//
//	sink ADDRESS
func playSink(_ context.Context, args []string) error {
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "ready")
	return http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{}"))
	}))
}

// withSink measures against a sink, given the base URL that leads to it.
func (t *turn) withSink(do func(url string) (figures, error)) (figures, error) {
	addresses, err := freeAddresses(1)
	if err != nil {
		return nil, err
	}
	s, err := t.start("ready", nil, t.self, "role", "sink", addresses[0])
	if err != nil {
		return nil, err
	}
	got, err := do("http://" + addresses[0] + "/v1")
	if err != nil {
		return nil, err
	}
	return got, t.stop(s)
}

// playPost is the floor of the drain: workers that POST prepared bodies.
//
//	post URL WORKERS COUNT
func playPost(ctx context.Context, args []string) error {
	var url string
	var workers, count int
	if err := scan(args, &url, &workers, &count); err != nil {
		return err
	}
	bodies := newTape(1, func(dst []byte, n int) []byte { return sample(dst, typical, 0, n) })
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	var next atomic.Int64
	got, err := delivering(count, nil, func() error {
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
	})
	if err != nil {
		return err
	}
	return got.print()
}

// delivering measures what it takes this process to deliver count events.
// commits counts those of a queue, if there is one.
func delivering(count int, commits *atomic.Uint64, deliver func() error) (figures, error) {
	before, err := usageOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := deliver(); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := usageOf(os.Getpid())
	if commits != nil {
		after.commits = float64(commits.Load())
	}
	got := figures{counted: float64(count), delivered: float64(count) / took.Seconds()}
	return got.with(after.perEvent(before, float64(count))), err
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
