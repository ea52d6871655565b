package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// Report is what Check found.
type Report struct {
	Segments []SegmentReport
	Account  queue.Account // of all segments that could be read
	Problems []string      // everything that is off, in words; empty when all is well
}

// SegmentReport is what Check found in one file.
type SegmentReport struct {
	File    string // its name in the directory
	Bytes   int64  // its length
	Account queue.Account
	Problem string // "" when every page, checksum, mark and the book are right
}

// Check reads every file of a queue at rest and changes nothing: every page,
// every checksum, every mark, every book, and the conservation law. progress,
// if not nil, is told after each file. Errors: ErrLocked while a process has
// the queue; what keeps the directory from being read. What is wrong with the
// content is in the report.
func Check(ctx context.Context, dir string, progress func(done, total int)) (Report, error) {
	if _, err := os.Stat(dir); err != nil {
		return Report{}, fmt.Errorf("check the queue: %w", err)
	}
	held, err := lock(dir)
	if err != nil {
		return Report{}, fmt.Errorf("check the queue: %w", err)
	}
	defer func() { _ = unlock(held) }() // the lock goes with the process at the latest
	numbers, err := segment.SegmentNumbers(dir)
	if err != nil {
		return Report{}, fmt.Errorf("check the queue: %w", err)
	}
	var r Report
	for i, n := range numbers {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		r.add(checkSegment(dir, n))
		if progress != nil {
			progress(i+1, len(numbers))
		}
	}
	if !r.Account.Balances() {
		r.Problems = append(r.Problems, fmt.Sprintf("the account does not balance: %+v", r.Account))
	}
	bad, err := setAsideFiles(dir)
	for _, name := range bad {
		r.Problems = append(r.Problems, name+" was set aside as damaged")
	}
	return r, err
}

func (r *Report) add(s SegmentReport) {
	r.Segments = append(r.Segments, s)
	r.Account = r.Account.Add(s.Account)
	if s.Problem != "" {
		r.Problems = append(r.Problems, s.File+": "+s.Problem)
	}
}

func checkSegment(dir string, number uint64) SegmentReport {
	s := segment.NewFile(dir, number, nil, false)
	report := SegmentReport{File: filepath.Base(s.Path)}
	if info, err := os.Stat(s.Path); err == nil {
		report.Bytes = info.Size()
	}
	in, err := s.Verify()
	if err != nil {
		report.Problem = err.Error()
	}
	report.Account = accountOf(in.Counters)
	return report
}

// setAsideFiles lists the files of dir that were set aside as damaged.
func setAsideFiles(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.seg.bad*"))
	var names []string
	for _, p := range paths {
		if filepath.Ext(p) != ".txt" {
			names = append(names, filepath.Base(p))
		}
	}
	return names, err
}

// Alive reports whether the writer still turns: it returns nil once the writer
// has come round, and an error when ctx ends first or the queue is closed.
func (q *Queue) Alive(ctx context.Context) error {
	turned := make(chan struct{})
	select {
	case q.ops <- func() { close(turned) }:
	case <-q.stop:
		return queue.ErrClosed
	case <-ctx.Done():
		return errors.Join(errors.New("the queue's writer does not turn"), ctx.Err())
	}
	<-turned
	return nil
}
