package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"trackd/admin"
	"trackd/queue"
)

type statusCmd struct {
	JSON    bool `name:"json" help:"Print the status as JSON."`
	Watch   bool `help:"Show it again every second until Ctrl-C."`
	Healthy bool `help:"Print nothing and exit 0 if the daemon makes progress, else 1."`
}

// healthPatience bounds a health check: whoever runs one has a limit too.
const healthPatience = 5 * time.Second

// Run prints the status of the daemon.
func (c statusCmd) Run(w *world) error {
	if c.Healthy {
		return c.healthy(w)
	}
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	if c.Watch {
		return c.watch(w, client)
	}
	s, err := c.twice(w, client)
	if err != nil {
		return err
	}
	return c.print(w.stdout, s)
}

// twice asks again when the first answer cannot know how fast the queue
// drains.
func (c statusCmd) twice(w *world, client *admin.Client) (admin.Status, error) {
	s, err := client.Status(w.ctx)
	if err != nil || s.Account.Queued == 0 || s.Outlook.NetDrain != nil {
		return s, err
	}
	select {
	case <-time.After(1100 * time.Millisecond):
	case <-w.ctx.Done():
		return s, nil
	}
	return client.Status(w.ctx)
}

// watch shows the status until the context ends. A daemon that goes away may
// come back.
func (c statusCmd) watch(w *world, client *admin.Client) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s, err := client.Status(w.ctx)
		if w.ctx.Err() != nil {
			return nil
		}
		var page bytes.Buffer
		if isTerminal(w.stdout) {
			page.WriteString("\033[H\033[2J")
		}
		if err != nil {
			fmt.Fprintf(&page, "%v\n", err)
		} else if err := c.print(&page, s); err != nil {
			return err
		}
		if _, err := page.WriteTo(w.stdout); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			return nil
		}
	}
}

// healthy asks through the socket or, where that is turned off or closed to
// this user, over HTTP. It exits with 0 or 1 and nothing else, as container
// runtimes want it.
func (c statusCmd) healthy(w *world) error {
	cfg, err := w.config(true)
	if err != nil {
		return &fault{code: exitFailure, err: err}
	}
	ctx, cancel := context.WithTimeout(w.ctx, healthPatience)
	defer cancel()
	err = admin.ErrUnreachable
	if cfg.Admin.Socket != "" {
		client := admin.NewClient(cfg.Admin.Socket)
		defer client.Close()
		_, err = client.Healthy(ctx, "/healthz")
	}
	if errors.Is(err, admin.ErrUnreachable) && cfg.Admin.HTTP != "" {
		err = getOK(ctx, "http://"+cfg.Admin.HTTP+"/healthz")
	}
	if err != nil {
		return &fault{code: exitFailure, err: fmt.Errorf("not healthy: %w", err)}
	}
	return nil
}

func getOK(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

func (c statusCmd) print(to io.Writer, s admin.Status) error {
	if c.JSON {
		return admin.EncodeLine(to, s)
	}
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, row := range statusRows(s) {
		label := row[0]
		for line := range strings.SplitSeq(row[1], "\n") {
			fmt.Fprintf(table, "%s\t%s\n", label, printable(line))
			label = ""
		}
	}
	return table.Flush()
}

// statusRows is the status on one screen: a label, and one or more lines.
func statusRows(s admin.Status) [][2]string {
	rows := [][2]string{
		{"trackd", fmt.Sprintf("%s, up %s", s.Version, ago(s.Started))},
		{"doors", doorsRow(s)},
		{"line", lineRow(s.Line)},
		{"queue", queueRow(s)},
		{"dead", deadRow(s)},
		{"disk", diskRow(s.Disk)},
		{"account", accountRow(s.Account)},
	}
	if len(s.Disk.Damaged) > 0 {
		rows = append(rows, [2]string{"damaged", strings.Join(s.Disk.Damaged, "\n") + "\nkept aside; what they could not show is counted as lost"})
	}
	alarms := s.Alarms
	if s.Line.Alarm != "" {
		alarms = append(alarms, s.Line.Alarm)
	}
	if len(alarms) > 0 {
		rows = append(rows, [2]string{"ALARM", strings.Join(alarms, "\n")})
	}
	return rows
}

func doorsRow(s admin.Status) string {
	switch {
	case !s.Closed.IsZero():
		return fmt.Sprintf("closed by an operator %s ago, to drain; a restart opens them", ago(s.Closed))
	case s.Queue.Full != "":
		return "refusing events: " + s.Queue.Full
	}
	return "taking events"
}

func lineRow(l admin.Line) string {
	text := fmt.Sprintf("%s for %s, may send %.4g/s", l.State, ago(l.Since), l.Rate)
	if !l.LastSuccess.IsZero() {
		text += fmt.Sprintf(", last delivery %s ago", ago(l.LastSuccess))
	}
	if l.Why != "" {
		text += "\n" + l.Why
	}
	if wait := time.Until(l.NextProbe); !l.NextProbe.IsZero() {
		text += fmt.Sprintf("\ntries again in %s", admin.Span(wait))
	}
	return text
}

func queueRow(s admin.Status) string {
	if s.Account.Queued == 0 {
		return s.Outlook.Summary
	}
	text := fmt.Sprintf("%s, the oldest taken %s ago", count(s.Account.Queued, "event"),
		admin.Span(time.Duration(s.Queue.OldestAgeSeconds*float64(time.Second))))
	for _, part := range []struct {
		n    int
		what string
	}{{s.Queue.Leased, "being sent"}, {s.Queue.Parked, "waiting for another attempt"}, {s.Queue.Held, "settled but not markable on disk"}} {
		if part.n > 0 {
			text += fmt.Sprintf("; %d %s", part.n, part.what)
		}
	}
	text += "\n"
	if drain := s.Outlook.NetDrain; drain != nil && *drain > 0 {
		text += fmt.Sprintf("shrinks by %.3g/s: ", *drain)
	} else if drain != nil && *drain < 0 {
		text += fmt.Sprintf("grows by %.3g/s: ", -*drain)
	}
	return text + s.Outlook.Summary
}

func deadRow(s admin.Status) string {
	if s.Account.Dead == 0 {
		return "no letters"
	}
	var parts []string
	for _, r := range queue.Reasons() {
		if n := s.Dead.ByReason[r]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, r))
		}
	}
	return fmt.Sprintf("%s: %s\ntrackd dead list shows them", count(s.Account.Dead, "letter"), strings.Join(parts, ", "))
}

func diskRow(d admin.Disk) string {
	return fmt.Sprintf("%s of %s used, %s left on the disk", size(d.Bytes), size(d.MaxBytes), size(d.FreeBytes))
}

func accountRow(a admin.Account) string {
	text := law(queue.Account{Taken: a.Taken, Queued: a.Queued, Delivered: a.Delivered, Dead: a.Dead, Discarded: a.Discarded, Lost: a.Lost})
	switch {
	case !a.Exact:
		text += "\nnot exact yet: older files are still being read"
	case !a.Balances:
		text += "\nTHIS DOES NOT BALANCE: stop trackd and run trackd check"
	}
	return text
}
