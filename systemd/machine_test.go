//go:build boot

package systemd_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"trackd/internal/sandbox"
)

// patience bounds every wait.
const patience = time.Minute

// machine is the system under test, with the destination beside it.
type machine struct {
	*testing.T // of the part being told
	box        *sandbox.Server
	upstream   string // of box
	key        string // the only one box takes
	crowd      *crowd
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{T: t, key: "key-from-the-credential-store", crowd: newCrowd()}
	box, err := sandbox.New(sandbox.Options{Key: m.key, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(box)
	t.Cleanup(server.Close)
	m.box, m.upstream = box, server.URL+"/v1"
	return m
}

// configure writes a configuration that points to the sandbox.
func (m *machine) configure(more string) {
	m.Helper()
	if !strings.Contains(more, "sender:") {
		more += "\nsender: {rate: 1000}"
	}
	text := fmt.Sprintf("upstream: {url: %q}\n%s\n", m.upstream, more)
	writeFile(m.T, configFile, text, 0o644)
}

// trouble makes the destination misbehave, or with "" behave.
func (m *machine) trouble(text string) {
	m.Helper()
	var trouble sandbox.Trouble
	var err error
	if text != "" {
		trouble, err = sandbox.ParseTrouble([]byte(text))
	}
	if err == nil {
		err = m.box.SetTrouble(trouble)
	}
	if err != nil {
		m.Fatal(err)
	}
}

// property is what systemd says of the service.
func (m *machine) property(name string) string {
	m.Helper()
	said, err := shell("systemctl show -P " + name + " trackd.service") // not in the transcript: it is polled
	if err != nil {
		m.Fatal(err)
	}
	return said
}

// restarts is how often systemd has started it by itself since an operator did.
func (m *machine) restarts() int {
	m.Helper()
	n, err := strconv.Atoi(m.property("NRestarts"))
	if err != nil {
		m.Fatal(err)
	}
	return n
}

func (m *machine) awaitActive() {
	m.Helper()
	m.until("trackd to be active", func() bool { return m.property("ActiveState") == "active" })
}

// awaitDelivered waits until every acknowledged event has arrived.
func (m *machine) awaitDelivered() {
	m.Helper()
	m.until("every acknowledged event to arrive", func() bool { return len(m.crowd.missing(m.box.IDs())) == 0 })
}

func (m *machine) untilStatus(pattern string) {
	m.Helper()
	match := regexp.MustCompile(pattern)
	last := ""
	defer func() {
		if m.Failed() {
			m.Logf("the last status was %q", last)
		}
	}()
	m.until("a status like "+pattern, func() bool {
		last = m.property("StatusText")
		return match.MatchString(last)
	})
}

// until polls: systemd is watched from outside.
func (m *machine) until(what string, done func() bool) {
	m.Helper()
	late := time.After(patience)
	for tick := time.Tick(50 * time.Millisecond); !done(); {
		select {
		case <-tick:
		case <-late:
			m.Fatalf("waited %v for %s", patience, what)
		}
	}
}

func (m *machine) get(url string) string {
	m.Helper()
	resp, err := http.Get(url)
	if err != nil {
		m.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		m.Fatal(err)
	}
	return string(body)
}

// run runs a command that must succeed and returns what it said.
func run(t *testing.T, command string) string {
	t.Helper()
	said, err := shell(command)
	t.Logf("# %s\n%s", command, said)
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, said)
	}
	return said
}

// tryRun is run for a command that may fail, and that is asked often.
func tryRun(command string) string {
	said, _ := shell(command) // what it said is judged
	return said
}

func shell(command string) (string, error) {
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "PATH=/usr/sbin:/usr/bin:/sbin:/bin")
	said, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(said)), err
}

func want(t *testing.T, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Errorf("got %s\nwant %s", got, pattern)
	}
}

func writeFile(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
