package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"trackd/admin"
	"trackd/internal/sandbox"
)

const (
	// memoryBound is what requests of any kind and number may add to the
	// daemon's memory, and gcRoom what the garbage collector may not have come
	// round to yet.
	memoryBound = 64 << 20
	gcRoom      = 32 << 20

	// askedWithin bounds an answer to the operator and to a good client while
	// the daemon is under attack, on a busy machine.
	askedWithin = 30 * time.Second
)

// hostileScale is how much is sent, 1 being enough to see what breaks. Without
// it the test is skipped.
func hostileScale(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TRACKD_HOSTILE")
	if text == "" {
		t.Skip("attacks last seconds each: set TRACKD_HOSTILE=1, or run make hostile, which sends rubbish by the gigabyte")
	}
	scale, err := strconv.Atoi(text)
	if err != nil || scale < 1 {
		t.Fatalf("TRACKD_HOSTILE=%q: want a number, at least 1", text)
	}
	return scale
}

// siege is a daemon under attack, with a good client and an operator who both
// want an answer all the while.
type siege struct {
	*process
	box   *sandbox.Server
	scale int

	idle int64 // bytes of memory before the attack; 0: this system does not tell
	disk int64 // bytes in the queue's directory before the attack

	stop chan struct{}
	over sync.WaitGroup

	// What was seen; guarded by mu until over is done.
	mu                    sync.Mutex
	peak                  int64           // bytes of memory
	good                  []string        // ids that got a yes
	again                 map[string]bool // those that were sent twice, because the first was not answered
	goodFailed            []string        // what the others got
	looks                 int             // answers to the operator
	looksFailed           []string        // what there was instead of one
	slowestGood, slowLook time.Duration
}

// newSiege starts a daemon with further settings, and its good client and its
// operator. Under a limit of so many descriptors, if that is not 0.
func newSiege(t *testing.T, scale, descriptors int, settings ...string) *siege {
	t.Helper()
	box, url := newSandbox(t)
	s := &siege{process: newProcess(t, url), box: box, scale: scale, stop: make(chan struct{}), again: map[string]bool{}}
	s.env = append(append(s.env, "TRACKD_QUEUE_MIN_FREE_BYTES=0"), settings...)
	if descriptors > 0 {
		if err := os.Symlink(s.exe, s.path("trackd")); err != nil {
			t.Fatal(err)
		}
		s.wrap = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, descriptors)}
	}
	s.start()
	s.awaitReady()
	s.idle, s.disk = s.memory(), s.diskUsed()
	s.over.Go(s.watchMemory)
	s.over.Go(s.sendGood)
	s.over.Go(s.lookOn)
	t.Cleanup(func() { s.end() })
	return s
}

// end ends the watch.
func (s *siege) end() {
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.over.Wait()
}

// memory is what the daemon has of memory of its own, without the files it
// maps.
func (s *siege) memory() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	var kib int64
	fmt.Sscan(rest, &kib)
	return kib << 10
}

func (s *siege) diskUsed() (bytes int64) {
	_ = filepath.WalkDir(s.path("queue"), func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
				bytes += info.Size()
			}
		}
		return nil // files come and go
	})
	return bytes
}

func (s *siege) watchMemory() {
	for tick := time.Tick(2 * time.Millisecond); ; {
		select {
		case <-tick:
			s.peak = max(s.peak, s.memory())
		case <-s.stop:
			return
		}
	}
}

// sendGood sends good events one after the other.
func (s *siege) sendGood() {
	client := unixClient(s.path("http.sock"))
	client.Timeout = askedWithin
	defer client.CloseIdleConnections()
	n := 0
	for tick := time.Tick(20 * time.Millisecond); ; n++ {
		select {
		case <-tick:
		case <-s.stop:
			return
		}
		// Its connection may be closed for others while it was idle: it sends again,
		// with the same messageId.
		id, begin := fmt.Sprintf("good-%05d", n), time.Now()
		failed, again := "", false
		resp, err := client.Post("http://trackd/v1/track", "application/json", strings.NewReader(lifecycleLine(id)))
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) {
			again = true
			resp, err = client.Post("http://trackd/v1/track", "application/json", strings.NewReader(lifecycleLine(id)))
		}
		if err != nil {
			failed = err.Error()
		} else {
			answer, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				failed = fmt.Sprintf("%s: %.200s", resp.Status, answer)
			}
		}
		s.mu.Lock()
		if failed == "" {
			s.good = append(s.good, id)
			s.again[id] = again
		} else {
			s.goodFailed = append(s.goodFailed, failed)
		}
		s.slowestGood = max(s.slowestGood, time.Since(begin))
		s.mu.Unlock()
	}
}

