package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"trackd/admin"
	"trackd/queue"
)

type deadReplayCmd struct {
	letterFilter
}

// Run has letters queued again, a bounded number at a time. They go out at the
// pace of the line, like everything else.
func (c deadReplayCmd) Run(w *world) error {
	s, err := c.bulk()
	if err != nil {
		return err
	}
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	a := amending{world: w, count: client.Count, call: client.Replay, past: "replayed", narrow: s.narrow}
	if err := a.run(s.Filter, nil); err != nil || a.matched == 0 {
		return err
	}
	fmt.Fprintf(w.stdout, "%s replayed\n", count(a.changed, "dead letter"))
	if st, err := client.Status(w.ctx); err == nil && st.Upstream.State != "open" {
		fmt.Fprintf(w.stderr, "note: the upstream is %s, so they wait: %s\n", st.Upstream.State, printable(st.Upstream.Why))
	}
	if stay := a.matched - a.changed; stay > 0 {
		return &fault{code: exitFailure, err: fmt.Errorf("%s not replayed: trackd would reject them again", count(stay, "dead letter")),
			hint: "trackd dead export them, mend the file, and trackd dead import it"}
	}
	return nil
}

type deadDiscardCmd struct {
	letterFilter
	Yes bool `help:"Do not ask."`
}

// Run throws letters away after asking.
func (c deadDiscardCmd) Run(w *world) error {
	s, err := c.bulk()
	if err != nil {
		return err
	}
	if !c.Yes && !isTerminal(w.stdin) {
		return &fault{code: exitUsage, err: errors.New("nobody is there to be asked"), hint: "--yes discards without asking"}
	}
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	a := amending{world: w, count: client.Count, call: client.Discard, past: "discarded", narrow: s.narrow}
	if err := a.run(s.Filter, c.confirm); err != nil || a.matched == 0 {
		return err
	}
	_, err = fmt.Fprintf(w.stdout, "%s discarded\n", count(a.changed, "dead letter"))
	return err
}

// confirm asks before letters are thrown away.
func (c deadDiscardCmd) confirm(w *world, found admin.Counted) error {
	if c.Yes {
		return nil
	}
	var parts []string
	for _, r := range queue.Reasons() {
		if n := found.ByReason[r]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, r))
		}
	}
	fmt.Fprintf(w.stderr, "Discard %s (%s)? [y/N] ", count(found.Count, "dead letter"), strings.Join(parts, ", "))
	answer, err := bufio.NewReader(w.stdin).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a == "y" || a == "yes" {
		return nil
	}
	if err != nil {
		fmt.Fprintln(w.stderr)
	}
	return &fault{code: exitFailure, err: errors.New("nothing was discarded")}
}

// amending is a replay or a discard in progress.
type amending struct {
	*world
	count  func(context.Context, queue.Filter) (admin.Counted, error)
	call   func(context.Context, queue.Filter) (admin.Amended, error)
	past   string // what has been done to letters
	narrow bool   // the filter leaves something out

	matched, changed int
}

// run goes through the letters that match, chunk by chunk. It can be
// interrupted between two, and the same command goes on where it stopped.
func (a *amending) run(f queue.Filter, confirm func(*world, admin.Counted) error) error {
	found, err := a.count(a.ctx, f)
	switch {
	case err != nil:
		return err
	case found.Count == 0:
		return a.nothing("dead letter", a.narrow)
	}
	if confirm != nil {
		if err := confirm(a.world, found); err != nil {
			return err
		}
	}
	defer a.tell("")
	for limit := f.Limit; ; {
		if f.Limit = 0; limit > 0 {
			f.Limit = limit - a.matched
		}
		did, err := a.call(context.WithoutCancel(a.ctx), f) // what is begun is finished, to be able to say what was done
		a.matched += did.Matched
		a.changed += did.Changed
		if err != nil {
			return fmt.Errorf("%d %s, then: %w", a.changed, a.past, err)
		}
		a.tell("%d of %d %s", a.changed, found.Count, a.past)
		if !did.More {
			return nil
		}
		if f.After, err = queue.ParseAddress(did.Last); err != nil {
			return err
		}
		if a.ctx.Err() != nil {
			a.tell("")
			return &fault{code: exitFailure, err: fmt.Errorf("interrupted: %d of %d %s", a.changed, found.Count, a.past),
				hint: "the same command goes on with the rest"}
		}
	}
}
