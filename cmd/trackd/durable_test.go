package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"trackd/internal/sandbox"
)

// tracedEvents is how many events go through each door, one at a time.
const tracedEvents = 10

// traced is a daemon under strace.
type traced struct {
	*process
	box *sandbox.Server
	ids []string // of the events that were sent one at a time
}

// newTraced starts exe under strace, or skips the test where that cannot be.
// The destination is down, so that nothing but events moves the disk.
func newTraced(t *testing.T, exe string) *traced {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("needs strace to see what reaches the disk: %v", err)
	}
	if out, err := exec.Command(strace, "-f", "-o", os.DevNull, "true").CombinedOutput(); err != nil {
		t.Skipf("strace may not trace here: %v: %s", err, out)
	}
	box, url := newSandbox(t)
	if err := box.SetTrouble(trouble("down")); err != nil {
		t.Fatal(err)
	}
	d := &traced{process: newProcess(t, url), box: box}
	if exe == "" {
		exe = d.exe
	}
	if err := os.Symlink(exe, d.path("trackd")); err != nil {
		t.Fatal(err)
	}
	d.wrap = []string{strace, "-D", "-f", "-y", "-s", "400", "-e", "signal=none", "-o", d.path("trace"),
		"-e", "trace=read,write,pwrite64,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"}
	d.start()
	d.awaitReady()
	return d
}

// sendOneByOne sends events through both doors, each after the answer to the
// one before.
func (d *traced) sendOneByOne() {
	d.tb.Helper()
	conn, err := net.Dial("unix", d.path("events.sock"))
	if err != nil {
		d.tb.Fatal(err)
	}
	defer conn.Close()
	replies := bufio.NewReader(conn)
	client := unixClient(d.path("http.sock"))
	defer client.CloseIdleConnections()
	for i := range tracedEvents {
		id := fmt.Sprintf("line-%03d", i)
		fmt.Fprintln(conn, lifecycleLine(id))
		want := fmt.Sprintf(`{"accepted":%d,"rejected":0,"refused":0}`, i+1)
		if got, err := replies.ReadString('\n'); strings.TrimSpace(got) != want {
			d.tb.Fatalf("%s: got %q, %v, want %s", id, got, err, want)
		}
		d.ids = append(d.ids, id)

		id = fmt.Sprintf("post-%03d", i)
		d.post(client, "/v1/track", lifecycleLine(id))
		d.ids = append(d.ids, id)
	}
}

func (d *traced) post(client *http.Client, path, body string) {
	d.tb.Helper()
	resp, err := client.Post("http://trackd"+path, "application/json", strings.NewReader(body))
	if err != nil {
		d.tb.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		d.tb.Fatalf("POST %s: %s", path, resp.Status)
	}
}

// roll sends more than one segment holds, lets it all arrive, and so has a
// segment born in use and another one unlinked. Each event has a person of its
// own, since those of one person are delivered one after the other.
func (d *traced) roll() {
	d.tb.Helper()
	client := unixClient(d.path("http.sock"))
	defer client.CloseIdleConnections()
	padding := make([]byte, 15_000) // of the 32,000 bytes an event may have, in hex
	random := rand.NewChaCha8([32]byte{})
	for batch := range 40 {
		var items []string
		for item := range 30 {
			random.Read(padding)
			items = append(items, fmt.Sprintf(`{"type":"track","event":"Application Opened","messageId":"batch-%[1]d-%[2]d","userId":"u-%[1]d-%[2]d","properties":{"padding":%[3]q}}`,
				batch, item, hex.EncodeToString(padding)))
		}
		d.post(client, "/v1/batch", `{"batch":[`+strings.Join(items, ",")+`]}`)
	}
	if err := d.box.SetTrouble(nil); err != nil {
		d.tb.Fatal(err)
	}
	d.awaitDrained()
}

// stop stops the daemon and returns what it did.
func (d *traced) stop() []call {
	d.tb.Helper()
	last := regexp.MustCompile(fmt.Sprintf(`(?m)^%d +\+\+\+ `, d.cmd.Process.Pid))
	if code, _ := d.terminate(); code != 0 {
		d.tb.Errorf("the daemon ended with exit code %d", code)
	}
	var trace []byte
	until(d.tb, "the end of the trace", func() bool {
		var err error
		if trace, err = os.ReadFile(d.path("trace")); err != nil {
			d.tb.Fatal(err)
		}
		return last.Match(trace)
	})
	return parseTrace(string(trace))
}

// problems returns everything that was acknowledged too early.
func (d *traced) problems(calls []call) (problems []string, changes int) {
	problems, changes = unsyncedNames(calls, d.path("queue"))
	for _, id := range d.ids {
		if wrong := unproven(calls, id); wrong != "" {
			problems = append(problems, wrong)
		}
	}
	return problems, changes
}

func TestEveryYesWaitsForTheDisk(t *testing.T) {
	d := newTraced(t, "")
	d.sendOneByOne()
	births := 2 // the tail and a spare
	if !raceDetector {
		d.roll()
		births = 4 // another spare, and the end of the first
	}
	calls := d.stop()
	problems, changes := d.problems(calls)
	for _, problem := range problems {
		t.Error(problem)
	}
	if changes < births {
		t.Errorf("%d segments were born or unlinked, want at least %d", changes, births)
	}
	for _, id := range d.ids {
		// Twice for its own commit; a flush of marks may come in between.
		if n := syncsBefore(calls, id); n < 2 || n%2 != 0 {
			t.Errorf("%s: synced %d times, want twice for each commit: the pages, then the meta page", id, n)
		}
	}
	t.Logf("%d events, each synced twice between its arrival and its reply; %d segments born or unlinked, each with its directory synced", len(d.ids), changes)
}

// TestAYesThatDoesNotWaitIsSeen shows that the test above can fail.
func TestAYesThatDoesNotWaitIsSeen(t *testing.T) {
	for _, test := range []struct {
		name     string
		sabotage sabotage
		want     string
	}{
		{"no fsync", noFsync, "before the pages were synced"},
		{"no fsync of the directory", noDirFsync, "whose name was not synced"},
		{"yes before the commit", yesBeforeCommit, "at its reply, "},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newTraced(t, test.sabotage.build(t))
			d.sendOneByOne()
			problems, _ := d.problems(d.stop())
			if !strings.Contains(strings.Join(problems, "\n"), test.want) {
				t.Fatalf("nothing of %q was seen, only %q", test.want, problems)
			}
			t.Logf("%d problems, the first: %s", len(problems), problems[0])
		})
	}
}
