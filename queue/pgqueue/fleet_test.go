package pgqueue_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trackd/event"
	"trackd/internal/pgtest"
	"trackd/queue"
	"trackd/queue/pgqueue"
)

const patience = 30 * time.Second

// events returns n small events whose ids begin with prefix.
func events(prefix string, n int) []event.Event {
	all := make([]event.Event, n)
	for i := range all {
		id := fmt.Sprintf("%s-%06d", prefix, i)
		all[i] = event.Event{ID: id, Name: "Application Opened", Body: []byte(`{"messageId":"` + id + `","event":"Application Opened"}`)}
	}
	return all
}

func ids(deliveries []queue.Delivery) (all []string) {
	for _, d := range deliveries {
		all = append(all, d.Event.ID)
	}
	return all
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, happened func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !happened() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
		time.Sleep(time.Millisecond)
	}
}

// take leases exactly n events.
func take(t testing.TB, q *pgqueue.Queue, n int) (all []queue.Delivery) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(all) < n {
		some, err := q.Lease(ctx, n-len(all))
		if err != nil {
			t.Fatalf("lease: got %d of %d, then %v", len(all), n, err)
		}
		all = append(all, some...)
	}
	return all
}

func same(deliveries []queue.Delivery, o queue.Outcome) []queue.Outcome {
	var outcomes []queue.Outcome
	for _, d := range deliveries {
		o.Address = d.Address
		outcomes = append(outcomes, o)
	}
	return outcomes
}

func stats(t testing.TB, q *pgqueue.Queue) queue.Stats {
	t.Helper()
	s, err := q.Stats(t.Context())
	must(t, err)
	return s
}

// pair opens two centres on one database. The first one delivers.
func pair(t testing.TB) (holder, other *pgqueue.Queue, url string) {
	t.Helper()
	url = database(t)
	holder = open(t, pgqueue.Options{URL: url, Name: "holder"})
	eventually(t, "the first centre to deliver", func() bool { return holder.Clear() })
	return holder, open(t, pgqueue.Options{URL: url, Name: "other"}), url
}

func TestAnEventErasedElsewhereCountsAsPerhapsInFlight(t *testing.T) {
	t.Parallel()
	holder, other, _ := pair(t)
	must(t, holder.Append(t.Context(), queue.Batch{Events: events("e", 2)}))
	take(t, holder, 2)
	erased, inFlight, err := other.Erase(t.Context(), queue.Filter{ID: "e-000000"}, true)
	if erased != 1 || inFlight != 1 || err != nil {
		t.Errorf("got %d erased, %d in flight, %v, want it to be told that it may be on its way", erased, inFlight, err)
	}
}

func TestATakeoverBeginsWithWhatWasNotSettledInOrder(t *testing.T) {
	t.Parallel()
	holder, other, url := pair(t)
	must(t, holder.Append(t.Context(), queue.Batch{Events: events("e", 10)}))
	held := take(t, holder, 6)
	must(t, holder.Settle(t.Context(), same(held[:2], queue.Outcome{Verb: queue.Delivered})...))
	must(t, holder.Settle(t.Context(), same(held[3:4], queue.Outcome{Verb: queue.Retry, Delay: time.Hour})...))
	stats(t, holder) // waits for the flush
	eventually(t, "the low mark to be written", func() bool {
		return query[int](t, url, "SELECT low_mark FROM trackd.drainer") == 3
	})
	killed := time.Now()
	holder.Abandon()
	got := take(t, other, 8)
	if took := time.Since(killed); took > lease+5*time.Second { // one second, and what a loaded machine takes to look
		t.Errorf("nobody delivered for %v, want hardly more than the lease", took)
	}
	var want []string
	for _, ev := range events("e", 10)[2:] {
		want = append(want, ev.ID)
	}
	if !slices.Equal(ids(got), want) {
		t.Errorf("got %v, want %v", ids(got), want)
	}
}

func TestACloseHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	url := database(t)
	holder := open(t, pgqueue.Options{URL: url, Lease: 20 * time.Second})
	eventually(t, "the first centre to deliver", holder.Clear)
	other := open(t, pgqueue.Options{URL: url, Lease: 600 * time.Millisecond})
	must(t, holder.Close())
	closed := time.Now()
	eventually(t, "the other to deliver", other.Clear)
	if took := time.Since(closed); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAnOldEpochChangesNothing(t *testing.T) {
	t.Parallel()
	holder, other, _ := pair(t)
	must(t, holder.Append(t.Context(), queue.Batch{Events: events("e", 2)}))
	held := take(t, holder, 2)
	old := holder.Epoch()
	if changed, err := other.DeliveredIn(old, held[0]); !changed || err != nil {
		t.Fatalf("in its own epoch: changed %t, %v", changed, err)
	}
	holder.Abandon()
	eventually(t, "the takeover", other.Clear)
	if changed, err := other.DeliveredIn(old, held[1]); changed || err != nil {
		t.Errorf("in an old epoch: changed %t, %v", changed, err)
	}
	if s := stats(t, other); s.Queued != 1 || s.Delivered != 1 || !s.Balances() {
		t.Errorf("got %+v", s.Account)
	}
}

// A holder that is cut off stops by itself before another begins, wherever in
// its lease the cut falls, and what it says afterwards does not count.
func TestACentreCutOffStopsBeforeAnotherBegins(t *testing.T) {
	t.Parallel()
	s := server(t)
	for i := range 3 {
		url := database(t)
		proxy := pgtest.NewProxy(t, s.Addr())
		cutURL := strings.Replace(url, s.Addr(), proxy.Addr(), 1)
		cut := open(t, pgqueue.Options{URL: cutURL, Name: "cut off", Timeout: time.Second})
		eventually(t, "the first centre to deliver", cut.Clear)
		other := open(t, pgqueue.Options{URL: url, Name: "other"})
		must(t, other.Append(t.Context(), queue.Batch{Events: events("e", 3)}))
		held := take(t, cut, 3)
		time.Sleep(time.Duration(i) * lease / 9)
		proxy.Cut()
		must(t, cut.Settle(t.Context(), same(held, queue.Outcome{Verb: queue.Delivered})...))
		eventually(t, "the takeover", func() bool {
			second := other.Clear() // asked first: had the first begun again, it would be seen
			if first := cut.Clear(); first && second {
				t.Fatal("both may deliver")
			}
			return second
		})
		must(t, other.Settle(t.Context(), same(take(t, other, 3), queue.Outcome{Verb: queue.Bury, Reason: queue.Rejected})...))
		if s := stats(t, other); s.Dead != 3 || s.Delivered != 0 {
			t.Errorf("got %+v", s.Account)
		}
		proxy.Heal()
		eventually(t, "the first to see that it lost the lease", func() bool { return cut.Epoch() == 0 })
		if s := stats(t, cut); s.Dead != 3 || s.Delivered != 0 || !s.Balances() {
			t.Errorf("after the first came back: got %+v", s.Account)
		}
		cut.Abandon()
		other.Abandon()
	}
}

