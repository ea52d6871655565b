package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of these tests. It is long because it is only
// ever used up by a failure.
const patience = 30 * time.Second

// TestMain lets this binary be trackd too: run under the name trackd it is the
// program, so that stories and crashes happen to real processes.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"trackd": main,
		"http":   httpMain,
	})
}

// TestStories plays every file of testdata/script: a story tells what a person
// types and what they see.
func TestStories(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		Setup:               setUpStory,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits,
		},
	})
}

// setUpStory gives a story its own addresses, and the environment of a user
// without a home.
func setUpStory(env *testscript.Env) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"TRACKD_CONFIG":         "", // not the one this host may have
		"CREDENTIALS_DIRECTORY": env.WorkDir,
		"SOCK":                  filepath.Join(env.WorkDir, "events.sock"),
		"OPS":                   "unix:" + filepath.Join(env.WorkDir, "admin.sock"),
		"HTTP":                  ports[0],
		"UPSTREAM":              ports[1],
		"TRACKD_QUEUE_DIR":      filepath.Join(env.WorkDir, "queue"),
		"TRACKD_INGEST_SOCKET":  filepath.Join(env.WorkDir, "events.sock"),
		"TRACKD_INGEST_HTTP":    ports[0],
		"TRACKD_ADMIN_SOCKET":   filepath.Join(env.WorkDir, "admin.sock"),
		"TRACKD_ADMIN_HTTP":     ports[2],
		"TRACKD_SENDER_RATE":    "1000",
		"XDG_STATE_HOME":        filepath.Join(env.WorkDir, "state"),
		"XDG_RUNTIME_DIR":       env.WorkDir,
		"TRACKD_LOG_FORMAT":     "text",
		"TRACKD_SENDER_WORKERS": "4",
	} {
		env.Setenv(name, value)
	}
	return nil
}

// exits runs a program that must end with the exit code given first:
// exits CODE program [args...].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, err := 0, ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// until polls until done says so, and fails the test after patience.
func until(tb testing.TB, what string, done func() bool) {
	tb.Helper()
	late := time.After(patience)
	for tick := time.Tick(5 * time.Millisecond); !done(); {
		select {
		case <-tick:
		case <-late:
			tb.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// unixClient returns a client that calls whoever listens at path, whatever
// host the address names.
func unixClient(path string) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}, Timeout: patience}
}

// lifecycleLine returns a good event under id.
func lifecycleLine(id string) string {
	return fmt.Sprintf(`{"event":"Application Opened","messageId":%q,"userId":"ann"}`, id)
}
