package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trackd/admin"
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
	_, err = fmt.Fprintln(w.stdout, "sending goes on; a destination that was in trouble is tried now")
	return err
}

type drainCmd struct {
	Timeout time.Duration `default:"5m" placeholder:"DURATION" help:"Give up after this long. Default: ${default}."`
	Open    bool          `help:"Leave the doors open, for clients that may end later than this."`
}

// drainLook is how often a drain looks whether the queue is empty.
const drainLook = 200 * time.Millisecond

// Run closes the doors and waits until everything is sent.
func (c drainCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	s, err := client.Status(w.ctx)
	if err != nil {
		return err
	}
	if s.Line.State == "paused" {
		return &fault{code: exitFailure, err: errors.New("sending is paused, so nothing would drain; the doors stay as they are"),
			hint: "trackd resume, then drain again"}
	}
	ctx, cancel := context.WithTimeout(w.ctx, c.Timeout)
	defer cancel()
	if !c.Open {
		if err := client.Drain(ctx); err != nil && ctx.Err() == nil {
			return err
		}
	}
	s, err = c.await(ctx, w, client)
	w.tell("")
	if err != nil {
		return err
	}
	return c.conclude(w, s)
}

// await looks at the status until nothing waits or ctx ends.
func (c drainCmd) await(ctx context.Context, w *world, client *admin.Client) (admin.Status, error) {
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for {
		s, err := client.Status(context.WithoutCancel(ctx))
		if err != nil || s.Account.Exact && s.Account.Queued == 0 {
			return s, err
		}
		w.tell("%d wait, line %s; %s", s.Account.Queued, s.Line.State, s.Outlook.Summary)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return s, nil
		}
	}
}

func (c drainCmd) conclude(w *world, s admin.Status) error {
	doors := "; the doors stay closed until trackd is restarted"
	if c.Open {
		doors = ""
	}
	if s.Account.Queued > 0 || !s.Account.Exact {
		why := ""
		if s.Line.Why != "" {
			why = ": " + s.Line.Why
		}
		return &fault{code: exitFailure, err: fmt.Errorf("%s still waiting after %v; the line is %s%s", count(s.Account.Queued, "event"), c.Timeout, s.Line.State, why),
			hint: "they are safe on disk and sending goes on" + doors + ". Drain again, or move queue.dir to another host"}
	}
	fmt.Fprintln(w.stdout, "nothing waits"+doors)
	if s.Account.Dead > 0 {
		fmt.Fprintf(w.stdout, "%s kept on this disk: trackd dead export saves them\n", count(s.Account.Dead, "dead letter"))
	}
	return nil
}
