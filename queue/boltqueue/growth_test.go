package boltqueue_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// What may not grow with the backlog.
const (
	mostAnonymous   = 64 << 20    // bytes of anonymous memory, at any time
	mostToReady     = time.Second // until Append can be served
	mostToDelivery  = time.Second // from the start of Open until the first event is leased
	growthBatch     = 256         // events of one Append and one Lease, as the socket brings them
	growthCallers   = 16
	growthEventSize = 430
)

// growth is what one child process tells of its part.
type growth struct {
	Took      time.Duration // filling or draining
	Ready     time.Duration // Open
	First     time.Duration // Open and the first Lease
	Exact     time.Duration // until every book was read
	Anonymous int64         // the most there was while the child worked
	Held      int64         // the most there was while the backlog just lay there
	Disk      int64         // bytes allocated at the end, the lock aside
}

// TestGrowthIsFlat fills and drains queues of as many events as TRACKD_GROWTH
// lists, e.g. 1000000,10000000, each step in a process of its own, and prints
// the table of docs/guarantees.md.
func TestGrowthIsFlat(t *testing.T) {
	sizes := os.Getenv("TRACKD_GROWTH")
	if sizes == "" {
		t.Skip("takes minutes and gigabytes: make growth, or set TRACKD_GROWTH=100000")
	}
	rows := []string{"| events queued | disk per event | filled at | ready after | first event after | drained at | memory filling | holding | draining | disk empty, then drained |",
		"|---|---|---|---|---|---|---|---|---|---|"}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, measureGrowth(t, n))
	}
	fmt.Println(strings.Join(rows, "\n"))
}

func measureGrowth(t *testing.T, n int) string {
	dir := t.TempDir()
	empty := growInChild(t, "open", dir, 0)
	filled := growInChild(t, "fill", dir, n)
	drained := growInChild(t, "drain", dir, n)
	for what, anonymous := range map[string]int64{"filling": filled.Anonymous, "holding": drained.Held, "draining": drained.Anonymous} {
		if anonymous > mostAnonymous {
			t.Errorf("%d events: %d bytes of anonymous memory while %s, want at most %d", n, anonymous, what, mostAnonymous)
		}
	}
	if drained.Ready > mostToReady || drained.First > mostToDelivery {
		t.Errorf("%d events: ready after %v and the first event after %v, want at most %v and %v",
			n, drained.Ready, drained.First, mostToReady, mostToDelivery)
	}
	if drained.Disk > empty.Disk {
		t.Errorf("%d events: %d bytes of disk when drained, %d when empty", n, drained.Disk, empty.Disk)
	}
	rate := func(took time.Duration) string { return fmt.Sprintf("%.0f/s", float64(n)/took.Seconds()) }
	mib := func(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
	return fmt.Sprintf("| %d | %.0f bytes | %s | %v | %v | %s | %s | %s | %s | %s, %s |",
		n, float64(filled.Disk)/float64(n), rate(filled.Took), drained.Ready.Round(time.Millisecond), drained.First.Round(time.Millisecond),
		rate(drained.Took), mib(filled.Anonymous), mib(drained.Held), mib(drained.Anonymous), mib(empty.Disk), mib(drained.Disk))
}

// growInChild runs one part of the measurement in a process of its own, whose
// memory nobody else uses.
func growInChild(t *testing.T, part, dir string, n int) (told growth) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestGrowthChild$", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), fmt.Sprintf("TRACKD_GROWTH_CHILD=%s %d %s", part, n, dir))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", part, err, out)
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if err := json.Unmarshal(line, &told); err != nil {
		t.Fatalf("%s told %q: %v", part, out, err)
	}
	return told
}

