package boltqueue_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// sound is a directory with a few segments that hold a bit of everything, and
// what is known of them. Tests damage copies of it.
type sound struct {
	files map[string][]byte // by name
	in    map[string]uint64 // the segment that each live or dead event lies in, by id
	dead  map[string]bool   // of these, by id
	done  map[string]bool   // delivered, by id
}

// smallKnobs make the line roll early.
func smallKnobs() boltqueue.Knobs { return boltqueue.Knobs{SegmentBytes: 96 << 10, NoSync: true} }

// damagedOptions open a queue whose files are small.
func damagedOptions(dir string, log *slog.Logger) boltqueue.Options {
	return boltqueue.Options{Dir: dir, MaxBytes: 64 << 20, MinFreeBytes: -1, Log: log}
}

// newSound makes a queue of four segments or more: one with letters, the
// others as they were filled, the last with room.
func newSound(t testing.TB) *sound {
	t.Helper()
	dir := t.TempDir()
	q, err := boltqueue.OpenWith(damagedOptions(dir, nil), smallKnobs())
	must(t, err)
	s := &sound{files: map[string][]byte{}, in: map[string]uint64{}, dead: map[string]bool{}, done: map[string]bool{}}
	dice := rand.New(rand.NewPCG(4, 6))
	for i := range 60 {
		batch := queue.Batch{}
		for j := range 8 {
			batch.Events = append(batch.Events, noisy(dice, fmt.Sprintf("ev-%02d-%d", i, j)))
		}
		if i%5 == 0 {
			batch.Rejects = []queue.Reject{{Body: []byte(fmt.Sprintf(`{"reject":"re-%02d"}`, i)), Reason: queue.Invalid, Detail: "no user"}}
		}
		must(t, q.Append(t.Context(), batch))
	}
	held, err := q.Lease(t.Context(), 150)
	must(t, err)
	for i, d := range held {
		o := queue.Outcome{Address: d.Address, Verb: queue.Delivered}
		switch i % 6 {
		case 0:
			o.Verb, o.Reason, o.Status, o.Detail = queue.Bury, queue.Rejected, 400, fmt.Sprintf("no good: %d", i%4)
		case 1:
			o.Verb = queue.Return
		default:
			s.done[d.Event.ID] = true
		}
		must(t, q.Settle(t.Context(), o))
	}
	must(t, q.Flush())
	s.know(t, q)
	must(t, q.Close())
	s.read(t, dir)
	return s
}

// noisy is an event that does not compress much.
func noisy(dice *rand.Rand, id string) event.Event { return padded(dice, id, 150) }

// padded is an event with twice n bytes of noise.
func padded(dice *rand.Rand, id string, n int) event.Event {
	pad := make([]byte, n)
	for i := range pad {
		pad[i] = byte(dice.Uint32())
	}
	return event.Event{ID: id, Name: "Application Opened", Body: fmt.Appendf(nil,
		`{"type":"track","event":"Application Opened","messageId":%q,"userId":"u","properties":{"pad":%q}}`, id, hex.EncodeToString(pad))}
}

// letterID names a letter: that of its event, or what a reject says it is.
func letterID(l queue.DeadLetter) string {
	if l.AtDoor {
		return strings.Trim(strings.TrimPrefix(string(l.Event.Body), `{"reject":`), `"}`)
	}
	return l.Event.ID
}

func (s *sound) know(t testing.TB, q queue.Queue) {
	t.Helper()
	for d, err := range q.Queued(t.Context(), queue.Filter{}) {
		must(t, err)
		s.in[d.Event.ID] = d.Address.Hi
	}
	for l, err := range q.DeadLetters(t.Context(), queue.Filter{}) {
		must(t, err)
		s.in[letterID(l)], s.dead[letterID(l)] = l.Address.Hi, true
	}
}

func (s *sound) read(t testing.TB, dir string) {
	t.Helper()
	for _, name := range files(t, dir, "*") {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if strings.HasSuffix(name, ".seg") {
			used, err := boltqueue.UsedBytes(raw)
			must(t, err)
			raw = raw[:used] // bbolt lengthens files in large steps
		}
		s.files[name] = raw
	}
}

