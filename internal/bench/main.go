// Command bench measures trackd beside bare floors: programs that do the same
// work with nothing of what makes it safe to operate.
//
//	go run ./internal/bench [-runs 5] [-time 2s] [-only http]
//
// Every figure comes from real processes over real sockets: the server, the
// client and the sink each run as a process of their own. trackd and its floor
// take turns, A B A B …, and the ratio is the median of the pairs, so that it
// holds while the machine's speed drifts. It talks to loopback only and ends by
// itself.
//
// Reading order: main.go (the rows and the table), role.go (the processes),
// load.go (the clients), floor.go (the floors), drain.go (the way out).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

// row is one line of the table: the same work done by trackd and by a floor.
type row struct {
	name   string
	says   string
	unit   string
	goal   string
	lower  bool // less is better
	trackd func(*bench) (float64, error)
	floor  func(*bench) (float64, error)
}

func rows() []row {
	return []row{
		{name: "http", says: "HTTP, one event a request, 64 connections", unit: "events/s", goal: "≥ 1.00",
			trackd: func(b *bench) (float64, error) { return b.http(b.serveTrackd, 64) },
			floor:  func(b *bench) (float64, error) { return b.http(b.serveFloor, 64) }},
		{name: "ack", says: "acknowledgement at 1 connection, p50", unit: "ms", goal: "≤ 1.20", lower: true,
			trackd: func(b *bench) (float64, error) { return b.ack(b.serveTrackd) },
			floor:  func(b *bench) (float64, error) { return b.ack(b.serveFloor) }},
		{name: "socket", says: "socket, 4 clients with 256 events in flight", unit: "events/s", goal: "≥ 0.90",
			trackd: func(b *bench) (float64, error) { return b.lines(b.serveTrackd) },
			floor:  func(b *bench) (float64, error) { return b.lines(b.serveFloor) }},
		{name: "drain", says: "drain, one event a POST, 16 workers", unit: "events/s", goal: "≥ 0.85",
			trackd: (*bench).drainTrackd, floor: (*bench).drainFloor},
		{name: "both", says: "delivery while the socket is saturated, beside draining alone", unit: "events/s", goal: "≥ 0.50",
			trackd: (*bench).drainUnderIngest, floor: (*bench).drainTrackd},
	}
}

// bench is one invocation.
type bench struct {
	ctx    context.Context
	self   string // this program
	binary string // trackd, built from the checkout
	dir    string // temporary, for queues and sockets
	time   time.Duration
	fill   int // events of a drain
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "role" {
		exit(play(ctx, os.Args[2:]))
	}
	runs := flag.Int("runs", 5, "counted pairs a row")
	length := flag.Duration("time", 2*time.Second, "length of one measurement")
	fill := flag.Int("fill", 100_000, "events of one drain")
	only := flag.String("only", "", "one row by name")
	flag.Parse()
	exit(measure(ctx, *runs, *length, *fill, *only))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func measure(ctx context.Context, runs int, length time.Duration, fill int, only string) error {
	dir, err := os.MkdirTemp("", "trackd-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what stays is in the temporary directory
	b := &bench{ctx: ctx, dir: dir, time: length, fill: fill, binary: filepath.Join(dir, "trackd")}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", b.binary, "./cmd/trackd")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build trackd: %w\n%s", err, out)
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "work\ttrackd\tfloor\tratio\t(min–max of %d)\tgoal\n", runs)
	for _, r := range rows() {
		if only != "" && r.name != only {
			continue
		}
		if err := b.pair(table, r, runs); err != nil {
			return errors.Join(table.Flush(), fmt.Errorf("%s: %w", r.name, err))
		}
	}
	return table.Flush()
}

// pair measures both sides of a row in turn, after one uncounted turn each.
func (b *bench) pair(table *tabwriter.Writer, r row, runs int) error {
	var ours, floors, ratios []float64
	for i := range runs + 1 {
		progress("%s: pair %d of %d", r.name, i, runs)
		a, err := r.trackd(b)
		if err != nil {
			return fmt.Errorf("trackd: %w", err)
		}
		f, err := r.floor(b)
		if err != nil {
			return fmt.Errorf("floor: %w", err)
		}
		if i > 0 { // the first warms caches
			ours, floors, ratios = append(ours, a), append(floors, f), append(ratios, a/f)
		}
	}
	progress("")
	slices.Sort(ratios)
	fmt.Fprintf(table, "%s\t%s %s\t%s\t%.2f\t(%.2f–%.2f)\t%s\n", r.says, figure(median(ours)), r.unit, figure(median(floors)),
		median(ratios), ratios[0], ratios[len(ratios)-1], r.goal)
	return nil
}

// progress replaces the line on a terminal; nothing is told to a pipe.
func progress(format string, args ...any) {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func figure(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
