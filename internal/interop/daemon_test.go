package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trackd/internal/status"
)

// patience bounds every wait for something that must happen.
const patience = 30 * time.Second

// program is the path of the trackd built for this run. TestMain sets it
// before any test and nobody does afterwards.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "trackd-interop-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "trackd")
		build := exec.Command("go", "build", "-o", program, "trackd/cmd/trackd")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build trackd: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// daemon is trackd as a process, which may be ended and started again on the
// same queue and the same addresses.
type daemon struct {
	t        testing.TB
	http     string // host:port of the HTTP door
	ops      string // host:port of the operator's pages
	socket   string // NDJSON
	httpSock string // HTTP
	env      []string
	log      journal
	cmd      *exec.Cmd // nil while it does not run
}

// startDaemon starts trackd in front of upstream, a base URL, with further
// settings as NAME=value.
func startDaemon(t testing.TB, upstream string, settings ...string) *daemon {
	t.Helper()
	// Not t.TempDir: the name of a Unix socket may not be long.
	dir, err := os.MkdirTemp("", "trackd-interop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := freePorts(t, 2)
	d := &daemon{t: t, http: ports[0], ops: ports[1],
		socket: filepath.Join(dir, "events.sock"), httpSock: filepath.Join(dir, "http.sock")}
	d.env = append(withoutSettings(os.Environ()),
		"TRACKD_UPSTREAM_URL="+upstream,
		"TRACKD_UPSTREAM_API_KEY=interop-key",
		"TRACKD_CONFIG=", // not the one this host may have
		"TRACKD_QUEUE_DIR="+filepath.Join(dir, "queue"),
		"TRACKD_INGEST_SOCKET="+d.socket,
		"TRACKD_INGEST_HTTP_SOCKET="+d.httpSock,
		"TRACKD_INGEST_HTTP="+d.http,
		"TRACKD_ADMIN_SOCKET="+filepath.Join(dir, "admin.sock"),
		"TRACKD_ADMIN_HTTP="+d.ops,
		"TRACKD_SENDER_RATE=1000",
		"TRACKD_SENDER_RETRY_MIN=50ms",
		"TRACKD_SENDER_RETRY_MAX=1s",
	)
	d.env = append(d.env, settings...)
	t.Cleanup(func() {
		if d.cmd != nil {
			d.kill()
		}
		if t.Failed() {
			t.Logf("trackd wrote:\n%s", d.log.text())
		}
	})
	d.start()
	return d
}

// start starts the process and waits until it answers. More settings replace
// those of before.
func (d *daemon) start(settings ...string) {
	d.t.Helper()
	d.env = append(d.env, settings...) // of two, exec takes the last
	d.cmd = exec.Command(program, "serve")
	d.cmd.Env, d.cmd.Stdout, d.cmd.Stderr = d.env, &d.log, &d.log
	if err := d.cmd.Start(); err != nil {
		d.t.Fatalf("start trackd: %v", err)
	}
	await(d.t, "trackd to answer", func() bool {
		resp, err := http.Get("http://" + d.ops + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// kill ends the process with no chance to clean up.
func (d *daemon) kill() {
	d.t.Helper()
	if err := d.end(syscall.SIGKILL); err == nil {
		d.t.Error("trackd was killed and yet exited 0")
	}
}

// stop ends the process in good order.
func (d *daemon) stop() {
	d.t.Helper()
	if err := d.end(syscall.SIGTERM); err != nil {
		d.t.Errorf("trackd did not stop in good order: %v", err)
	}
}

func (d *daemon) end(sig os.Signal) error {
	cmd := d.cmd
	d.cmd = nil
	return errors.Join(cmd.Process.Signal(sig), cmd.Wait())
}

// status asks trackd what it holds.
func (d *daemon) status() status.Report {
	d.t.Helper()
	var s status.Report
	resp, err := http.Get("http://" + d.ops + "/status")
	if err != nil {
		d.t.Fatalf("ask for the status: %v", err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		d.t.Fatalf("read the status: %v", err)
	}
	return s
}

// awaitDrained waits until nothing is queued, and returns the books, which
// must balance.
func (d *daemon) awaitDrained() status.Report {
	d.t.Helper()
	var s status.Report
	await(d.t, "the queue to drain", func() bool {
		s = d.status()
		return s.Account.Exact && s.Account.Queued == 0 && s.Queue.Held == 0
	})
	if !s.Account.Balances || s.Account.Lost != 0 {
		d.t.Errorf("the books do not balance: %+v", s.Account)
	}
	return s
}

// await polls until done, which must come true.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// journal is what the processes of a daemon wrote.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

// lines returns the lines that hold all of parts.
func (j *journal) lines(parts ...string) []string {
	return slices.DeleteFunc(strings.Split(j.text(), "\n"), func(line string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(line, part) })
	})
}

// freePorts returns n loopback addresses that nobody listens on.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	addresses := make([]string, n)
	for i := range addresses {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		addresses[i] = ln.Addr().String()
	}
	return addresses
}

// withoutSettings is environ without trackd's own variables, so that the tests
// do not depend on how this machine is set up.
func withoutSettings(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(v string) bool { return strings.HasPrefix(v, "TRACKD_") })
}
