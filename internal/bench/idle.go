package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	idleTimes     = 5 // an idle measurement is longer than others by this
	startsCounted = 11
)

// idling measures a daemon that has nothing to do but to look for its
// destination now and then, if count events wait for it.
func idling(count int) func(*run) (figures, error) {
	return func(r *run) (figures, error) {
		dir := r.queueDir()
		if err := r.prepareQueue(dir, 0, count); err != nil {
			return nil, err
		}
		s, err := r.serveTrackd(dir)
		if err != nil {
			return nil, err
		}
		pid := s.cmd.Process.Pid
		if err := r.wait(r.time); err != nil { // for what a start leaves to do
			return nil, err
		}
		before, err := cpuOf(pid)
		if err != nil {
			return nil, err
		}
		if err := r.wait(idleTimes * r.time); err != nil {
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
		if err != nil {
			return nil, err
		}
		return figures{counted: 1, idle: (after - before).Seconds(), disk: mib}.with(memory), r.stop(s)
	}
}

func (r *run) wait(length time.Duration) error {
	select {
	case <-time.After(length):
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// diskOf returns the MiB allocated to the files below dir, reservations
// included.
func diskOf(dir string) (float64, error) {
	var blocks int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			blocks += stat.Blocks
		}
		return nil
	})
	return float64(blocks) * 512 / (1 << 20), err
}

// starting measures how long a daemon takes to serve on a queue that was empty
// when it last stopped, and looks at its program.
func starting(r *run) (figures, error) {
	var times []float64
	for range 1 + startsCounted {
		s, err := r.serveTrackd(r.queueDir())
		if err != nil {
			return nil, err
		}
		times = append(times, 1000*s.ready.Seconds())
		if err := r.stop(s); err != nil {
			return nil, err
		}
	}
	program, err := os.Stat(r.binary)
	if err != nil {
		return nil, err
	}
	return figures{counted: startsCounted, ready: median(times[1:]), binary: float64(program.Size()) / (1 << 20)}, nil
}
