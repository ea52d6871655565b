package pgqueue_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/pgqueue"
)

const (
	figureGroup  = 256
	figureGroups = 200
)

// all skips what takes long or needs a quiet machine.
func all(t *testing.T) {
	t.Helper()
	server(t)
	if os.Getenv("TRACKD_POSTGRES") != "all" {
		t.Skip("measures: set TRACKD_POSTGRES=all, as make fleet does")
	}
}

// figureEvents returns a group of events of 430 bytes, about what an SDK sends.
func figureEvents() []event.Event {
	group := events("figure", figureGroup)
	for i := range group {
		group[i].Body = append(group[i].Body, strings.Repeat(" ", 430-len(group[i].Body))...)
	}
	return group
}

// The queue is measured beside a loop over the same statements on bare pgx, in
// turn, so that a busy machine slows both.
func TestFiguresBesideBareStatements(t *testing.T) {
	all(t)
	var in, out, bareIn, bareOut []float64
	for range 5 {
		bi, bo := bareFigures(t)
		i, o := queueFigures(t)
		bareIn, bareOut, in, out = append(bareIn, bi), append(bareOut, bo), append(in, i), append(out, o)
	}
	for _, f := range []struct {
		what        string
		queue, bare []float64
	}{{"in", in, bareIn}, {"out", out, bareOut}} {
		queue, bare := median(f.queue), median(f.bare)
		t.Logf("%-3s %8.0f events/s, bare pgx %8.0f, ratio %.2f", f.what, queue, bare, queue/bare)
		if queue/bare < 0.8 || queue < 5_000 {
			t.Errorf("%s: want at least 0.8 of bare pgx and 5,000 events/s", f.what)
		}
	}
}

func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

func perSecond(begin time.Time) float64 {
	return figureGroup * figureGroups / time.Since(begin).Seconds()
}

func bareFigures(t *testing.T) (in, out float64) {
	t.Helper()
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, database(t))
	must(t, err)
	defer pool.Close()
	group := figureEvents()
	begin := time.Now()
	for range figureGroups {
		var first, bytes, rejects, samples int64
		must(t, pool.QueryRow(ctx, pgqueue.Statement("append"), pgqueue.AppendArgs(group)...).Scan(&first, &bytes, &rejects, &samples))
	}
	in = perSecond(begin)
	begin = time.Now()
	for last, left := int64(0), figureGroup*figureGroups; left > 0; {
		rows, err := pool.Query(ctx, pgqueue.Statement("fresh"), last, figureGroup)
		must(t, err)
		args, n, to, err := pgqueue.FetchArgs(0, rows)
		must(t, err)
		var side string
		must(t, pool.QueryRow(ctx, pgqueue.Statement("settle"), args...).Scan(&side))
		left, last = left-n, to
	}
	return in, perSecond(begin)
}

func queueFigures(t *testing.T) (in, out float64) {
	t.Helper()
	q := open(t, pgqueue.Options{URL: database(t), Lease: 10 * time.Second})
	eventually(t, "the centre to deliver", q.Clear)
	group := figureEvents()
	begin := time.Now()
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range figureGroups / 4 {
				if err := q.Append(t.Context(), queue.Batch{Events: group}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	callers.Wait()
	in = perSecond(begin)
	begin = time.Now()
	for left := figureGroup * figureGroups; left > 0; {
		held, err := q.Lease(t.Context(), figureGroup)
		must(t, err)
		must(t, q.Settle(t.Context(), same(held, queue.Outcome{Verb: queue.Delivered})...))
		left -= len(held)
	}
	stats(t, q) // the last outcomes are in the database
	out = perSecond(begin)
	must(t, q.Close())
	return in, out
}

// Two centres take while one of them delivers, against a synchronous standby.
func TestFiguresOfBothWaysAtOnce(t *testing.T) {
	all(t)
	c := newCluster(t, 1, map[string]string{"max_wal_size": "4GB"})
	holder := open(t, pgqueue.Options{URL: c.url, Lease: 10 * time.Second})
	eventually(t, "the centre to deliver", holder.Clear)
	other := open(t, pgqueue.Options{URL: c.url, Lease: 10 * time.Second})
	for _, size := range []int{1, 64, figureGroup} {
		before := stats(t, holder)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		begin := time.Now()
		var wg sync.WaitGroup
		for _, q := range []*pgqueue.Queue{holder, other, holder, other} {
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := q.Append(t.Context(), queue.Batch{Events: figureEvents()[:size]}); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Go(func() {
			for {
				held, err := holder.Lease(ctx, figureGroup)
				if err != nil {
					return
				}
				must(t, holder.Settle(t.Context(), same(held, queue.Outcome{Verb: queue.Delivered})...))
			}
		})
		wg.Wait()
		cancel()
		after, took := stats(t, holder), time.Since(begin).Seconds()
		t.Logf("4 callers, batches of %3d: in %6.0f events/s, out %6.0f events/s at once", size,
			float64(after.Taken-before.Taken)/took, float64(after.Delivered-before.Delivered)/took)
		if !after.Balances() {
			t.Errorf("got %+v", after.Account)
		}
	}
}

// What a delivery costs does not grow with how many went before it.
func TestTheDrainIsNotSlowedByWhatWasDelivered(t *testing.T) {
	all(t)
	q := open(t, pgqueue.Options{URL: database(t), Lease: 10 * time.Second})
	eventually(t, "the centre to deliver", q.Clear)
	group := slices.Concat(figureEvents(), figureEvents(), figureEvents(), figureEvents())
	const rounds, perRound = 8, 100 * 4 * figureGroup
	var took []time.Duration
	for range rounds {
		var spent time.Duration
		for left := perRound; left > 0; {
			must(t, q.Append(t.Context(), queue.Batch{Events: group}))
			begin := time.Now()
			for n := len(group); n > 0; {
				held, err := q.Lease(t.Context(), n)
				must(t, err)
				must(t, q.Settle(t.Context(), same(held, queue.Outcome{Verb: queue.Delivered})...))
				n, left = n-len(held), left-len(held)
			}
			stats(t, q)
			spent += time.Since(begin)
		}
		took = append(took, spent)
		t.Logf("%6d delivered before: %5.1f µs an event", len(took)*perRound-perRound, float64(spent.Microseconds())/perRound)
	}
	if last, first := took[rounds-1], took[1]; last > 2*first {
		t.Errorf("the last %d took %v, the second %v", perRound, last, first)
	}
}
