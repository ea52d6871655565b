package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trackd/admin"
	"trackd/internal/status"
)

type pauseCmd struct {
	Reason string `placeholder:"TEXT" help:"Why, for whoever looks at the status."`
}

// Run stops sending. Events are still taken.
func (c pauseCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Pause(w.ctx, c.Reason); err != nil {
		return err
	}
	_, err = fmt.Fprintln(w.stdout, "sending is paused, also over restarts; events are still taken. trackd resume goes on")
	return err
}

type resumeCmd struct{}

// Run lets sending go on, and has a destination in trouble tried at once.
func (resumeCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Resume(w.ctx); err != nil {
		return err
	}
	said := "sending goes on; a destination that was in trouble is tried now"
	if s, err := client.Status(w.ctx); err == nil && !s.Closed.IsZero() {
		said = "what waits is sent; a destination that was in trouble is tried now. No new events are taken since the drain " +
			ago(s.Closed) + " ago: restart trackd to take them again"
	}
	_, err = fmt.Fprintln(w.stdout, said)
	return err
}

type drainCmd struct {
	Timeout time.Duration `default:"5m" placeholder:"DURATION" help:"Give up after this long. Default: ${default}."`
	Open    bool          `help:"Go on taking events, for clients that may end later than this."`
}

// drainLook is how often a drain looks whether the queue is empty.
const drainLook = 200 * time.Millisecond

// Run stops the intake and waits until everything is sent.
func (c drainCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	before, err := client.Status(w.ctx)
	if err != nil {
		return err
	}
	if before.Upstream.State == status.Paused {
		return &fault{code: exitFailure, err: errors.New("sending is paused, so nothing would drain; events are still taken"),
			hint: "trackd resume, then drain again"}
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(w.ctx, c.Timeout)
	defer cancel()
	if !c.Open {
		if err := client.Drain(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	after, err := c.await(ctx, w, client)
	w.tell("")
	if err != nil {
		return err
	}
	return c.conclude(w, before, after, time.Since(began))
}

// await looks at the status until nothing waits or ctx ends.
func (c drainCmd) await(ctx context.Context, w *world, client *admin.Client) (status.Report, error) {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for {
		s, err := client.Status(context.WithoutCancel(ctx))
		if err != nil || s.Account.Exact && s.Account.Queued == 0 {
			return s, err
		}
		w.tell("%d wait, upstream %s; %s", s.Account.Queued, s.Upstream.State, s.Outlook.Summary)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s, nil
		}
	}
}

// conclude says how a drain ended that took so long.
func (c drainCmd) conclude(w *world, before, after status.Report, took time.Duration) error {
	intake := "; no events are taken until trackd is restarted"
	if c.Open {
		intake = ""
	}
	if after.Account.Queued > 0 || !after.Account.Exact {
		ended := "after"
		if w.ctx.Err() != nil {
			ended = "interrupted after"
		}
		left := fmt.Sprintf("%s, %s still waiting", ended+" "+admin.Span(took), count(after.Account.Queued, "event"))
		if n := after.Queue.Parked; n > 0 {
			left += fmt.Sprintf(", %d of which failed and wait for another attempt", n)
		}
		if passed := after.Upstream.Delivered - min(before.Upstream.Delivered, after.Upstream.Delivered); passed > 0 {
			left += fmt.Sprintf(", while %d were delivered", passed)
		}
		left += "; the upstream is " + string(after.Upstream.State)
		if after.Upstream.Why != "" {
			left += ": " + after.Upstream.Why
		}
		return &fault{code: exitFailure, err: errors.New(left),
			hint: "they are safe on disk and sending goes on" + intake + ". Drain again, or move queue.dir to another host"}
	}
	fmt.Fprintln(w.stdout, "nothing waits"+intake)
	if after.Account.Dead > 0 {
		fmt.Fprintf(w.stdout, "%s kept on this disk: trackd dead export saves them\n", count(after.Account.Dead, "dead letter"))
	}
	return nil
}