// copy lays the files out in a new directory.
func (s *sound) copy(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range s.files {
		must(t, os.WriteFile(filepath.Join(dir, name), raw, 0o600))
	}
	return dir
}

// segments lists the names of the segment files, oldest first.
func (s *sound) segments() (names []string) {
	for name := range s.files {
		if strings.HasSuffix(name, ".seg") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// survival is what a queue made of a damaged directory.
type survival struct {
	stats   queue.Stats     // before anything was delivered
	log     string          // what was logged
	got     map[string]int  // deliveries, by id
	letters map[string]bool // by id
	took    time.Duration   // Open
}

const survivalPatience = 20 * time.Second

// survive opens a damaged directory and does with it what must work whatever
// the damage: start, read all books, list, deliver everything, take more.
func survive(t testing.TB, dir string) (s survival) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), survivalPatience)
	defer cancel()
	var log bytes.Buffer
	begin := time.Now()
	q, err := boltqueue.OpenWith(damagedOptions(dir, slog.New(slog.NewTextHandler(&log, nil))), smallKnobs())
	if err != nil {
		t.Fatalf("the damage kept the queue from starting: %v", err)
	}
	defer func() {
		must(t, q.Close())
		s.log = log.String()
	}()
	s.took, s.got, s.letters = time.Since(begin), map[string]int{}, map[string]bool{}
	s.stats = exactStats(ctx, t, q)
	for l, err := range q.DeadLetters(ctx, queue.Filter{}) {
		must(t, err)
		s.letters[letterID(l)] = true
	}
	s.deliver(ctx, t, q)
	must(t, q.Append(ctx, queue.Batch{Events: []event.Event{noisy(rand.New(rand.NewPCG(1, 1)), "afterwards")}}))
	s.deliver(ctx, t, q)
	if s.got["afterwards"] != 1 {
		t.Errorf("an event taken after the damage was delivered %d times, want once", s.got["afterwards"])
	}
	delete(s.got, "afterwards")
	return s
}

// exactStats waits until every book was read.
func exactStats(ctx context.Context, t testing.TB, q queue.Queue) queue.Stats {
	t.Helper()
	for {
		stats, err := q.Stats(ctx)
		must(t, err)
		if !stats.Balances() {
			t.Fatalf("the account does not balance: %+v", stats.Account)
		}
		if stats.Exact {
			return stats
		}
	}
}

// deliver leases and settles until nothing is queued.
func (s *survival) deliver(ctx context.Context, t testing.TB, q queue.Queue) {
	t.Helper()
	for {
		stats, err := q.Stats(ctx)
		must(t, err)
		if stats.Queued == 0 {
			return
		}
		got, err := q.Lease(ctx, 64)
		if err != nil {
			t.Fatalf("with %d queued: lease: %v; alarms %q", stats.Queued, err, stats.Alarms)
		}
		for _, d := range got {
			s.got[d.Event.ID]++
			must(t, q.Settle(ctx, queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
		}
	}
}

// judge holds what came out against what had been acknowledged, for damage to
// certain segments, and returns how many events are missing.
func (s *sound) judge(t testing.TB, got survival, damaged ...uint64) (missing int) {
	t.Helper()
	for id, times := range got.got {
		_, known := s.in[id]
		if !known && !s.done[id] {
			t.Errorf("%s was delivered, and never taken", id)
		}
		if times > 1 {
			t.Errorf("%s was delivered %d times by one process", id, times)
		}
	}
	for id, segment := range s.in {
		if got.got[id] > 0 || s.dead[id] && got.letters[id] {
			continue
		}
		missing++
		if !slices.Contains(damaged, segment) {
			t.Errorf("%s is missing, and its segment %d was sound", id, segment)
		}
	}
	alarms := strings.Join(got.stats.Alarms, "\n")
	if missing > int(got.stats.Lost) && !strings.Contains(alarms, "unknown") {
		t.Errorf("%d events are missing, %d are told to be lost at most; alarms: %s", missing, got.stats.Lost, alarms)
	}
	if missing > 0 && alarms == "" {
		t.Errorf("%d events are missing, and no alarm", missing)
	}
	return missing
}