// lookOn asks for the status as an operator would, with a client of its own each
// time.
func (s *siege) lookOn() {
	for tick := time.Tick(100 * time.Millisecond); ; {
		select {
		case <-tick:
		case <-s.stop:
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), askedWithin)
		client, begin := admin.NewClient(s.path("admin.sock")), time.Now()
		_, err := client.Status(ctx)
		client.Close()
		cancel()
		s.mu.Lock()
		if err != nil {
			s.looksFailed = append(s.looksFailed, err.Error())
		} else {
			s.looks++
		}
		s.slowLook = max(s.slowLook, time.Since(begin))
		s.mu.Unlock()
	}
}

// settled waits until the good client and the operator were answered a few
// more times, or could not be, so that a short attack is watched too.
func (s *siege) settled() {
	seen := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return min(len(s.good)+len(s.goodFailed), 2*(s.looks+len(s.looksFailed)))
	}
	enough := seen() + 10
	until(s.tb, "the good client and the operator", func() bool { return seen() >= enough })
}

// withstood ends the watch and checks that nobody was hurt: the good events
// arrived, the operator saw, memory stayed within its bound, and everything is
// accounted for. It returns what goes into the table.
func (s *siege) withstood(t *testing.T) attackResult {
	t.Helper()
	s.settled()
	s.end()
	s.awaitDrained()
	if len(s.good) == 0 || len(s.goodFailed) > 0 {
		t.Errorf("%d good events got a yes, %d did not: %.500q", len(s.good), len(s.goodFailed), s.goodFailed)
	}
	if s.looks == 0 || len(s.looksFailed) > 0 {
		t.Errorf("the operator got %d answers, and none %d times: %.500q", s.looks, len(s.looksFailed), s.looksFailed)
	}
	arrived := s.box.IDs()
	for _, id := range s.good {
		if arrived[id] != 1 && !(arrived[id] == 2 && s.again[id]) {
			t.Errorf("%s got a yes and arrived %d times", id, arrived[id])
			break
		}
	}
	if a := s.status().Account; !a.Balances || a.Lost > 0 {
		t.Errorf("the account does not balance: %+v", a)
	}
	if grown := s.peak - s.idle; s.idle > 0 && grown > memoryBound+gcRoom {
		t.Errorf("memory grew by %s at most, want no more than %s", size(grown), size(memoryBound+gcRoom))
	}
	if bytes.Contains(s.logged(), []byte("panic")) {
		t.Error("the log holds a panic")
	}
	if s.gone() {
		t.Errorf("the daemon ended: %v", s.err)
	}
	return attackResult{attack: t.Name()[strings.IndexByte(t.Name(), '/')+1:], memory: s.peak - s.idle, disk: s.diskUsed() - s.disk,
		good: fmt.Sprintf("%d of %d, within %v", len(s.good), len(s.good)+len(s.goodFailed), s.slowestGood.Round(time.Millisecond)),
		look: s.slowLook.Round(time.Millisecond).String(), shown: s.shown()}
}

// shown is what the status shows of the attack: what was turned back and what
// is dead, by reason.
func (s *siege) shown() string {
	seen := s.seen()
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(seen.bounced)) {
		parts = append(parts, fmt.Sprintf("%s %d", reason, seen.bounced[reason]))
	}
	for _, reason := range slices.Sorted(maps.Keys(seen.dead)) {
		if n := seen.dead[reason]; n > 0 {
			parts = append(parts, fmt.Sprintf("dead: %s %d", reason, n))
		}
	}
	for _, listener := range slices.Sorted(maps.Keys(seen.closed)) {
		parts = append(parts, fmt.Sprintf("%s: %d idle closed", listener, seen.closed[listener]))
	}
	return cmp.Or(strings.Join(parts, ", "), "nothing")
}

// attackResult is a row of the table.
type attackResult struct {
	attack       string
	memory, disk int64
	good         string // events of the good client that got a yes
	look         string // slowest answer to the operator
	shown        string // what the status shows of it
}

// printAttacks prints the table.
func printAttacks(t *testing.T, results []attackResult) {
	t.Helper()
	var text bytes.Buffer
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "attack\tmemory over idle\tdisk\tgood events\tstatus within\tthe status shows")
	for _, r := range results {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", strings.ReplaceAll(r.attack, "_", " "), signedSize(r.memory), signedSize(r.disk), r.good, r.look, r.shown)
	}
	table.Flush()
	t.Logf("what each attack costs and what is seen of it:\n%s", text.Bytes())
}

func signedSize(n int64) string {
	if n < 0 {
		return "-" + size(-n)
	}
	return size(n)
}

// together runs n of what attacks at the same time and waits for all.
func together(n int, one func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { one(i) })
	}
	all.Wait()
}

// postRaw posts a body on a connection of its own and reads whatever the answer
// is. Being turned away or cut off is the attacker's lot, and no error.
func (s *siege) postRaw(path, header, body string) (answer string) {
	conn, err := net.Dial("unix", s.path("http.sock"))
	if err != nil {
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n", path, header, len(body))
	io.WriteString(conn, body)
	text, _ := io.ReadAll(conn)
	return string(text)
}