// TestGrowthChild is the other process of TestGrowthIsFlat.
func TestGrowthChild(t *testing.T) {
	var part, dir string
	var n int
	if _, err := fmt.Sscan(os.Getenv("TRACKD_GROWTH_CHILD"), &part, &n, &dir); err != nil {
		t.Skip("a part of TestGrowthIsFlat, which calls it")
	}
	var told growth
	begin := time.Now()
	q, err := boltqueue.Open(boltqueue.Options{Dir: dir, MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	told.Ready = time.Since(begin)
	watch := watchAnonymous(t)
	switch part {
	case "fill":
		told.Took = fill(t, q, n)
	case "drain":
		told.hold(t, q, begin, watch)
		told.Took = drainAll(t, q, n)
	}
	told.Anonymous = watch.most.Load()
	told.Disk = settledDisk(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(told); err != nil {
		t.Fatal(err)
	}
}

// hold leases and returns the first event, then leaves the backlog alone until
// all of it is known.
func (g *growth) hold(t *testing.T, q *boltqueue.Queue, begin time.Time, watch *anonymousWatch) {
	first, err := q.Lease(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	g.First = time.Since(begin)
	if err := q.Settle(t.Context(), queue.Outcome{Address: first[0].Address, Verb: queue.Return}); err != nil {
		t.Fatal(err)
	}
	for !mustStats(t, q).Exact {
		time.Sleep(20 * time.Millisecond) // a measurement, nothing is decided by it
	}
	g.Exact = time.Since(begin)
	g.Held = watch.most.Load()
}

// settledDisk is the disk in use once it has not changed for a second.
func settledDisk(t *testing.T, q *boltqueue.Queue) int64 {
	last := mustStats(t, q).Bytes
	for since := time.Now(); time.Since(since) < time.Second; time.Sleep(20 * time.Millisecond) {
		if now := mustStats(t, q).Bytes; now != last {
			last, since = now, time.Now()
		}
	}
	return last
}

func mustStats(t testing.TB, q *boltqueue.Queue) queue.Stats {
	t.Helper()
	s, err := q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill appends n events from a few callers at once.
func fill(t *testing.T, q *boltqueue.Queue, n int) time.Duration {
	begin := time.Now()
	var callers sync.WaitGroup
	for caller := range growthCallers {
		callers.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(caller), uint64(n)))
			for left := n / growthCallers; left > 0; left -= growthBatch {
				batch := queue.Batch{Events: make([]event.Event, min(left, growthBatch))}
				for i := range batch.Events {
					batch.Events[i] = realistic(dice)
				}
				if err := q.Append(t.Context(), batch); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	callers.Wait()
	return time.Since(begin)
}

// drainAll delivers everything with a few workers.
func drainAll(t *testing.T, q *boltqueue.Queue, n int) time.Duration {
	begin := time.Now()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var left atomic.Int64
	left.Store(int64(n / growthCallers * growthCallers))
	var workers sync.WaitGroup
	for range growthCallers {
		workers.Go(func() {
			for {
				got, err := q.Lease(ctx, growthBatch)
				if err != nil {
					return // all is delivered
				}
				outcomes := make([]queue.Outcome, len(got))
				for i, d := range got {
					outcomes[i] = queue.Outcome{Address: d.Address, Verb: queue.Delivered}
				}
				if err := q.Settle(ctx, outcomes...); err != nil {
					t.Error(err)
				}
				if left.Add(-int64(len(got))) <= 0 {
					stop()
				}
			}
		})
	}
	workers.Wait()
	return time.Since(begin)
}

// realistic returns an event as mobile SDKs send them: ids of their own, the
// rest from a small stock.
func realistic(dice *rand.Rand) event.Event {
	hexes := func(n int) string {
		raw := make([]byte, n/2)
		for i := range raw {
			raw[i] = byte(dice.Uint32())
		}
		return hex.EncodeToString(raw)
	}
	stock := func(of ...string) string { return of[dice.IntN(len(of))] }
	now := time.UnixMilli(1_790_000_000_000 + dice.Int64N(86_400_000)).UTC()
	id := "01J" + strings.ToUpper(hexes(24))[:23]
	name := stock("Application Opened", "Application Opened", "Application Backgrounded", "Application Foregrounded", "Application Updated")
	body := fmt.Sprintf(`{"type":"track","event":%q,"messageId":%q,"userId":"user_%d","anonymousId":"%s",`+
		`"timestamp":%q,"properties":{"from_background":%v,"version":"4.%d.0","build":"%d"},`+
		`"context":{"device":{"token":"%[9]s","type":"ios","model":%[10]q},`+
		`"os":{"name":"iOS","version":"17.%[11]d"},"locale":%[12]q,"timezone":"Europe/London"}}`,
		name, id, dice.IntN(2_000_000), "anon-"+hexes(12), now.Format("2006-01-02T15:04:05.000Z07:00"), dice.IntN(2) == 0, dice.IntN(9), 4000+dice.IntN(90),
		hexes(16), stock("iPhone15,2", "iPhone14,7", "iPhone16,1", "iPhone13,2"), dice.IntN(6), stock("en-GB", "de-DE", "fr-FR", "en-US"))
	return event.Event{ID: id, Name: name, Body: []byte(body)}
}

func TestGrowthIsMeasuredWithEventsOfTheUsualSize(t *testing.T) {
	dice, sum := rand.New(rand.NewPCG(1, 1)), 0
	for range 1_000 {
		ev := realistic(dice)
		if _, err := (event.Parser{}).Parse(ev.Body, time.Now()); err != nil {
			t.Fatal(err)
		}
		sum += len(ev.Body)
	}
	if mean := sum / 1_000; mean < growthEventSize-20 || mean > growthEventSize+20 {
		t.Errorf("got %d bytes on average, want about %d", mean, growthEventSize)
	}
}

// anonymousWatch keeps the most anonymous memory this process was seen with.
type anonymousWatch struct{ most atomic.Int64 }

func watchAnonymous(t *testing.T) *anonymousWatch {
	w := new(anonymousWatch)
	ctx, stop := context.WithCancel(context.Background())
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for ctx.Err() == nil {
			w.most.Store(max(w.most.Load(), anonymousMemory(t)))
			time.Sleep(10 * time.Millisecond)
		}
	})
	t.Cleanup(func() { stop(); watcher.Wait() })
	return w
}

// anonymousMemory is RssAnon of this process: what is not backed by a file.
func anonymousMemory(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Error(err)
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	t.Error("no RssAnon in /proc/self/status")
	return 0
}
