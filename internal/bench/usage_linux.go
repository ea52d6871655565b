package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

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

// memoryOf returns the memory of process pid, see proc_pid_status(5).
func memoryOf(pid int) (figures, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	f := figures{}
	for line := range strings.Lines(string(text)) {
		field, value, _ := strings.Cut(line, ":")
		name, wanted := map[string]string{"RssAnon": anonymous, "VmRSS": resident}[field]
		if !wanted {
			continue
		}
		var kib float64
		if _, err := fmt.Sscan(value, &kib); err != nil {
			return nil, fmt.Errorf("read %s of process %d: %w", field, pid, err)
		}
		f[name] = kib / 1024
	}
	return f, nil
}

// syncData makes what was written to f durable.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
