package boltqueue_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// outrages are what may happen to a file while bbolt has it mapped.
func outrages() map[string]func(t testing.TB, path string) {
	over := func(change func(raw []byte)) func(testing.TB, string) {
		return func(t testing.TB, path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			info, err := f.Stat()
			must(t, err)
			raw := make([]byte, info.Size())
			change(raw)
			_, err = f.WriteAt(raw, 0)
			must(t, err)
		}
	}
	return map[string]func(t testing.TB, path string){
		"emptied":         func(t testing.TB, path string) { must(t, os.Truncate(path, 0)) },
		"cut to its head": func(t testing.TB, path string) { must(t, os.Truncate(path, int64(3*os.Getpagesize()))) },
		"zeroed":          over(func([]byte) {}),
		"overwritten": over(func(raw []byte) {
			dice := rand.New(rand.NewPCG(2, 2))
			for i := range raw {
				raw[i] = byte(dice.Uint32())
			}
		}),
		"removed": func(t testing.TB, path string) { must(t, os.Remove(path)) },
	}
}

// A file that is spoiled while it is mapped costs what it held: the process
// lives, says so, sends what lies elsewhere, and what it takes from then on is
// there after the next start.
func TestDamageWhileInUseIsSurvived(t *testing.T) {
	whole := newSound(t)
	names := whole.segments()
	for what, do := range outrages() {
		for number, name := range map[uint64]string{2: names[1], uint64(len(names)) - 1: names[len(names)-2]} {
			t.Run(what+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir := whole.copy(t)
				got, later := spoil(t, dir, func() { do(t, filepath.Join(dir, name)) })
				whole.othersCame(t, got, number)
				next := survive(t, dir)
				for _, id := range later {
					if got[id]+next.got[id] == 0 {
						t.Errorf("%s was acknowledged after the damage, and is missing", id)
					}
				}
			})
		}
	}
}

// spoil opens a queue, spoils a file, and goes on for a while. It returns what
// was delivered and what was taken afterwards.
func spoil(t *testing.T, dir string, do func()) (got map[string]int, later []string) {
	t.Helper()
	q, err := boltqueue.OpenWith(damagedOptions(dir, slog.New(slog.DiscardHandler)), smallKnobs())
	must(t, err)
	exactStats(t.Context(), t, q)
	for _, err := range q.Queued(t.Context(), queue.Filter{}) { // every file is mapped
		must(t, err)
	}
	do()
	got = map[string]int{}
	dice := rand.New(rand.NewPCG(3, 3))
	for _, id := range []string{"later-0", "later-1", "later-2", "later-3"} {
		if q.Append(t.Context(), queue.Batch{Events: []event.Event{noisy(dice, id)}}) == nil {
			later = append(later, id)
		}
	}
	if len(later) == 0 {
		t.Error("nothing was taken after the damage")
	}
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		held, err := q.Lease(ctx, 64)
		cancel()
		if err != nil {
			break // what is left cannot be read
		}
		for _, d := range held {
			got[d.Event.ID]++
			must(t, q.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Delivered}))
		}
	}
	for _, err := range q.DeadLetters(t.Context(), queue.Filter{}) { // lists past the damage
		must(t, err)
	}
	stats, err := q.Stats(t.Context())
	must(t, err)
	if len(stats.Alarms) == 0 || !strings.Contains(strings.Join(stats.Alarms, " "), ".seg") {
		t.Errorf("got the alarms %q, want one that names the file", stats.Alarms)
	}
	_ = q.Close() // what it cannot write it says
	return got, later
}

// othersCame checks that every live event of the sound segments was delivered.
func (s *sound) othersCame(t *testing.T, got map[string]int, damaged uint64) {
	t.Helper()
	for id, segment := range s.in {
		if segment != damaged && !s.dead[id] && got[id] == 0 {
			t.Errorf("%s was not delivered, and its segment %d was sound", id, segment)
		}
	}
}
