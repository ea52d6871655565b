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
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// turn is one measurement of one side: its processes and the directory they
// share. Both are gone when it has ended.
type turn struct {
	*bench
	dir string // fresh; queues lie in it

	mu    sync.Mutex
	alive []*server // guarded by mu
}

// take takes one turn.
func (b *bench) take(side func(*turn) (figures, error)) (got figures, err error) {
	t := &turn{bench: b}
	if t.dir, err = os.MkdirTemp(b.queues, "turn-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	return side(t)
}

// end kills what a failed measurement has left behind.
func (t *turn) end() error {
	for len(t.alive) > 0 { // nobody else is at work anymore
		s := t.alive[0]
		_ = s.cmd.Process.Kill() // it may have died by itself
		_ = t.reap(s)            // of a kill
	}
	return os.RemoveAll(t.dir)
}

// play plays a role: what one process of a measurement does. Servers print a
// line when they are ready and end with SIGTERM; the others print their figures
// as JSON.
func play(ctx context.Context, role string, args []string) error {
	roles := map[string]func(context.Context, []string) error{
		"floor": playFloor, "sink": playSink, "http": playHTTP, "lines": playLines,
		"fill": playFill, "drain": playDrain, "post": playPost,
		"bury": playBury, "stage": playStage,
	}
	act, known := roles[role]
	if !known {
		return fmt.Errorf("no role %q", role)
	}
	return act(ctx, args)
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

// play runs a role to its end and returns its figures.
func (t *turn) play(role string, args ...any) (got figures, err error) {
	words := []string{"role", role}
	for _, arg := range args {
		words = append(words, fmt.Sprint(arg))
	}
	out, err := exec.CommandContext(t.ctx, t.self, words...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("%s: %w: %s", role, err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", role, err)
	}
	return got, json.Unmarshal(out, &got)
}

// server is a process that serves until it is stopped.
type server struct {
	cmd    *exec.Cmd
	ready  time.Duration // from its start
	socket string        // NDJSON
	http   string        // address
	counts string        // URL of a page that counts commits
	name   string        // of that count
}

// start runs a command that prints a line containing word once it serves.
func (t *turn) start(word string, env []string, name string, args ...string) (*server, error) {
	s := &server{cmd: exec.CommandContext(t.ctx, name, args...)}
	s.cmd.Env = append(os.Environ(), env...)
	out, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.alive = append(t.alive, s)
	t.mu.Unlock()
	said := bufio.NewReader(out)
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

// stopTime bounds the end of a server in good order.
const stopTime = 30 * time.Second

// stop ends a server in good order.
func (t *turn) stop(s *server) error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	defer time.AfterFunc(stopTime, func() { _ = s.cmd.Process.Kill() }).Stop() // seen as an error of reap
	err := t.reap(s)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil // a floor dies of it
	}
	return err
}

// reap waits for the end of a process.
func (t *turn) reap(s *server) error {
	t.mu.Lock()
	t.alive = slices.DeleteFunc(t.alive, func(other *server) bool { return other == s })
	t.mu.Unlock()
	return s.cmd.Wait()
}
