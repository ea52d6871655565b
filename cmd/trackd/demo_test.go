package main

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"trackd/internal/sandbox"
)

// newDemo sets a demo up against a sandbox with t's trouble, as demoCmd.Run
// does, with the daemon running.
func newDemo(t *testing.T, out *bytes.Buffer) *demo {
	t.Helper()
	dir, err := os.MkdirTemp("", "trackd-demo-test-") // not t.TempDir: a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w := &world{ctx: t.Context(), environ: os.Environ(), stdout: out, stderr: out}
	d := &demo{world: w, dir: dir, sock: filepath.Join(dir, "events.sock")}
	stop, err := d.setUp()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	if err := d.startChild(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.child.kill() })
	return d
}

// TestTheDemoFailsWhenAnEventIsMissing has the stand-in answer 200 for one
// event and drop it: to the daemon all is well, and only the account can tell.
func TestTheDemoFailsWhenAnEventIsMissing(t *testing.T) {
	for _, test := range []struct {
		name    string
		dropped []string
		code    int
		says    []string
	}{
		{"nothing", nil, exitOK, []string{"missing                           0", "it balances"}},
		{"one", []string{"socket-0003"}, exitFailure, []string{"missing                           1", "1 acknowledged events never arrived: socket-0003"}},
		{"one of each door", []string{"http-0006", "socket-0000"}, exitFailure, []string{"2 acknowledged events never arrived", "http-0006", "socket-0000"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			d := newDemo(t, &out)
			var lossy sandbox.Trouble
			for _, id := range test.dropped {
				lossy = append(lossy, sandbox.Rule{Match: sandbox.Match{MessageID: id}, Do: sandbox.Action{Status: http.StatusOK}})
			}
			if err := d.box.SetTrouble(lossy); err != nil {
				t.Fatal(err)
			}
			if err := d.overSocket(lifecycle("socket", 7)); err != nil {
				t.Fatal(err)
			}
			if err := d.overHTTP(lifecycle("http", 7)); err != nil {
				t.Fatal(err)
			}
			until(t, "all calls to be answered", func() bool { return d.box.Received().Calls == 14 })
			if code := report(&out, d.account()); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			for _, text := range test.says {
				if !strings.Contains(out.String(), text) {
					t.Errorf("it does not say %q:\n%s", text, &out)
				}
			}
			if fine := strings.Contains(out.String(), "it balances"); fine != (test.code == exitOK) {
				t.Errorf("it says that it balances: %t", fine)
			}
		})
	}
}

// TestTheDemoFailsWhenTheFilesDisagree has one event stay in the queue: it is
// neither missing nor delivered twice, and the files say more than they should.
func TestTheDemoFailsWhenTheFilesDisagree(t *testing.T) {
	var out bytes.Buffer
	d := newDemo(t, &out)
	if err := d.box.SetTrouble(trouble("answer_lost")); err != nil {
		t.Fatal(err)
	}
	if err := d.overSocket(lifecycle("socket", 1)); err != nil {
		t.Fatal(err)
	}
	until(t, "the event to arrive", func() bool { return slices.Equal(d.missing(), []string{}) })
	if code := report(&out, d.account()); code != exitFailure || !strings.Contains(out.String(), "the queue's files do not agree") {
		t.Errorf("exit code %d, want %d:\n%s", code, exitFailure, &out)
	}
}
