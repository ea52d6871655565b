package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"
)

// errInterrupted means that a signal ended the measurement.
var errInterrupted = errors.New("interrupted")

// bench is one invocation.
type bench struct {
	settings
	ctx     context.Context
	self    string // this program
	binary  string // trackd
	queues  string // directory of queues
	sockets string // directory of sockets, whose paths must be short

	results map[string]result // of the works done so far, by name
}

// result is what a work brought, run by run. Runs of both sides are pairs.
type result struct{ trackd, floor []figures }

// measure fills in tables and prints them.
func measure(ctx context.Context, set settings, tables []table, out io.Writer) (err error) {
	b := &bench{ctx: ctx, settings: set, results: map[string]result{}}
	defer func() { err = errors.Join(err, b.close()) }()
	var errs [3]error
	b.self, errs[0] = os.Executable()
	b.queues, errs[1] = os.MkdirTemp(set.dir, "trackd-bench-")
	b.sockets, errs[2] = os.MkdirTemp("", "trackd-bench-")
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	if b.binary = cmp.Or(set.binary, filepath.Join(b.sockets, "trackd")); set.binary == "" {
		if err := build(ctx, b.binary); err != nil {
			return err
		}
	}

	// All figures wait for the disk: say how fast it is, before and after.
	fmt.Fprintf(out, "%s, %s, %s/%s\n", plural(runtime.NumCPU(), "CPU"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if err := b.printSyncTimes(out, "before"); err != nil {
		return err
	}
	for _, t := range tables {
		for i, r := range t.rows {
			if t.rows[i].got, err = b.resultOf(r.work); ctx.Err() != nil {
				return errInterrupted // what the runs said of it is noise
			} else if err != nil {
				return fmt.Errorf("%s: %s: %w", t.name, r.says, err)
			}
		}
		t.print(out, b.runs)
	}
	fmt.Fprintln(out)
	return b.printSyncTimes(out, "after")
}

// build builds trackd from the checkout, as it is shipped.
func build(ctx context.Context, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "trackd/cmd/trackd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build trackd: %w\n%s", err, out)
	}
	return nil
}

// close removes what measure has made.
func (b *bench) close() error {
	var errs []error
	for _, dir := range []string{b.queues, b.sockets} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// printSyncTimes measures how long one page takes to become durable where the
// queues lie.
func (b *bench) printSyncTimes(out io.Writer, when string) (err error) {
	const pages, page = 200, 4 << 10
	f, err := os.CreateTemp(b.queues, "page-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err = f.Write(make([]byte, pages*page)); err != nil {
		return err
	}
	if err = f.Sync(); err != nil { // from here on nothing but pages changes
		return err
	}
	times := make([]time.Duration, pages)
	for i := range times {
		begin := time.Now()
		if _, err = f.WriteAt(slices.Repeat([]byte{byte(i + 1)}, page), int64(i)*page); err != nil {
			return err
		}
		if err = syncData(f); err != nil {
			return err
		}
		times[i] = time.Since(begin)
	}
	got := timed(pages, times, time.Second)
	_, err = fmt.Fprintf(out, "fdatasync of a 4 KiB page, %s: p50 %.3f ms, p99 %.3f ms of %d\n", when, got[p50], got[p99], pages)
	return err
}

// resultOf does w unless another row has had it done.
func (b *bench) resultOf(w work) (got result, err error) {
	if got, done := b.results[w.name]; done {
		return got, nil
	}
	runs := b.runs
	if w.once {
		runs = 1
	}
	first := 0 // run 0 warms caches and is not counted
	if runs == 1 || w.floor == nil {
		first = 1
	}
	for i := first; i <= runs; i++ {
		ours, floors, err := b.pair(w)
		if err != nil {
			return got, err
		}
		if i > 0 {
			got.trackd, got.floor = append(got.trackd, ours), append(got.floor, floors)
		}
	}
	b.results[w.name] = got
	return got, nil
}

// pair runs both sides, again if one of them had nothing counted: such a pair
// says nothing, and the reason was the machine's.
func (b *bench) pair(w work) (ours, floors figures, err error) {
	const tries = 3
	for range tries {
		if ours, err = b.run(w.trackd); err != nil {
			return nil, nil, fmt.Errorf("trackd: %w", err)
		}
		if w.floor != nil {
			if floors, err = b.run(w.floor); err != nil {
				return nil, nil, fmt.Errorf("floor: %w", err)
			}
		}
		if ours[counted] > 0 && (w.floor == nil || floors[counted] > 0) {
			return ours, floors, nil
		}
	}
	return nil, nil, fmt.Errorf("nothing counted in %d runs of %v", tries, b.time)
}
