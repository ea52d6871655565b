package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"trackd/event"
	"trackd/internal/tuning"
	"trackd/queue"
	"trackd/sender"
)

// playStage measures one stage.
//
//	stage NAME TIME COUNT DIR URL
func playStage(_ context.Context, args []string) error {
	tuning.Apply()
	var name string
	var length time.Duration
	var count int
	var at stageSite
	if err := scan(args, &name, &length, &count, &at.dir, &at.url); err != nil {
		return err
	}
	stages := allStages()
	i := slices.IndexFunc(stages, func(s stage) bool { return s.name == name })
	if i < 0 {
		return fmt.Errorf("no stage %q", name)
	}
	benchtime := length.String()
	if stages[i].fixed {
		benchtime = fmt.Sprintf("%dx", count)
	}
	testing.Init() // makes the flags that Benchmark looks at
	if err := flag.Set("test.benchtime", benchtime); err != nil {
		return err
	}
	var failed error
	got := testing.Benchmark(func(b *testing.B) {
		if err := stages[i].run(b, at); err != nil {
			failed = err
			b.FailNow()
		}
	})
	if failed != nil {
		return failed
	}
	return figures{counted: float64(got.N), ns: float64(got.T.Nanoseconds()) / float64(got.N), cpuNs: got.Extra[cpuNs],
		heap: float64(got.MemBytes) / float64(got.N), allocs: float64(got.MemAllocs) / float64(got.N)}.print()
}

// timing starts the clock of b, and that of the processor beside it. The
// function it returns stops both.
func timing(b *testing.B) (stop func() error) {
	b.ResetTimer()
	before, errBefore := cpuOf(os.Getpid())
	return func() error {
		b.StopTimer()
		after, errAfter := cpuOf(os.Getpid())
		b.ReportMetric(float64((after-before).Nanoseconds())/float64(b.N), cpuNs)
		return errors.Join(errBefore, errAfter)
	}
}

func benchParse(b *testing.B, _ stageSite) error {
	bodies, now := bodyTape(), time.Now()
	stop := timing(b)
	for n := range uint64(b.N) {
		body, _ := bodies.pieces(n, 1)
		if _, err := (event.Parser{}).Parse(body, now); err != nil {
			return err
		}
	}
	return stop()
}

func bodyTape() tape {
	return newTape(1, func(dst []byte, n int) []byte { return sample(dst, typical, 0, n) })
}

// benchAppend has 64 callers append one event each, and again.
func benchAppend(b *testing.B, at stageSite) error {
	const callers = 64
	q, err := openQueue(filepath.Join(at.dir, fmt.Sprint(b.N)), nil)
	if err != nil {
		return err
	}
	events, err := parsed(0, 4096)
	if err != nil {
		return err
	}
	var next atomic.Uint64
	failures := make(chan error, callers)
	stop := timing(b)
	for range callers {
		go func() {
			batch := queue.Batch{Events: make([]event.Event, 1)}
			for n := next.Add(1); n <= uint64(b.N); n = next.Add(1) {
				batch.Events[0] = events[n%uint64(len(events))]
				if err := q.Append(context.Background(), batch); err != nil {
					failures <- err
					return
				}
			}
			failures <- nil
		}()
	}
	for range callers {
		err = errors.Join(err, <-failures)
	}
	return errors.Join(err, stop(), q.Close())
}

// benchLease takes a backlog out as fast as one caller can.
func benchLease(b *testing.B, at stageSite) error {
	q, err := openQueue(filepath.Join(at.dir, fmt.Sprint(b.N)), nil)
	if err != nil {
		return err
	}
	err = fill(context.Background(), q, b.N)
	stop := timing(b)
	outcomes := make([]queue.Outcome, 0, 256)
	for left := b.N; err == nil && left > 0; left -= len(outcomes) {
		var held []queue.Delivery
		if held, err = q.Lease(context.Background(), min(left, 256)); err != nil {
			break
		}
		outcomes = outcomes[:0]
		for _, d := range held {
			outcomes = append(outcomes, queue.Outcome{Address: d.Address, Verb: queue.Delivered})
		}
		err = q.Settle(context.Background(), outcomes...)
	}
	return errors.Join(err, stop(), q.Close())
}

// benchAttempt has the sender deliver what springs from nowhere.
func benchAttempt(b *testing.B, at stageSite) error {
	q := &spring{bodies: bodyTape(), most: uint64(b.N), dry: make(chan struct{})}
	s, err := sender.New(sender.Options{Queue: q, URL: at.url, Workers: drainWorkers,
		Settings: sender.Settings{Key: "bench", Rate: unpaced, Burst: unpaced}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	stop := timing(b)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-q.dry:
	case err := <-ended:
		return fmt.Errorf("the sender ended early: %w", err)
	}
	err = stop()
	cancel()
	return errors.Join(err, <-ended)
}
