package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// machine is where the figures come from. All of them wait for its disk.
type machine struct {
	CPUs       int       `json:"cpus"`
	Model      string    `json:"cpu_model,omitempty"`
	Go         string    `json:"go"`
	Platform   string    `json:"platform"`
	Filesystem string    `json:"filesystem"`
	Before     syncStats `json:"fdatasync_before"`
	After      syncStats `json:"fdatasync_after"`
}

// describe looks at the machine and the disk that dir lies on.
func describe(dir string) (m machine, err error) {
	m = machine{CPUs: runtime.NumCPU(), Model: cpuModel(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if m.Filesystem, err = filesystemOf(dir); err != nil {
		return m, err
	}
	m.Before, err = syncTimes(dir)
	return m, err
}

func (m machine) String() string {
	cpus := plural(m.CPUs, "CPU")
	if m.Model != "" {
		cpus += " (" + m.Model + ")"
	}
	return fmt.Sprintf("%s, %s, %s, queues on %s", cpus, m.Go, m.Platform, m.Filesystem)
}

// cpuModel is how the kernel calls the processors, if it does.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// filesystemOf returns the type of the filesystem of dir, from the mount with
// the longest path that leads there, see proc_pid_mountinfo(5).
func filesystemOf(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	longest, kind := "", "an unknown filesystem"
	for line := range strings.Lines(string(text)) {
		mount, about, _ := strings.Cut(line, " - ")
		fields := strings.Fields(mount)
		if len(fields) < 5 || len(strings.Fields(about)) == 0 {
			continue
		}
		at := strings.TrimSuffix(fields[4], "/")
		if len(at) >= len(longest) && strings.HasPrefix(dir+"/", at+"/") { // a later mount hides an earlier one
			longest, kind = at, strings.Fields(about)[0]
		}
	}
	return kind, nil
}

// syncStats is what making one page durable takes, in milliseconds.
type syncStats struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
	Of  int     `json:"of"`
}

func (s syncStats) String() string {
	return fmt.Sprintf("fdatasync of a 4 KiB page there: p50 %.3f ms, p99 %.3f ms of %d", s.P50, s.P99, s.Of)
}

// syncTimes writes a page of a file in dir and calls fdatasync, again and again.
func syncTimes(dir string) (s syncStats, err error) {
	const pages, page = 200, 4 << 10
	f, err := os.CreateTemp(dir, "page-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if _, err = f.Write(make([]byte, pages*page)); err != nil {
		return s, err
	}
	if err = f.Sync(); err != nil { // from here on nothing but pages changes
		return s, err
	}
	times := make([]time.Duration, pages)
	for i := range times {
		begin := time.Now()
		if _, err = f.WriteAt(slices.Repeat([]byte{byte(i + 1)}, page), int64(i)*page); err != nil {
			return s, err
		}
		if err = unix.Fdatasync(int(f.Fd())); err != nil {
			return s, err
		}
		times[i] = time.Since(begin)
	}
	got := timed(pages, times, time.Second)
	return syncStats{P50: got[p50], P99: got[p99], Of: pages}, nil
}
