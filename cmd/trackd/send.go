package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// progressEvery is how often a watching terminal is told.
const progressEvery = 200 * time.Millisecond

type sendCmd struct {
	Files  []string `arg:"" optional:"" type:"existingfile" placeholder:"FILE" help:"Files to send; standard input without any."`
	Socket string   `placeholder:"PATH" help:"The daemon's event socket. Default: ingest.socket of the configuration."`
	JSON   bool     `name:"json" help:"Print the result as JSON."`
}

// sent is what the daemon said of everything sent: the last of its cumulative
// replies.
type sent struct {
	Accepted uint64 `json:"accepted"`
	Rejected uint64 `json:"rejected"`
	Refused  uint64 `json:"refused"`
}

func (s sent) total() uint64 { return s.Accepted + s.Rejected + s.Refused }

// Run streams events to the daemon and exits 0 only if all were accepted.
func (c sendCmd) Run(w *world) error {
	conn, err := c.dial(w)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(w.ctx, func() { conn.Close() })()

	got, err := c.stream(w, conn)
	if err := c.print(w, got); err != nil {
		return err
	}
	switch {
	case w.ctx.Err() != nil:
		return &fault{code: exitFailure, err: errors.New("interrupted: what was not answered may or may not have been kept")}
	case err != nil:
		return &fault{code: exitFailure, err: fmt.Errorf("send: %w", err)}
	case got.Refused > 0:
		return &fault{code: exitFailure, err: fmt.Errorf("%d of %d events were refused and are not kept", got.Refused, got.total()),
			hint: "send them again when the queue has room"}
	case got.Rejected > 0:
		return &fault{code: exitFailure, err: fmt.Errorf("%d of %d events were rejected; they are kept as dead letters", got.Rejected, got.total())}
	}
	return nil
}

// dial connects to the daemon's event socket.
func (c sendCmd) dial(w *world) (*net.UnixConn, error) {
	path := c.Socket
	if path == "" {
		cfg, err := w.config(true)
		if err != nil {
			return nil, err
		}
		path = cfg.Ingest.Socket
	}
	if path == "" {
		return nil, &fault{code: exitUsage, err: errors.New("ingest.socket is turned off"), hint: "name a socket with --socket"}
	}
	conn, err := new(net.Dialer).DialContext(w.ctx, "unix", path)
	if err == nil {
		return conn.(*net.UnixConn), nil
	}
	hint := "is it running? trackd serve starts it; --socket or --config says where it listens"
	ask, cancel := context.WithTimeout(w.ctx, healthTimeout)
	defer cancel()
	if errors.Is(err, os.ErrPermission) {
		hint = "the socket lets its owner and group in: join the group that ls -l shows for " + path
	} else if s, statusErr := w.status(ask); statusErr == nil && !s.Closed.IsZero() {
		hint = "trackd runs, but takes no events since an operator began to drain it " + ago(s.Closed) + " ago: restart it to take them again"
	}
	return nil, &fault{code: exitUnreachable, err: fmt.Errorf("cannot reach the daemon: %w", err), hint: hint}
}

// stream sends the input and listens for replies at the same time, and returns
// the last counts.
func (c sendCmd) stream(w *world, conn *net.UnixConn) (sent, error) {
	var lines atomic.Uint64
	stop := showProgress(w.stderr, &lines)
	defer stop()
	var group errgroup.Group
	group.Go(func() error {
		err := c.copyInput(w, conn, &lines)
		return errors.Join(err, conn.CloseWrite())
	})
	got, heard := listenReplies(w, conn)
	if heard == nil && group.Wait() == nil {
		return got, nil
	}
	if heard != nil {
		conn.Close() // wakes the writer
	}
	return got, cmp.Or(heard, group.Wait())
}

// copyInput sends every file, or standard input, and counts lines as they go.
func (c sendCmd) copyInput(w *world, conn io.Writer, lines *atomic.Uint64) error {
	out := &lineCounter{to: conn, lines: lines}
	if len(c.Files) == 0 {
		_, err := io.Copy(out, w.stdin)
		return err
	}
	for _, name := range c.Files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, f)
		f.Close()
		if err == nil {
			err = out.endLine()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// lineCounter counts the lines that pass.
type lineCounter struct {
	to    io.Writer
	lines *atomic.Uint64
	last  byte
}

func (c *lineCounter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	for _, b := range p[:n] {
		if b == '\n' {
			c.lines.Add(1)
		}
		c.last = b
	}
	return n, err
}

// endLine ends a last line that has no newline, so that the next file begins
// on a line of its own.
func (c *lineCounter) endLine() error {
	if c.last == 0 || c.last == '\n' {
		return nil
	}
	_, err := c.Write([]byte("\n"))
	return err
}

// listenReplies prints what the daemon says of single lines and returns its
// last counts when it closes the connection.
func listenReplies(w *world, conn io.Reader) (last sent, err error) {
	in := bufio.NewScanner(conn)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var reply struct {
			sent
			Line    uint64 `json:"line"`
			Code    string `json:"code"`
			Message string `json:"message"`
		}
		if err := json.Unmarshal(in.Bytes(), &reply); err != nil {
			return last, fmt.Errorf("the daemon's reply %.80q: %w", in.Text(), err)
		}
		switch {
		case reply.Line > 0:
			fmt.Fprintf(w.stderr, "line %d: %s\n", reply.Line, printable(reply.Message))
		case reply.Code != "":
			fmt.Fprintf(w.stderr, "%s: %s\n", printable(reply.Code), printable(reply.Message))
		default:
			last = reply.sent
		}
	}
	return last, in.Err()
}

func (c sendCmd) print(w *world, got sent) error {
	if c.JSON {
		return json.NewEncoder(w.stdout).Encode(got)
	}
	_, err := fmt.Fprintf(w.stdout, "%d accepted, %d rejected, %d refused\n", got.Accepted, got.Rejected, got.Refused)
	return err
}

// showProgress tells a terminal how many lines went and how fast, until stop
// is called. Nothing is told to a pipe.
func showProgress(to io.Writer, lines *atomic.Uint64) (stop func()) {
	if !isTerminal(to) {
		return func() {}
	}
	done, begin := make(chan struct{}), time.Now()
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n := lines.Load()
				fmt.Fprintf(to, "\r%d events sent, %.0f/s ", n, float64(n)/time.Since(begin).Seconds())
			case <-done:
				fmt.Fprint(to, "\r\033[K")
				return
			}
		}
	})
	return func() { close(done); watch.Wait() }
}
