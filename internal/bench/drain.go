package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"trackd/ingest"
	"trackd/internal/tuning"
	"trackd/queue"
	"trackd/queue/boltqueue"
	"trackd/sender"
)

const (
	drainWorkers = 16

	// unpaced is a rate that no machine reaches: what is measured is the
	// sender, not the limiter. It is why a drain wires the rooms itself, for
	// the daemon's configuration allows no more than Customer.io does.
	unpaced = 10_000_000

	// pressTime bounds the wait for the clients of a drain.
	pressTime = 30 * time.Second

	// whileDraining is longer than any drain: clients of one end with it.
	whileDraining = time.Hour
)

// playDrain delivers what is in a queue and measures how fast. If doors are
// named they are open, and it begins when an event has come in.
//
//	drain DIR URL COUNT [SOCKET ADDRESS]
func playDrain(ctx context.Context, args []string) error {
	tuning.Apply()
	var dir, url string
	var count int
	if err := scan(args, &dir, &url, &count); err != nil {
		return err
	}
	var commits atomic.Uint64
	q, err := openQueue(dir, func(boltqueue.Commit) { commits.Add(1) })
	if err != nil {
		return err
	}
	s, err := sender.New(sender.Options{Queue: q, URL: url, Workers: drainWorkers,
		Settings: sender.Settings{Key: "bench", Rate: unpaced, Burst: unpaced}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	if len(args) > 3 {
		if err := openDoors(ctx, group, q, s.Busy, args[3], args[4]); err != nil {
			return errors.Join(err, q.Close())
		}
	}
	got, err := delivering(count, &commits, func() error {
		group.Go(func() error { return s.Run(ctx) })
		err := awaitDelivered(ctx, s, uint64(count))
		cancel()
		return errors.Join(err, group.Wait())
	})
	if err := errors.Join(err, q.Close()); err != nil {
		return err
	}
	return got.print()
}

// watched is a queue that tells of the first event.
type watched struct {
	*boltqueue.Queue
	tell func()
}

func (q watched) Append(ctx context.Context, batch queue.Batch) error {
	q.tell()
	return q.Queue.Append(ctx, batch)
}

// openDoors serves both doors in group and returns when an event comes in.
func openDoors(ctx context.Context, group *errgroup.Group, q *boltqueue.Queue, busy func() bool, socket, address string) error {
	first := make(chan struct{})
	server, err := ingest.New(ingest.Options{Queue: watched{q, sync.OnceFunc(func() { close(first) })}, Backpressure: busy})
	if err != nil {
		return err
	}
	lines, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	group.Go(func() error {
		return server.Run(ctx, ingest.Listeners{Lines: []net.Listener{lines}, HTTP: []net.Listener{web}})
	})
	select {
	case <-first:
		return nil
	case <-time.After(pressTime):
		return errors.New("no event came in")
	}
}

func awaitDelivered(ctx context.Context, s *sender.Sender, count uint64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.Upstream().Delivered < count {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// drainTrackd measures delivery alone.
func drainTrackd(t *turn) (figures, error) {
	dir, err := t.filled(t.Fill)
	if err != nil {
		return nil, err
	}
	return t.drain(dir, t.Fill)
}

// drainFloor measures POSTs of what needs no queue.
func drainFloor(t *turn) (figures, error) {
	return t.withSink(func(url string) (figures, error) { return t.play("post", url+"/track", drainWorkers, t.Fill) })
}

// drain measures the delivery of count events from the queue in dir.
func (t *turn) drain(dir string, count int) (figures, error) {
	return t.withSink(func(url string) (figures, error) { return t.play("drain", dir, url, count) })
}

// drainUnder measures delivery while a client presses on a door, and adds what
// the client saw.
func drainUnder(press client) func(*turn) (figures, error) {
	return func(t *turn) (figures, error) {
		dir, err := t.filled(t.Fill)
		if err != nil {
			return nil, err
		}
		return t.withSink(func(url string) (figures, error) { return t.drainPressed(dir, url, press) })
	}
}

func (t *turn) drainPressed(dir, url string, press client) (figures, error) {
	socket, addresses, err := t.places(1)
	if err != nil {
		return nil, err
	}
	s := &server{socket: socket, http: addresses[0]}
	longer := *t.bench
	longer.Time = whileDraining
	var seen figures
	var clients errgroup.Group
	clients.Go(func() (err error) {
		if err = await(s); err == nil {
			role, args := press(&longer, s)
			seen, err = t.play(role, args...)
		}
		return err
	})
	got, err := t.play("drain", dir, url, t.Fill, s.socket, s.http)
	err = errors.Join(err, clients.Wait())
	return got.with(seen), err
}

// await returns once both doors of s are open.
func await(s *server) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if conn, err := net.Dial("tcp", s.http); err == nil {
			return conn.Close() // it is the last to open
		}
	}
	return fmt.Errorf("nobody serves at %s", s.http)
}
