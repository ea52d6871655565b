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

	"golang.org/x/term"
)

// errInterrupted means that somebody had enough.
var errInterrupted = errors.New("interrupted")

// bench is one invocation.
type bench struct {
	settings
	ctx    context.Context
	self   string // this program
	binary string // trackd
	queues string // directory of queues
	short  string // directory of sockets, whose paths must be short

	results map[string]result // of the works done so far
}

// result is what a work brought, turn by turn. Turns of both sides are pairs.
type result struct{ trackd, floor []figures }

// measure fills in tables and prints them.
func measure(ctx context.Context, set settings, tables []table, out io.Writer) (err error) {
	b, err := prepare(ctx, set)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	r := report{out: out, Settings: set}
	if r.Machine, err = describe(b.queues); err != nil {
		return err
	}
	r.begin()
	for _, t := range tables {
		if err := b.fillIn(&t); err != nil {
			if ctx.Err() != nil {
				err = errInterrupted // whoever was at work then tells more than anybody wants to know
			}
			return errors.Join(r.end(), err)
		}
		r.add(t)
	}
	if r.Machine.After, err = syncTimes(b.queues); err != nil {
		return err
	}
	return r.end()
}

// prepare makes directories, and trackd unless it was built before.
func prepare(ctx context.Context, set settings) (*bench, error) {
	b := &bench{ctx: ctx, settings: set, results: map[string]result{}}
	var errs [3]error
	b.self, errs[0] = os.Executable()
	b.queues, errs[1] = os.MkdirTemp(set.dir, "trackd-bench-")
	b.short, errs[2] = os.MkdirTemp("", "trackd-bench-")
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.binary = cmp.Or(set.binary, filepath.Join(b.short, "trackd"))
	if set.binary == "" {
		if err := build(ctx, b.binary); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	return b, nil
}

// build builds trackd from the checkout, as it is shipped.
func build(ctx context.Context, binary string) error {
	progress("building trackd")
	defer progress("")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "trackd/cmd/trackd")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build trackd: %w\n%s", err, out)
	}
	return nil
}

// close removes what prepare has made.
func (b *bench) close() error {
	var errs []error
	for _, dir := range []string{b.queues, b.short} {
		if dir != "" {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}

// fillIn measures every row of t.
func (b *bench) fillIn(t *table) error {
	for i, r := range t.Rows {
		got, err := b.resultOf(r.work)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", t.Name, r.Says, err)
		}
		if t.Rows[i].Cells, err = r.cells(t.columns, got); err != nil {
			return fmt.Errorf("%s: %s: %w", t.Name, r.Says, err)
		}
	}
	return nil
}

// resultOf does w unless another row has had it done.
func (b *bench) resultOf(w work) (got result, err error) {
	got, done := b.results[w.name]
	if done {
		return got, nil
	}
	defer progress("")
	runs := b.Runs
	if w.once {
		runs = 1
	}
	if runs > 1 && w.floor != nil { // one that warms caches
		if _, _, err := b.pair(w, 0, runs); err != nil {
			return got, err
		}
	}
	for i := range runs {
		ours, floors, err := b.pair(w, i+1, runs)
		if err != nil {
			return got, err
		}
		got.trackd, got.floor = append(got.trackd, ours), append(got.floor, floors)
	}
	b.results[w.name] = got
	return got, nil
}

// pair has both sides take a turn, again if one of them had nothing counted:
// such a pair says nothing, and the reason was the machine's.
func (b *bench) pair(w work, i, of int) (ours, floors figures, err error) {
	const tries = 3
	for try := 1; ; try++ {
		progress("%s: turn %d of %d", w.name, i, of)
		if ours, err = b.take(w.trackd); err != nil {
			return nil, nil, fmt.Errorf("trackd: %w", err)
		}
		if w.floor != nil {
			if floors, err = b.take(w.floor); err != nil {
				return nil, nil, fmt.Errorf("floor: %w", err)
			}
		}
		switch empty := ours[counted] == 0 || w.floor != nil && floors[counted] == 0; {
		case !empty:
			return ours, floors, nil
		case try == tries:
			return nil, nil, fmt.Errorf("nothing counted in %d turns of %v", tries, b.Time)
		}
	}
}

// progress replaces the line on a terminal; nothing is told to a pipe.
func progress(format string, args ...any) {
	if term.IsTerminal(int(os.Stderr.Fd())) {
		fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
	}
}
