package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// sdk is one official SDK for Node.
type sdk struct {
	name    string // as client.mjs knows it
	pkg     string // on npm
	option  string // what an app changes to send to trackd
	batch   int    // events that it sends at once
	patient options
	eager   options
}

// options are settings of an SDK.
type options map[string]any

// sdks lists them, each with the settings that docs/clients.md recommends:
// patient ones outlive a restart of trackd, eager ones keep nothing in the
// app's memory.
func sdks() []sdk {
	return []sdk{
		{"cdp", "@customerio/cdp-analytics-node", "host", 15,
			options{"maxRetries": 1000}, options{"maxEventsInBatch": 1}},
		{"pipelines", "customerio-node", "url", 1,
			options{"retry": options{"maxRetries": 20}}, nil},
		{"segment", "@segment/analytics-node", "host", 15,
			nil, options{"flushAt": 1}},
	}
}

// nodeDir is where the pinned SDKs and their driver lie.
const nodeDir = "testdata/node"

// needSDKs skips the test unless it may use the SDKs, and installs them if
// they are not there yet.
func needSDKs(t testing.TB) {
	t.Helper()
	if !wanted() {
		t.Skip("the official SDKs come from the npm registry: set TRACKD_INTEROP=1 to install and run them")
	}
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on this machine, so the official SDKs cannot run", tool)
		}
	}
	if err := installed(); err != nil {
		t.Skip(err)
	}
}

// wanted reports whether this run may take more than a few seconds.
func wanted() bool {
	return os.Getenv("TRACKD_INTEROP") == "1" || os.Getenv("TRACKD_INTEROP_OUTAGES") != ""
}

// installed installs the SDKs once, as the lock file pins them.
var installed = sync.OnceValue(func() error {
	if isInstalled() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = nodeDir
	if out, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm cannot install the official SDKs, is its registry reachable? %w\n%s", err, out)
	}
	return nil
})

// isInstalled reports whether npm installed after the lock file last changed.
func isInstalled() bool {
	wanted, err := os.Stat(filepath.Join(nodeDir, "package-lock.json"))
	if err != nil {
		return false
	}
	there, err := os.Stat(filepath.Join(nodeDir, "node_modules", ".package-lock.json"))
	return !errors.Is(err, fs.ErrNotExist) && err == nil && !there.ModTime().Before(wanted.ModTime())
}

// plan is what client.mjs is to do.
type plan struct {
	SDK     string  `json:"sdk"`
	URL     string  `json:"url"`
	Events  []call  `json:"events"`
	Every   int64   `json:"every"` // milliseconds between two calls
	Gzip    bool    `json:"gzip"`
	Batch   bool    `json:"batch"`
	Leave   bool    `json:"leave"`
	Options options `json:"options"`
}

// verdict is what the SDK said of one event at last.
type verdict struct {
	User  string
	ID    string // messageId, where the SDK tells it
	OK    bool
	Error string
	MS    int64 // from the call to the verdict
}

// app is a process that uses an SDK.
type app struct {
	t    testing.TB
	cmd  *exec.Cmd
	errs bytes.Buffer  // its standard error; read after gone
	gone chan struct{} // closed when it has ended

	mu       sync.Mutex
	made     int       // calls made; guarded by mu
	verdicts []verdict // guarded by mu
	done     bool      // it said so; guarded by mu
}

// startApp starts the process.
func startApp(t testing.TB, p plan) *app {
	t.Helper()
	input, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	a := &app{t: t, cmd: exec.Command("node", "client.mjs"), gone: make(chan struct{})}
	a.cmd.Dir, a.cmd.Stdin, a.cmd.Stderr = nodeDir, bytes.NewReader(input), &a.errs
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.cmd.Start(); err != nil {
		t.Fatalf("start node: %v", err)
	}
	go func() {
		defer close(a.gone)
		a.listen(bufio.NewScanner(out))
		a.cmd.Wait() // how it ended, the done line tells
	}()
	t.Cleanup(func() {
		a.kill()
		if a.errs.Len() > 0 {
			t.Logf("%s wrote to standard error:\n%s", p.SDK, &a.errs)
		}
	})
	return a
}

// listen takes down what the process says until it ends.
func (a *app) listen(lines *bufio.Scanner) {
	for lines.Scan() {
		var line struct {
			verdict
			Made string
			Done bool
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			a.t.Errorf("client.mjs said %q: %v", lines.Text(), err)
			continue
		}
		a.mu.Lock()
		switch {
		case line.Done:
			a.done = true
		case line.Made != "":
			a.made++
		default:
			a.verdicts = append(a.verdicts, line.verdict)
		}
		a.mu.Unlock()
	}
}

// awaitMade waits until n calls were made.
func (a *app) awaitMade(n int) {
	a.t.Helper()
	await(a.t, fmt.Sprintf("the app to make %d calls", n), func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return a.made >= n
	})
}

// awaitVerdicts waits until the SDK judged n events.
func (a *app) awaitVerdicts(n int) {
	a.t.Helper()
	await(a.t, fmt.Sprintf("%d verdicts of the SDK", n), func() bool { return len(a.sofar()) >= n })
}

// sofar returns the verdicts there are.
func (a *app) sofar() []verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.verdicts)
}

// kill ends the process at once.
func (a *app) kill() {
	a.cmd.Process.Kill() // an error: it has ended
	<-a.gone
}

// finish waits until the process has ended by itself and returns every
// verdict.
func (a *app) finish(within time.Duration) []verdict {
	a.t.Helper()
	select {
	case <-a.gone:
	case <-time.After(within):
		a.kill()
		a.t.Fatalf("the app did not end within %v", within)
	}
	if !a.done {
		a.t.Fatal("the app ended before the SDK had answered for every event")
	}
	return a.sofar()
}

// runApp runs a plan to its end.
func runApp(t testing.TB, p plan) []verdict {
	t.Helper()
	return startApp(t, p).finish(patience)
}

// split returns the users whose events the SDK calls delivered, and the others.
func split(all []verdict) (delivered, failed []string) {
	for _, v := range all {
		if v.OK {
			delivered = append(delivered, v.User)
		} else {
			failed = append(failed, v.User)
		}
	}
	return delivered, failed
}

// reasons counts why events failed.
func reasons(all []verdict) map[string]int {
	counts := map[string]int{}
	for _, v := range all {
		if !v.OK {
			counts[v.Error]++
		}
	}
	return counts
}
