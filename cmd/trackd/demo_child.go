package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"trackd/event"
	"trackd/internal/status"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// child is the daemon as a process of its own.
type child struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer // what it wrote; read after wait
	once sync.Once
	err  error
}

// startChild starts the daemon and waits until it is ready.
func (d *demo) startChild() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	c := &child{cmd: exec.Command(exe, "serve"), log: &bytes.Buffer{}}
	c.cmd.Args[0] = "trackd"
	c.cmd.Env, c.cmd.Stdout, c.cmd.Stderr = d.env, c.log, c.log
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start trackd: %w", err)
	}
	d.child = c
	begin := time.Now()
	err = d.until("trackd to be ready", func() (bool, error) {
		resp, err := http.Get("http://" + d.ops + "/readyz")
		if err != nil {
			return false, c.alive()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
	if err != nil {
		return errors.Join(err, c.kill(), errors.New(c.log.String()))
	}
	d.note("ready after %v, process %d", time.Since(begin).Round(time.Millisecond), c.cmd.Process.Pid)
	return nil
}

// alive returns an error when the process is gone.
func (c *child) alive() error {
	if err := c.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		return fmt.Errorf("trackd ended by itself: %w", err)
	}
	return nil
}

// kill ends the process at once, with no chance to clean up.
func (c *child) kill() error { return c.end(syscall.SIGKILL) }

// terminate asks the process to stop in good order and reports how it went.
func (c *child) terminate() error { return c.end(syscall.SIGTERM) }

func (c *child) end(sig syscall.Signal) error {
	if c == nil {
		return nil
	}
	c.once.Do(func() {
		c.err = c.cmd.Process.Signal(sig)
		err := c.cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && sig == syscall.SIGKILL && exit.ExitCode() < 0 {
			err = nil // it died of what we sent
		}
		c.err = errors.Join(c.err, err)
	})
	return c.err
}

// overSocket sends events as an app would: lines, half-close, last reply.
func (d *demo) overSocket(events []event.Event) error {
	raw, err := net.Dial("unix", d.sock)
	if err != nil {
		return err
	}
	conn := raw.(*net.UnixConn)
	defer conn.Close()
	var lines bytes.Buffer
	for _, ev := range events {
		lines.Write(append(ev.Body, '\n'))
	}
	if _, err := conn.Write(lines.Bytes()); err != nil {
		return fmt.Errorf("write to the socket: %w", err)
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	got, err := listenReplies(d.world, conn)
	if err != nil || got.Accepted != uint64(len(events)) {
		return fmt.Errorf("socket: %d of %d accepted: %w", got.Accepted, len(events), err)
	}
	d.acknowledged(events)
	d.note("socket: {\"accepted\":%d}", got.Accepted)
	return nil
}

// overHTTP posts events one by one.
func (d *demo) overHTTP(events []event.Event) error {
	for i, ev := range events {
		resp, err := http.Post("http://"+d.http+"/v1/track", "application/json", bytes.NewReader(ev.Body))
		if err != nil {
			return err
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("http: event %d: %s: %s", i, resp.Status, answer)
		}
	}
	d.acknowledged(events)
	d.note("http: %d × 200 {}", len(events))
	return nil
}

func (d *demo) acknowledged(events []event.Event) {
	for _, ev := range events {
		d.ids = append(d.ids, ev.ID)
	}
}

// missing returns the acknowledged events the sandbox has not received.
func (d *demo) missing() []string {
	received := d.box.IDs()
	return slices.DeleteFunc(slices.Clone(d.ids), func(id string) bool { return received[id] > 0 })
}

// awaitReceived waits until the sandbox has every acknowledged event.
func (d *demo) awaitReceived(what string) error {
	begin := time.Now()
	err := d.until("all events to be delivered", func() (bool, error) { return len(d.missing()) == 0, nil })
	if err != nil {
		return err
	}
	d.note("all %d events %s after %v", len(d.ids), what, time.Since(begin).Round(time.Millisecond))
	return nil
}

// showBacklog asks the daemon what it holds.
func (d *demo) showBacklog() error {
	var s status.Report
	err := d.until("the status", func() (bool, error) {
		resp, err := http.Get("http://" + d.ops + "/status")
		if err != nil {
			return false, err
		}
		defer resp.Body.Close()
		return true, json.NewDecoder(resp.Body).Decode(&s)
	})
	if err != nil {
		return err
	}
	line := "the upstream is " + string(s.Upstream.State)
	if s.Upstream.Why != "" {
		line += ": " + s.Upstream.Why
	}
	d.note("queued on disk: %d; %s", s.Account.Queued, line)
	return nil
}

// until polls until done says so, for at most demoPatience.
func (d *demo) until(what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(d.ctx, demoPatience)
	defer cancel()
	for tick := time.Tick(10 * time.Millisecond); ; {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return fmt.Errorf("waited %v for %s", demoPatience, what)
		}
	}
}

// account stops the daemon and compares three books: what the app was told,
// what the sandbox received, and what the queue's files say.
func (d *demo) account() error {
	d.say("trackd is stopped (SIGTERM); the account:")
	if err := d.child.terminate(); err != nil {
		return fmt.Errorf("trackd did not stop in good order: %w\n%s", err, d.child.log)
	}
	q, err := boltqueue.Open(boltqueue.Options{Dir: d.queueDir()})
	if err != nil {
		return err
	}
	var s queue.Stats
	err = d.until("the queue's books", func() (bool, error) {
		var err error
		s, err = q.Stats(d.ctx)
		return s.Exact, err
	})
	if err = errors.Join(err, q.Close()); err != nil {
		return err
	}
	received, missing := d.box.Received(), d.missing()
	d.note("the app was told yes for      %5d events", len(d.ids))
	d.note("the stand-in received         %5d different events, %d of them more than once", received.Unique, received.Duplicates)
	d.note("missing                       %5d", len(missing))
	d.note("the queue's files say: taken %d = queued %d + delivered %d + dead %d + discarded %d + lost %d",
		s.Taken, s.Queued, s.Delivered, s.Dead, s.Discarded, s.Lost)
	switch {
	case len(missing) > 0:
		return &fault{code: exitFailure, err: fmt.Errorf("demo: %d acknowledged events never arrived: %s", len(missing), strings.Join(missing[:min(5, len(missing))], " "))}
	case !s.Balances() || s.Queued+s.Dead+s.Lost != 0:
		return &fault{code: exitFailure, err: errors.New("demo: the queue's files do not agree")}
	}
	d.note("it balances (a file goes, with its account, once all in it is delivered)")
	return nil
}

// freePorts returns n loopback addresses that nobody listens on.
func freePorts(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		addresses[i] = ln.Addr().String()
	}
	return addresses, nil
}

// withoutSettings is environ without trackd's own variables, so that the demo
// does not depend on how this machine is set up.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, "TRACKD_") })
}
