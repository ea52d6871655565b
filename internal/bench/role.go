package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// A role is what one process of a measurement does. Servers print a line when
// they are ready and end with SIGTERM; the others print their result as JSON.
func play(ctx context.Context, args []string) error {
	roles := map[string]func(context.Context, []string) error{
		"floor": playFloor, "http": playHTTP, "lines": playLines, "sink": playSink,
		"fill": playFill, "drain": playDrain, "post": playPost,
	}
	role, known := roles[args[0]]
	if !known {
		return fmt.Errorf("no role %q", args[0])
	}
	return role(ctx, args[1:])
}

// server is a process that serves until it is stopped.
type server struct {
	cmd    *exec.Cmd
	socket string // NDJSON
	http   string // address
}

// stop ends the server in good order.
func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := s.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil // a floor dies of it
	}
	return err
}

// start runs a command that prints a line containing ready once it serves.
func (b *bench) start(ready string, env []string, name string, args ...string) (*server, error) {
	s := &server{cmd: exec.CommandContext(b.ctx, name, args...)}
	s.cmd.Env = append(os.Environ(), env...)
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	said := bufio.NewReader(out)
	var all strings.Builder
	for {
		line, err := said.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			return nil, fmt.Errorf("%s did not become ready: %s", filepath.Base(name), all.String())
		}
		if strings.Contains(line, ready) {
			go func() { _, _ = io.Copy(io.Discard, said) }() // ends with the process
			return s, nil
		}
	}
}

// run runs a role to its end and decodes its result.
func (b *bench) run(result any, args ...string) error {
	cmd := exec.CommandContext(b.ctx, b.self, append([]string{"role"}, args...)...)
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%s: %w: %s", args[0], err, exit.Stderr)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return json.Unmarshal(out, result)
}

// fresh returns a new directory.
func (b *bench) fresh() (string, error) { return os.MkdirTemp(b.dir, "run-") }

// serveTrackd starts the real daemon with its line to nowhere, so that what is
// measured is taking events.
func (b *bench) serveTrackd() (*server, error) {
	dir, err := b.fresh()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "events.sock")
	s, err := b.start("trackd is ready", []string{
		"TRACKD_UPSTREAM_URL=http://127.0.0.1:1/v1", "TRACKD_UPSTREAM_API_KEY=bench",
		"TRACKD_QUEUE_DIR=" + filepath.Join(dir, "queue"), "TRACKD_INGEST_SOCKET=" + socket, "TRACKD_INGEST_HTTP=" + address,
		"TRACKD_ADMIN_SOCKET=" + filepath.Join(dir, "admin.sock"), "TRACKD_ADMIN_HTTP=",
	}, b.binary, "serve")
	if err != nil {
		return nil, err
	}
	s.socket, s.http = socket, address
	return s, nil
}

// serveFloor starts the floor of both doors.
func (b *bench) serveFloor() (*server, error) {
	dir, err := b.fresh()
	if err != nil {
		return nil, err
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s, err := b.start("ready", nil, b.self, "role", "floor", dir, address)
	if err != nil {
		return nil, err
	}
	s.socket, s.http = filepath.Join(dir, "events.sock"), address
	return s, nil
}

// http measures events per second of conns connections.
func (b *bench) http(serve func() (*server, error), conns int) (float64, error) {
	got, err := b.load(serve, func(s *server) []string { return []string{"http", s.http, fmt.Sprint(conns), b.time.String()} })
	return got.Rate, err
}

// ack measures the median time of an answer, in milliseconds.
func (b *bench) ack(serve func() (*server, error)) (float64, error) {
	got, err := b.load(serve, func(s *server) []string { return []string{"http", s.http, "1", b.time.String()} })
	return got.P50 * 1000, err
}

// lines measures events per second over the socket.
func (b *bench) lines(serve func() (*server, error)) (float64, error) {
	got, err := b.load(serve, func(s *server) []string { return []string{"lines", s.socket, "4", "256", b.time.String()} })
	return got.Rate, err
}

// load starts a server, runs a client against it and stops it.
func (b *bench) load(serve func() (*server, error), client func(*server) []string) (load, error) {
	var got load
	s, err := serve()
	if err != nil {
		return got, err
	}
	return got, errors.Join(b.run(&got, client(s)...), s.stop())
}
