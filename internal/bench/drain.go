package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"trackd/event"
	"trackd/ingest"
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

// playFill puts events into a queue at rest.
//
//	fill DIR COUNT
func playFill(ctx context.Context, args []string) error {
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	q, err := boltqueue.Open(boltqueue.Options{Dir: args[0]})
	if err != nil {
		return err
	}
	for n := 0; n < count; {
		var batch queue.Batch
		for ; n < count && len(batch.Events) < 1000; n++ {
			ev, err := event.Parser{}.Parse(sample(nil, 1, n), time.Now())
			if err != nil {
				return err
			}
			batch.Events = append(batch.Events, ev)
		}
		if err := q.Append(ctx, batch); err != nil {
			return err
		}
	}
	return errors.Join(q.Close(), load{Events: uint64(count)}.print())
}

// playDrain delivers what is in a queue and measures how fast, with the socket
// open if one is named.
//
//	drain DIR URL COUNT [SOCKET]
func playDrain(ctx context.Context, args []string) error {
	count, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	q, err := boltqueue.Open(boltqueue.Options{Dir: args[0]})
	if err != nil {
		return err
	}
	s, err := sender.New(sender.Options{Queue: q, URL: args[1], Workers: drainWorkers,
		Settings: sender.Settings{Key: "bench", Rate: unpaced, Burst: unpaced}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	if len(args) > 3 {
		if err := serveLines(ctx, group, q, args[3]); err != nil {
			return err
		}
	}
	begin := time.Now()
	group.Go(func() error { return s.Run(ctx) })
	group.Go(func() error {
		defer cancel()
		return awaitDelivered(ctx, s, count)
	})
	err = group.Wait()
	took := time.Since(begin)
	return errors.Join(err, q.Close(), load{Events: count, Rate: float64(count) / took.Seconds()}.print())
}

func serveLines(ctx context.Context, group *errgroup.Group, q *boltqueue.Queue, socket string) error {
	doors, err := ingest.New(ingest.Options{Queue: q})
	if err != nil {
		return err
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	group.Go(func() error { return doors.Run(ctx, ingest.Doors{Lines: []net.Listener{ln}}) })
	return nil
}

func awaitDelivered(ctx context.Context, s *sender.Sender, count uint64) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for s.Line().Delivered < count {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// sink starts a sink and returns the base URL that leads to it.
func (b *bench) sink() (*server, string, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, "", err
	}
	s, err := b.start("ready", nil, b.self, "role", "sink", address)
	return s, "http://" + address + "/v1", err
}

// withSink runs one measurement against a sink of its own.
func (b *bench) withSink(do func(url string) (load, error)) (float64, error) {
	s, url, err := b.sink()
	if err != nil {
		return 0, err
	}
	got, err := do(url)
	return got.Rate, errors.Join(err, s.stop())
}

func (b *bench) drainTrackd() (float64, error) {
	return b.withSink(func(url string) (got load, err error) {
		dir, err := b.filled()
		if err != nil {
			return got, err
		}
		return got, b.run(&got, "drain", dir, url, fmt.Sprint(b.fill))
	})
}

func (b *bench) drainFloor() (float64, error) {
	return b.withSink(func(url string) (got load, err error) {
		return got, b.run(&got, "post", url+"/track", fmt.Sprint(drainWorkers), fmt.Sprint(b.fill))
	})
}

// drainUnderIngest measures delivery while four clients write as fast as they
// are answered.
func (b *bench) drainUnderIngest() (float64, error) {
	return b.withSink(func(url string) (got load, err error) {
		dir, err := b.filled()
		if err != nil {
			return got, err
		}
		socket := filepath.Join(dir, "events.sock")
		var clients errgroup.Group
		clients.Go(func() error {
			var ignored load
			return b.pressure(socket, &ignored)
		})
		err = b.run(&got, "drain", dir, url, fmt.Sprint(b.fill), socket)
		return got, errors.Join(err, clients.Wait())
	})
}

// pressure writes to the socket, once it is there, until the drain is over.
func (b *bench) pressure(socket string, got *load) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			return b.run(got, "lines", socket, "4", "256", "1m")
		}
	}
	return fmt.Errorf("no socket at %s", socket)
}

// filled returns the directory of a queue with b.fill events.
func (b *bench) filled() (string, error) {
	dir, err := b.fresh()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "queue")
	var got load
	return dir, b.run(&got, "fill", dir, fmt.Sprint(b.fill))
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}
