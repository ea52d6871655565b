package main

import (
	"os"
	"path/filepath"
	"time"
)

const (
	idleTimes     = 5 // an idle measurement is longer than others by this
	startsCounted = 11
)

// idling measures a daemon that has nothing to do but to look for its
// destination now and then, if count events wait for it.
func idling(count int) func(*turn) (figures, error) {
	return func(t *turn) (figures, error) {
		dir, err := t.filled(count)
		if err != nil {
			return nil, err
		}
		s, err := t.serveTrackd(dir)
		if err != nil {
			return nil, err
		}
		got, err := t.watchIdle(s, dir)
		if err != nil {
			return nil, err
		}
		return got, t.stop(s)
	}
}

func (t *turn) watchIdle(s *server, dir string) (figures, error) {
	pid := s.cmd.Process.Pid
	if err := t.wait(t.Time); err != nil { // for what a start leaves to do
		return nil, err
	}
	before, err := cpuOf(pid)
	if err != nil {
		return nil, err
	}
	if err := t.wait(idleTimes * t.Time); err != nil {
		return nil, err
	}
	after, err := cpuOf(pid)
	if err != nil {
		return nil, err
	}
	memory, err := memoryOf(pid)
	if err != nil {
		return nil, err
	}
	mib, err := diskOf(dir)
	return figures{counted: 1, idle: (after - before).Seconds(), disk: mib}.with(memory), err
}

func (t *turn) wait(length time.Duration) error {
	select {
	case <-time.After(length):
		return nil
	case <-t.ctx.Done():
		return t.ctx.Err()
	}
}

// starting measures how long a daemon takes to serve on a queue that was empty
// when it last stopped, and looks at its program.
func starting(t *turn) (figures, error) {
	dir := filepath.Join(t.dir, "queue")
	var times []float64
	for range 1 + startsCounted {
		s, err := t.serveTrackd(dir)
		if err != nil {
			return nil, err
		}
		times = append(times, 1000*s.ready.Seconds())
		if err := t.stop(s); err != nil {
			return nil, err
		}
	}
	program, err := os.Stat(t.binary)
	if err != nil {
		return nil, err
	}
	return figures{counted: startsCounted, ready: median(times[1:]), binary: float64(program.Size()) / (1 << 20)}, nil
}
