package main

import (
	"errors"
	"fmt"
	"io/fs"

	"trackd/admin"
	"trackd/internal/status"
	"trackd/queue/boltqueue"
)

type checkCmd struct {
	Dir  string `arg:"" optional:"" type:"path" placeholder:"DIR" help:"The queue's directory. Default: queue.dir of the configuration."`
	JSON bool   `name:"json" help:"Print the report as JSON."`
}

// checked is the report as JSON.
type checked struct {
	Dir      string           `json:"dir"`
	Account  status.Account   `json:"account"`
	Segments []checkedSegment `json:"segments"`
	Problems []string         `json:"problems"`
}

type checkedSegment struct {
	File    string         `json:"file"`
	Bytes   int64          `json:"bytes"`
	Account status.Account `json:"account"`
	Problem string         `json:"problem,omitempty"`
}

// Run reads every byte of a queue at rest and changes nothing.
func (c checkCmd) Run(w *world) error {
	dir := c.Dir
	if dir == "" {
		cfg, err := w.config(true)
		if err != nil {
			return err
		}
		dir = cfg.Queue.Dir
	}
	report, err := boltqueue.Check(w.ctx, dir, func(done, total int) { w.tell("%d of %d files read", done, total) })
	w.tell("")
	switch {
	case errors.Is(err, boltqueue.ErrLocked):
		return &fault{code: exitFailure, err: err, hint: "check reads a queue at rest: stop the daemon first, or ask it with trackd status"}
	case errors.Is(err, fs.ErrNotExist):
		return &fault{code: exitUsage, err: err, hint: "name the directory, or set queue.dir"}
	case errors.Is(err, fs.ErrPermission):
		return &fault{code: exitFailure, err: err, hint: "run it as the user the queue belongs to"}
	case err != nil:
		return err
	case len(report.Segments) == 0:
		return &fault{code: exitFailure, err: fmt.Errorf("check: there is no queue in %s", dir), hint: "name the directory, or set queue.dir"}
	}
	if err := c.print(w, dir, report); err != nil {
		return err
	}
	if n := len(report.Problems); n > 0 {
		return &fault{code: exitFailure, err: fmt.Errorf("check: %s", count(n, "problem")),
			hint: "start trackd on it all the same: it sets aside what is damaged and saves what can be read; keep a copy first"}
	}
	return nil
}

func (c checkCmd) print(w *world, dir string, r boltqueue.Report) error {
	if c.JSON {
		out := checked{Dir: dir, Account: status.Account(r.Account), Segments: []checkedSegment{}, Problems: append([]string{}, r.Problems...)}
		for _, s := range r.Segments {
			out.Segments = append(out.Segments, checkedSegment{File: s.File, Bytes: s.Bytes, Account: status.Account(s.Account), Problem: s.Problem})
		}
		return admin.EncodeLine(w.stdout, out)
	}
	for _, p := range r.Problems {
		fmt.Fprintln(w.stdout, printable(p))
	}
	fmt.Fprintf(w.stdout, "%s read, %s\n", count(len(r.Segments), "file"), size(bytesOf(r)))
	fmt.Fprintln(w.stdout, status.Account(r.Account))
	if len(r.Problems) > 0 {
		return nil
	}
	_, err := fmt.Fprintln(w.stdout, "nothing is wrong")
	return err
}

func bytesOf(r boltqueue.Report) (n int64) {
	for _, s := range r.Segments {
		n += s.Bytes
	}
	return n
}