// Everybody calls at once: two centres take, one delivers, both are operated.
func TestTheTablesHoldWhatTheAccountSaysWhateverHappensAtOnce(t *testing.T) {
	t.Parallel()
	url := database(t)
	holder := open(t, pgqueue.Options{URL: url, Lease: time.Minute}) // a loaded machine must not hand over
	eventually(t, "the first centre to deliver", holder.Clear)
	other := open(t, pgqueue.Options{URL: url, Lease: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for i, q := range []*pgqueue.Queue{holder, other, holder, other} {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				batch := queue.Batch{Events: events(fmt.Sprint(i, "-", n), 20), Rejects: []queue.Reject{{Body: []byte("{"), Reason: queue.Malformed}}}
				if err := q.Append(t.Context(), batch); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				var err error
				switch i {
				case 0:
					_, err = q.Replay(t.Context(), queue.Filter{Limit: 7})
				case 1:
					_, err = q.Discard(t.Context(), queue.Filter{Limit: 5})
				case 2:
					_, err = q.Replay(t.Context(), queue.Filter{})
				case 3:
					_, _, err = q.Erase(t.Context(), queue.Filter{Limit: 3}, false)
				}
				if err != nil {
					t.Errorf("operator %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for n := 0; ; n++ {
			held, err := holder.Lease(ctx, 100)
			if err != nil {
				return
			}
			half := len(held) / 2
			must(t, holder.Settle(t.Context(), same(held[:half], queue.Outcome{Verb: queue.Delivered})...))
			must(t, holder.Settle(t.Context(), same(held[half:], queue.Outcome{Verb: queue.Bury, Reason: queue.Poison})...))
		}
	})
	wg.Wait()
	s := stats(t, holder)
	if !s.Balances() || s.Delivered == 0 || s.Discarded == 0 {
		t.Errorf("got %+v", s.Account)
	}
	wantTablesAsAccount(t, url, int(s.Queued), int(s.Dead))
}

func wantTablesAsAccount(t testing.TB, url string, queued, dead int) {
	t.Helper()
	if got := query[int](t, url, "SELECT count(*) FROM trackd.events"); got != queued {
		t.Errorf("%d rows of events, the account says %d", got, queued)
	}
	if got := query[int](t, url, "SELECT count(*) FROM trackd.dead_letters"); got != dead {
		t.Errorf("%d rows of dead letters, the account says %d", got, dead)
	}
	costs := query[int64](t, url, `SELECT (SELECT coalesce(sum(cost), 0) FROM trackd.events) + (SELECT coalesce(sum(cost), 0) FROM trackd.dead_letters)`)
	if got := query[int64](t, url, "SELECT sum(bytes + reject_bytes + sample_bytes)::bigint FROM trackd.account"); got != costs {
		t.Errorf("the account charges %d bytes, the rows cost %d", got, costs)
	}
}

func TestTablesAreMadeOnlyByInit(t *testing.T) {
	t.Parallel()
	s := server(t)
	s.Exec("CREATE DATABASE bare")
	url := s.URL("bare")
	if _, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: url}); err == nil || !strings.Contains(err.Error(), "trackd fleet init") {
		t.Errorf("without tables: got %v, want to be told of trackd fleet init", err)
	}
	if sql, err := pgqueue.Init(t.Context(), url, true); err != nil || len(sql) == 0 || !strings.Contains(sql[0], "CREATE TABLE trackd.events") {
		t.Errorf("dry run: got %v, %v", sql, err)
	}
	if done, err := pgqueue.Init(t.Context(), url, false); err != nil || len(done) == 0 || done[0] != "0001_queue" {
		t.Errorf("got %v, %v", done, err)
	}
	if done, err := pgqueue.Init(t.Context(), url, false); err != nil || len(done) != 0 {
		t.Errorf("a second time: got %v, %v", done, err)
	}
	query[int](t, url, "INSERT INTO trackd.migrations (number) VALUES (99) RETURNING number")
	for what, err := range map[string]error{
		"open": second(pgqueue.Open(t.Context(), pgqueue.Options{URL: url})), "init": second(pgqueue.Init(t.Context(), url, false)),
	} {
		if err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Errorf("%s on newer tables: got %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestNoErrorTellsThePassword(t *testing.T) {
	for _, url := range []string{
		"postgres://trackd:hunter2@127.0.0.1:1/x?connect_timeout=1", "postgres://trackd:hunter2@[::1/x", "host=127.0.0.1 port=1 password=hunter2 connect_timeout=1",
		"postgres://trackd:hun ter2%zz@127.0.0.1/x", "postgres://127.0.0.1:1/x?password=hunter2&sslmode=nonsense", "password='hunter2",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := pgqueue.Open(ctx, pgqueue.Options{URL: url})
		cancel()
		if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%q: got %v", url, err)
		}
	}
}
