package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"trackd/admin"
	"trackd/internal/status"
	"trackd/queue"
)

type statusCmd struct {
	JSON    bool `name:"json" help:"Print the status as JSON."`
	Watch   bool `help:"Show it again every second until Ctrl-C."`
	Healthy bool `help:"Print nothing and exit 0 if the daemon makes progress, else 1."`
}

// healthTimeout bounds a health check: whoever runs one has a limit too.
const healthTimeout = 5 * time.Second

// Run prints the status of the daemon.
func (c statusCmd) Run(w *world) error {
	if c.Healthy {
		return c.healthy(w)
	}
	if c.Watch {
		return c.watch(w)
	}
	s, err := w.status(w.ctx)
	if err != nil {
		return err
	}
	return c.print(w.stdout, s)
}

// status asks for the status through the socket or, where that is turned off
// or closed to this user, over HTTP, which tells the same. When neither answers
// the error is that of the socket.
func (w *world) status(ctx context.Context) (status.Report, error) {
	cfg, err := w.config(true)
	if err != nil {
		return status.Report{}, err
	}
	client, err := w.daemon()
	var s status.Report
	if err == nil {
		defer client.Close()
		s, err = client.Status(ctx)
	}
	if err == nil || cfg.Admin.HTTP == "" || errors.Is(err, syscall.ENOENT) {
		return s, err
	}
	resp, httpErr := getOK(ctx, "http://"+cfg.Admin.HTTP+"/status")
	if httpErr != nil {
		return s, err
	}
	defer resp.Body.Close()
	if httpErr := json.NewDecoder(resp.Body).Decode(&s); httpErr != nil {
		return s, err
	}
	return s, nil
}

// watch shows the status until the context ends. A daemon that goes away may
// come back.
func (c statusCmd) watch(w *world) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s, err := w.status(w.ctx)
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
	ctx, cancel := context.WithTimeout(w.ctx, healthTimeout)
	defer cancel()
	err = admin.ErrUnreachable
	if cfg.Admin.Socket != "" {
		client := admin.NewClient(cfg.Admin.Socket)
		defer client.Close()
		_, err = client.Healthy(ctx, "/healthz")
	}
	if errors.Is(err, admin.ErrUnreachable) && cfg.Admin.HTTP != "" {
		var resp *http.Response
		if resp, err = getOK(ctx, "http://"+cfg.Admin.HTTP+"/healthz"); err == nil {
			resp.Body.Close()
		}
	}
	if err != nil {
		return &fault{code: exitFailure, err: fmt.Errorf("not healthy: %w", err)}
	}
	return nil
}

// getOK asks for a page that must be there.
func getOK(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		err = errors.New(resp.Status)
	}
	return resp, err
}

func (c statusCmd) print(to io.Writer, s status.Report) error {
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
func statusRows(s status.Report) [][2]string {
	rows := [][2]string{{"trackd", fmt.Sprintf("%s, up %s", s.Version, ago(s.Started))}}
	if alarms := s.AllAlarms(); len(alarms) > 0 { // first, where nobody misses them
		rows = append(rows, [2]string{"ALARM", strings.Join(alarms, "\n")})
	}
	rows = append(rows, [][2]string{
		{"intake", intakeRow(s)},
		{"upstream", upstreamRow(s.Upstream)},
		{"queue", queueRow(s)},
		{"dead", deadRow(s)},
		{"disk", diskRow(s.Disk)},
		{"account", accountRow(s)},
	}...)
	rows = append(rows, clientRows(s.Clients)...)
	if len(s.Disk.Damaged) > 0 {
		rows = append(rows, [2]string{"damaged", strings.Join(s.Disk.Damaged, "\n") + "\nkept aside; what they could not show is counted as lost"})
	}
	return rows
}

func intakeRow(s status.Report) string {
	switch {
	case !s.Closed.IsZero():
		return fmt.Sprintf("stopped by an operator %s ago, to drain; a restart starts it again", ago(s.Closed))
	case s.Queue.Full != "":
		return "refusing events: " + s.Queue.Full
	}
	return "taking events"
}

func upstreamRow(l status.Upstream) string {
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

func queueRow(s status.Report) string {
	if s.Account.Queued == 0 {
		return s.Outlook.Summary
	}
	text := fmt.Sprintf("%s, the oldest taken %s ago", count(s.Account.Queued, "event"),
		admin.Span(s.Queue.OldestAge()))
	for _, part := range []struct {
		n    int
		what string
	}{{s.Queue.Leased, "being sent"}, {s.Queue.Parked, "waiting for another attempt"}, {s.Queue.Held, "settled but not markable on disk"}} {
		if part.n > 0 {
			text += fmt.Sprintf("; %d %s", part.n, part.what)
		}
	}
	if n := s.Upstream.Suspects; n > 0 {
		text += fmt.Sprintf("\n%s failed: trackd queue list tells how often, since when and the last answer", count(n, "event"))
		if s.Queue.Parked > s.Queue.ParkedMax/2 {
			text += fmt.Sprintf("; there are places for %d, beyond that the worst become dead letters", s.Queue.ParkedMax)
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

func deadRow(s status.Report) string {
	if s.Account.Dead == 0 {
		return "no dead letters"
	}
	var parts []string
	for _, r := range queue.Reasons() {
		if n := s.Dead.ByReason[r]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, r))
		}
	}
	return fmt.Sprintf("%s: %s\ntrackd dead list shows them", count(s.Account.Dead, "dead letter"), strings.Join(parts, ", "))
}

func diskRow(d status.Disk) string {
	return fmt.Sprintf("%s of %s used, %s left on the disk", size(d.Bytes), size(d.MaxBytes), size(d.FreeBytes))
}

func accountRow(s status.Report) string {
	a := s.Account
	text := a.Account.String()
	switch {
	case a.Exact && a.Balances && s.Upstream.Delivered > a.Delivered:
		text += fmt.Sprintf("\nwhat the files hold: one goes, with its account, once nothing in it waits. Delivered since the start: %d", s.Upstream.Delivered)
	case !a.Exact:
		text += "\nnot exact yet: older files are still being read"
	case !a.Balances:
		text += "\nTHIS DOES NOT BALANCE: stop trackd and run trackd check"
	}
	return text
}
