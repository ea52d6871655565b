package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// usage is what a process has used since its start.
type usage struct {
	cpu     time.Duration
	written float64 // bytes
	commits float64
}

// usageOf returns what process pid has used, commits aside.
func usageOf(pid int) (usage, error) {
	cpu, err := cpuOf(pid)
	if err != nil {
		return usage{}, err
	}
	bytes, err := procField(pid, "io", "write_bytes")
	return usage{cpu: cpu, written: bytes}, err
}

// perEvent returns what each of events cost between two looks.
func (u usage) perEvent(since usage, events float64) figures {
	if events == 0 {
		return nil
	}
	f := figures{cpu: (u.cpu - since.cpu).Seconds() * 1e6 / events}
	if u.written > since.written {
		f[written] = (u.written - since.written) / events
	}
	if u.commits > since.commits {
		f[commits] = (u.commits - since.commits) / events
		f[fsyncs] = 2 * f[commits]
	}
	return f
}

// cpuOf reads the processor clock of process pid, user and system together. It
// is what getrusage tells, but at any time and to the nanosecond. The number of
// such a clock is made as clock_getcpuclockid(3) makes it.
func cpuOf(pid int) (time.Duration, error) {
	const scheduled = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		return 0, fmt.Errorf("read the processor clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// procField returns a number from a file of /proc/PID, see proc(5).
func procField(pid int, file, field string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		var number float64
		if name != field {
			continue
		}
		_, err := fmt.Sscan(value, &number)
		return number, err
	}
	return 0, fmt.Errorf("no %s in /proc/%d/%s", field, pid, file)
}

// memoryOf returns the memory of process pid.
func memoryOf(pid int) (figures, error) {
	f := figures{}
	for name, field := range map[string]string{anonymous: "RssAnon", resident: "VmRSS"} {
		kib, err := procField(pid, "status", field)
		if err != nil {
			return nil, err
		}
		f[name] = kib / 1024
	}
	return f, nil
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
