package interop

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// snippetPages are the pages whose snippets are run.
var snippetPages = []string{"../../README.md", "../../docs/clients.md"}

// runner says how a snippet of one language is run.
type runner struct {
	tool string   // that must be installed
	file string   // what the snippet is saved as
	args []string // of tool, before the file
	slow bool     // it compiles first, for seconds: only with TRACKD_INTEROP=1
}

func runners() map[string]runner {
	return map[string]runner{
		"sh":     {"sh", "snippet.sh", []string{"-eu"}, false},
		"go":     {"go", "snippet.go", []string{"run"}, true},
		"js":     {"node", "snippet.mjs", nil, false},
		"python": {"python3", "snippet.py", nil, false},
		"php":    {"php", "snippet.php", nil, false},
		"ruby":   {"ruby", "snippet.rb", nil, false},
		"java":   {"java", "Snippet.java", nil, true},
	}
}

// snippet is a block of code of the page that says of itself that it is run.
type snippet struct {
	page  string // file name of its page
	name  string // what the comment above it says
	lang  string
	needs []string // tools besides that of the language; sdk: the official SDKs
	code  string
}

// marked finds such blocks:
//
//	<!-- run: a name; needs curl -->
//	```sh
var marked = regexp.MustCompile("(?s)<!-- run: ([^;>]+?)(?:; needs ([a-z ]+?))? -->\n```([a-z]+)\n(.*?)\n```\n")

// snippets reads them from the pages.
func snippets(t testing.TB) []snippet {
	t.Helper()
	var all []snippet
	for _, path := range snippetPages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := marked.FindAllStringSubmatch(string(page), -1)
		for _, m := range found {
			all = append(all, snippet{page: filepath.Base(path), name: m[1], needs: strings.Fields(m[2]), lang: m[3], code: m[4]})
		}
		if comments := strings.Count(string(page), "<!-- run:"); comments != len(found) || comments == 0 {
			t.Fatalf("%s: %d of %d comments <!-- run: --> are followed by a block that can be run", path, len(found), comments)
		}
	}
	return all
}

// title is the name of a subtest.
func (s snippet) title() string { return s.page + "/" + s.lang + "/" + s.name }

// Every snippet sends one event of user-1 to the default addresses; here, to
// those of a trackd of its own.
func TestTheSnippetsOfThePagesWork(t *testing.T) {
	for _, s := range snippets(t) {
		t.Run(s.title(), func(t *testing.T) {
			t.Parallel()
			s.needTools(t)
			far := newStand(t)
			d := startDaemon(t, far.url+"/v1")
			if out, err := s.run(t, d); err != nil {
				t.Fatalf("%v\n%s\n%s", err, out, s.code)
			}
			await(t, "the event to arrive", func() bool { return len(far.arrived()) > 0 })
			if got := d.awaitDrained().Account; got.Taken != 1 || got.Delivered != 1 {
				t.Errorf("taken %d, delivered %d, want one event", got.Taken, got.Delivered)
			}
			far.checkArrived([]string{"user-1"})
		})
	}
}

// Whoever copies a snippet learns that an event was not taken. SDKs are left
// out: they try again on their own account, for minutes.
func TestTheSnippetsOfThePagesFailWhenTheQueueIsFull(t *testing.T) {
	for _, s := range snippets(t) {
		if slices.Contains(s.needs, "sdk") {
			continue
		}
		t.Run(s.title(), func(t *testing.T) {
			t.Parallel()
			s.needTools(t)
			d := startDaemon(t, newStand(t).url+"/v1", "TRACKD_QUEUE_MIN_FREE_BYTES=1000000GiB")
			out, err := s.run(t, d)
			if _, failed := errors.AsType[*exec.ExitError](err); !failed {
				t.Errorf("the queue is full, and the snippet ended with %v and said %q", err, out)
			}
			if got := d.status().Account; got.Taken != 0 {
				t.Errorf("taken %d, want none", got.Taken)
			}
		})
	}
}

// needTools skips the test where something is missing.
func (s snippet) needTools(t testing.TB) {
	t.Helper()
	r, known := runners()[s.lang]
	if !known {
		t.Fatalf("nothing here runs %s", s.lang)
	}
	if r.slow && !wanted() {
		t.Skipf("compiling %s takes its time: set TRACKD_INTEROP=1 to run it", s.lang)
	}
	for _, tool := range append([]string{r.tool}, s.needs...) {
		if tool == "sdk" {
			needSDKs(t)
		} else if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on this machine", tool)
		}
	}
}

// run saves the snippet with the addresses of d and runs it.
func (s snippet) run(t testing.TB, d *daemon) (output []byte, err error) {
	t.Helper()
	r, dir := runners()[s.lang], t.TempDir()
	host, port, err := net.SplitHostPort(d.http)
	if err != nil {
		t.Fatal(err)
	}
	code := strings.NewReplacer("127.0.0.1:8484", d.http, "'127.0.0.1', 8484", fmt.Sprintf("'%s', %s", host, port),
		"/run/trackd/events.sock", d.socket, "/run/trackd/http.sock", d.httpSock).Replace(s.code)
	if err := os.WriteFile(filepath.Join(dir, r.file), []byte(code+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	modules, err := filepath.Abs(filepath.Join(nodeDir, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"node_modules": modules, "trackd": program} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience) // a compiler on a busy machine
	defer cancel()
	cmd := exec.CommandContext(ctx, r.tool, append(r.args, r.file)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TRACKD_INGEST_SOCKET="+d.socket,
		fmt.Sprintf("PATH=%s%c%s", filepath.Dir(program), os.PathListSeparator, os.Getenv("PATH")))
	return cmd.CombinedOutput()
}
