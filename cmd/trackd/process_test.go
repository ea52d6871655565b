package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackd/internal/sandbox"
	"trackd/internal/status"
)

// process is a trackd serve that is a process of its own, on a directory that
// outlives it. The zero exe is this test binary.
type process struct {
	tb   testing.TB
	exe  string
	wrap []string // what to run it under
	dir  string
	env  []string // over what newProcess sets

	cmd   *exec.Cmd     // of the running process; nil: none
	ended chan struct{} // closed when it is gone
	err   error         // of Wait, once ended is closed
}

// newProcess prepares a daemon that sends to upstream. It is not started. At
// the end of the test the process is ended and, after a failure, its log
// printed.
func newProcess(tb testing.TB, upstream string) *process {
	tb.Helper()
	dir, err := os.MkdirTemp("", "trackd-test-") // not tb.TempDir: a socket's path must be short
	if err != nil {
		tb.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		tb.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	d := &process{tb: tb, exe: exe, dir: dir}
	d.env = []string{
		"TRACKD_UPSTREAM_URL=" + upstream,
		"TRACKD_UPSTREAM_API_KEY=test-key",
		"TRACKD_CONFIG=", // not the one this host may have
		"TRACKD_QUEUE_DIR=" + d.path("queue"),
		"TRACKD_INGEST_SOCKET=" + d.path("events.sock"),
		"TRACKD_INGEST_HTTP=",
		"TRACKD_INGEST_HTTP_SOCKET=" + d.path("http.sock"),
		"TRACKD_ADMIN_SOCKET=" + d.path("admin.sock"),
		"TRACKD_ADMIN_HTTP=",
		"TRACKD_SENDER_RATE=1000",
		"TRACKD_SENDER_BURST=1000",
		"TRACKD_SENDER_RETRY_MIN=10ms",
		"TRACKD_SENDER_RETRY_MAX=100ms",
		"TRACKD_SENDER_MAX_ATTEMPTS=1000000",
	}
	tb.Cleanup(d.cleanUp)
	return d
}

func (d *process) cleanUp() {
	d.kill()
	if d.tb.Failed() {
		log, _ := os.ReadFile(d.path("log"))
		lines := strings.Split(string(log), "\n")
		d.tb.Logf("the daemon's last words:\n%s", strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
	if err := os.RemoveAll(d.dir); err != nil {
		d.tb.Error(err)
	}
}

func (d *process) path(name string) string { return filepath.Join(d.dir, name) }

// start starts the process and does not wait for it.
func (d *process) start() {
	d.tb.Helper()
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		d.tb.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(d.exe, "serve")
	cmd.Args[0] = "trackd"
	if len(d.wrap) > 0 {
		cmd = exec.Command(d.wrap[0], append(d.wrap[1:], d.path("trackd"), "serve")...)
	}
	cmd.Env, cmd.Stdout, cmd.Stderr = append(withoutSettings(os.Environ()), d.env...), log, log
	if err := cmd.Start(); err != nil {
		d.tb.Fatal(err)
	}
	ended := make(chan struct{})
	d.cmd, d.ended = cmd, ended
	go func() {
		d.err = cmd.Wait()
		close(ended)
	}()
}

// awaitReady waits until events are accepted.
func (d *process) awaitReady() {
	d.tb.Helper()
	ops := unixClient(d.path("admin.sock"))
	defer ops.CloseIdleConnections()
	until(d.tb, "the daemon to be ready", func() bool {
		if d.gone() {
			d.tb.Fatalf("the daemon ended by itself: %v", d.err)
		}
		resp, err := ops.Get("http://trackd/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// gone reports whether the process has ended.
func (d *process) gone() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// kill ends the process, if there is one, with no chance to clean up.
func (d *process) kill() {
	if d.cmd == nil {
		return
	}
	_ = d.cmd.Process.Kill() // it may be gone already
	<-d.ended
	d.cmd = nil
}

// terminate asks the process to stop and returns its exit code and how long it
// took.
func (d *process) terminate() (code int, took time.Duration) {
	d.tb.Helper()
	begin := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.tb.Fatal(err)
	}
	select {
	case <-d.ended:
	case <-time.After(patience):
		d.tb.Fatalf("the daemon runs %v after SIGTERM", patience)
	}
	d.cmd = nil
	if exit, ok := errors.AsType[*exec.ExitError](d.err); ok {
		return exit.ExitCode(), time.Since(begin)
	} else if d.err != nil {
		d.tb.Fatal(d.err)
	}
	return 0, time.Since(begin)
}

// status asks the daemon what it holds.
func (d *process) status() (s status.Report) {
	d.tb.Helper()
	ops := unixClient(d.path("admin.sock"))
	defer ops.CloseIdleConnections()
	resp, err := ops.Get("http://trackd/status")
	if err != nil {
		d.tb.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		d.tb.Fatal(err)
	}
	return s
}

// awaitDrained waits until nothing is queued.
func (d *process) awaitDrained() {
	d.tb.Helper()
	until(d.tb, "the queue to drain", func() bool {
		s := d.status()
		return s.Account.Exact && s.Account.Queued == 0
	})
}

// awaitTaken waits until n events were taken.
func (d *process) awaitTaken(n uint64) {
	d.tb.Helper()
	until(d.tb, "events to be taken", func() bool { return d.status().Account.Taken == n })
}

// logged returns everything the daemon wrote, over all its lives.
func (d *process) logged() []byte {
	d.tb.Helper()
	log, err := os.ReadFile(d.path("log"))
	if err != nil {
		d.tb.Fatal(err)
	}
	return bytes.TrimSpace(log)
}

// newSandbox serves a sandbox in this process and returns it with the base
// address of its API.
func newSandbox(tb testing.TB) (box *sandbox.Server, url string) {
	tb.Helper()
	box, err := sandbox.New(sandbox.Options{Key: "test-key", Remember: -1})
	if err != nil {
		tb.Fatal(err)
	}
	srv := httptest.NewServer(box)
	tb.Cleanup(srv.Close)
	return box, srv.URL + "/v1"
}
