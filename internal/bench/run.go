package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// nowhere is a base URL at which nobody listens.
	nowhere = "http://127.0.0.1:1/v1"

	// stopTime bounds the end of a server in good order.
	stopTime = 30 * time.Second
)

// run is one measurement of one side: its processes and the directory they
// share. Both are gone when it has ended.
type run struct {
	*bench
	dir   string // fresh
	alive []*server
}

// run measures one side once.
func (b *bench) run(side func(*run) (figures, error)) (got figures, err error) {
	r := &run{bench: b}
	if r.dir, err = os.MkdirTemp(b.queues, "run-"); err != nil {
		return nil, err
	}
	defer func() {
		for len(r.alive) > 0 { // left behind by a measurement that failed
			s := r.alive[0]
			_ = s.cmd.Process.Kill() // it may have died by itself
			_ = r.reap(s)            // an error is that of the kill
		}
		err = errors.Join(err, os.RemoveAll(r.dir))
	}()
	return side(r)
}

// playRole does what one process of a measurement does. Servers print a line
// when they are ready and end with SIGTERM; the others print their figures as
// JSON.
func playRole(ctx context.Context, role string, args []string) error {
	roles := map[string]func(context.Context, []string) error{
		"floor": playFloor, "sink": playSink, "client": playClient, "fill": playFill, "post": playPost,
	}
	play, known := roles[role]
	if !known {
		return fmt.Errorf("no role %q", role)
	}
	return play(ctx, args)
}

// scan reads the arguments of a role into values.
func scan(args []string, values ...any) error {
	if len(args) < len(values) {
		return fmt.Errorf("%d arguments, want %d", len(args), len(values))
	}
	for i, value := range values {
		var err error
		if length, ok := value.(*time.Duration); ok {
			*length, err = time.ParseDuration(args[i])
		} else {
			_, err = fmt.Sscan(args[i], value)
		}
		if err != nil {
			return fmt.Errorf("argument %q: %w", args[i], err)
		}
	}
	return nil
}

// role runs a role in a process of its own to its end and returns its figures.
func (r *run) role(name string, args ...string) (got figures, err error) {
	out, err := exec.CommandContext(r.ctx, r.self, append([]string{"role", name}, args...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("%s: %w: %s", name, err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return got, json.Unmarshal(out, &got)
}

// server is a process that serves until it is stopped.
type server struct {
	cmd    *exec.Cmd
	ready  time.Duration // from its start
	socket string        // NDJSON
	http   string        // address
	out    io.Reader     // its standard output
}

// start runs a command that prints a line containing word once it serves.
func (r *run) start(word string, env []string, name string, args ...string) (*server, error) {
	s := &server{cmd: exec.CommandContext(r.ctx, name, args...)}
	s.cmd.Env = append(os.Environ(), env...)
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if s.out, err = s.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	r.alive = append(r.alive, s)
	said := bufio.NewReader(stderr)
	var all strings.Builder
	for {
		line, err := said.ReadString('\n')
		s.ready = time.Since(begin)
		all.WriteString(line)
		if err != nil {
			return nil, fmt.Errorf("%s did not become ready: %s", filepath.Base(name), all.String())
		}
		if strings.Contains(line, word) {
			go func() { _, _ = io.Copy(io.Discard, said) }() // ends with the process
			return s, nil
		}
	}
}

// stop ends a server in good order.
func (r *run) stop(s *server) error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	defer time.AfterFunc(stopTime, func() { _ = s.cmd.Process.Kill() }).Stop() // seen as an error of reap
	err := r.reap(s)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil // a floor dies of it
	}
	return err
}

// reap waits for the end of a process.
func (r *run) reap(s *server) error {
	r.alive = slices.DeleteFunc(r.alive, func(other *server) bool { return other == s })
	return s.cmd.Wait()
}

// addresses returns where a server may listen: a socket in a directory of its
// own, and n addresses of loopback that were free a moment ago.
func (r *run) addresses(n int) (socket string, free []string, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		defer ln.Close() // only then may the next use it
		free = append(free, ln.Addr().String())
	}
	dir, err := os.MkdirTemp(r.sockets, "")
	return filepath.Join(dir, "events.sock"), free, err
}

// serveTrackd starts the real daemon on the queue in dir, with nobody at its
// upstream, so that what is measured is accepting events.
func (r *run) serveTrackd(dir string) (*server, error) { return r.serve(dir, nowhere) }

// serve starts the real daemon on the queue in dir, which delivers to the
// destination at url as fast as it can, with further settings.
func (r *run) serve(dir, url string, settings ...string) (*server, error) {
	socket, free, err := r.addresses(2)
	if err != nil {
		return nil, err
	}
	s, err := r.start("trackd is ready", append([]string{
		"TRACKD_CONFIG=", "TRACKD_UPSTREAM_URL=" + url, "TRACKD_UPSTREAM_API_KEY=bench", "TRACKD_QUEUE_DIR=" + dir,
		"TRACKD_SENDER_RATE=" + unpaced, "TRACKD_SENDER_BURST=" + unpaced, fmt.Sprintf("TRACKD_SENDER_WORKERS=%d", drainWorkers),
		"TRACKD_INGEST_SOCKET=" + socket, "TRACKD_INGEST_HTTP=" + free[0],
		"TRACKD_ADMIN_SOCKET=" + filepath.Join(filepath.Dir(socket), "admin.sock"), "TRACKD_ADMIN_HTTP=" + free[1],
	}, settings...), r.binary, "serve")
	if err != nil {
		return nil, err
	}
	s.socket, s.http = socket, free[0]
	return s, nil
}

// serveFloor starts the floor of both listeners.
func (r *run) serveFloor(dir string) (*server, error) {
	socket, free, err := r.addresses(1)
	if err != nil {
		return nil, err
	}
	s, err := r.start("ready", nil, r.self, "role", "floor", dir, socket, free[0])
	if err != nil {
		return nil, err
	}
	s.socket, s.http = socket, free[0]
	return s, nil
}

// load runs one client against a fresh server.
func (r *run) load(serve func(r *run, dir string) (*server, error), c client) (figures, error) {
	s, err := serve(r, r.queueDir())
	if err != nil {
		return nil, err
	}
	got, err := r.loadOn(s, c)
	return got, errors.Join(err, r.stop(s))
}

// loadOn runs one client against s and adds what each event cost s.
func (r *run) loadOn(s *server, c client) (figures, error) {
	before, err := cpuOf(s.cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	got, err := r.role("client", c.args(s, r.time)...)
	if err != nil || got[counted] == 0 {
		return got, err
	}
	after, err := cpuOf(s.cmd.Process.Pid)
	got[cpu] = (after - before).Seconds() * 1e6 / got[counted]
	return got, err
}
