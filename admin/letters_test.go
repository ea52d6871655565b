package admin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"trackd/admin"
	"trackd/event"
	"trackd/internal/status"
	"trackd/queue"
)

// letters lists what matches, through the socket.
func (r *rig) letters(f queue.Filter) []admin.DeadLetter {
	r.Helper()
	var all []admin.DeadLetter
	for l, err := range r.client.DeadLetters(r.Context(), f) {
		check(r, err)
		all = append(all, l)
	}
	return all
}

func ids(letters []admin.DeadLetter) []string {
	all := []string{}
	for _, l := range letters {
		all = append(all, l.MessageID)
	}
	return all
}

func TestALetterArrivesWhole(t *testing.T) {
	r := newRig(t, 0).serve()
	r.bury("dead", 1, queue.Rejected, 400)
	got := r.letters(queue.Filter{})
	if len(got) != 1 {
		t.Fatalf("got %d letters, want 1", len(got))
	}
	l := got[0]
	if l.Taken.IsZero() || l.Died.Before(l.Taken) {
		t.Errorf("taken %v, died %v", l.Taken, l.Died)
	}
	l.Taken, l.Died, l.Address = time.Time{}, time.Time{}, ""
	want := admin.DeadLetter{Reason: queue.Rejected, Status: 400, Detail: `{"meta":{"errors":["<no> & never"]}}`, Attempts: 2,
		Name: "Application Installed", MessageID: "dead-0", Content: admin.Content{Event: events("dead", 1)[0].Body}}
	if diff := cmp.Diff(want, l); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The filter is one for all verbs and crosses the socket as it is.
func TestEveryFieldOfTheFilterCrossesTheSocket(t *testing.T) {
	r := newRig(t, 0).serve()
	r.bury("a", 4, queue.Rejected, 400)
	r.bury("b", 2, queue.Poison, 503)
	all := r.letters(queue.Filter{})
	address := func(i int) queue.Address {
		a, err := queue.ParseAddress(all[i].Address)
		check(t, err)
		return a
	}
	for _, test := range []struct {
		name   string
		filter queue.Filter
		want   []string
	}{
		{"reason", queue.Filter{Reasons: []queue.Reason{queue.Poison}}, []string{"b-0", "b-1"}},
		{"two reasons", queue.Filter{Reasons: []queue.Reason{queue.Poison, queue.Rejected}, Limit: 5}, []string{"a-0", "a-1", "a-2", "a-3", "b-0"}},
		{"status", queue.Filter{Statuses: []int{503, 500}}, []string{"b-0", "b-1"}},
		{"event", queue.Filter{Event: "Application Installed"}, []string{"a-0", "b-0"}},
		{"id", queue.Filter{ID: "a-2"}, []string{"a-2"}},
		{"user", queue.Filter{User: "user-0"}, []string{"a-0", "a-3", "b-0"}},
		{"before now", queue.Filter{TakenBefore: time.Now().Add(time.Minute), Limit: 1}, []string{"a-0"}},
		{"before anything", queue.Filter{TakenBefore: time.Unix(1, 0)}, []string{}},
		{"taken since long ago", queue.Filter{TakenAfter: time.Unix(1, 0), Limit: 1}, []string{"a-0"}},
		{"taken from now on", queue.Filter{TakenAfter: time.Now().Add(time.Minute)}, []string{}},
		{"died before now", queue.Filter{DiedBefore: time.Now().Add(time.Minute), Limit: 1}, []string{"a-0"}},
		{"died before anything", queue.Filter{DiedBefore: time.Unix(1, 0)}, []string{}},
		{"type", queue.Filter{Types: []event.Type{event.TypeAlias, event.TypeTrack}, Limit: 1}, []string{"a-0"}},
		{"another type", queue.Filter{Types: []event.Type{event.TypeAlias}}, []string{}},
		{"after", queue.Filter{After: address(4)}, []string{"b-1"}},
		{"at", queue.Filter{At: []queue.Address{address(5), address(1)}}, []string{"a-1", "b-1"}},
		{"nothing of it", queue.Filter{ID: "c"}, []string{}},
	} {
		if got := ids(r.letters(test.filter)); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
		counted, err := r.client.Count(t.Context(), test.filter)
		if err != nil || counted.Count != len(test.want) {
			t.Errorf("%s: count: got %+v, %v, want %d", test.name, counted, err, len(test.want))
		}
	}
}

// A slip must never widen what is replayed or discarded.
func TestAFilterThatIsNotUnderstoodDoesNothing(t *testing.T) {
	r := newRig(t, 0)
	r.bury("dead", 1, queue.Rejected, 400)
	for _, form := range []string{"resaon=poison", "reason=nix", "status=x", "taken_before=yesterday", "type=call", "after=1", "at=2", "limit=many",
		"limit=-1", "id=", "event=a&event=b"} {
		req, err := http.NewRequest("POST", "/dead/discard", strings.NewReader(form))
		check(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := record(r.server.Actions(), req)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: got %d %s, want 400", form, w.Code, w.Body)
		}
	}
	if a := r.account(); a.Dead != 1 {
		t.Errorf("account: got %+v, want the letter still there", a)
	}
}

// A filter that nobody reads would select everything.
func TestAFilterInTheWrongPlaceDoesNothing(t *testing.T) {
	r := newRig(t, 0)
	r.bury("dead", 1, queue.Rejected, 400)
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct{ url, kind, body string }{
		{"/dead/discard?id=other", form, ""},
		{"/dead/discard", "application/json", `{"id":"other"}`},
		{"/dead/discard", "", "id=other"},
	} {
		req, err := http.NewRequest("POST", c.url, strings.NewReader(c.body))
		check(t, err)
		if c.kind != "" {
			req.Header.Set("Content-Type", c.kind)
		}
		w := record(r.server.Actions(), req)
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), form) {
			t.Errorf("%+v: got %d %s, want 400 that names %s", c, w.Code, w.Body, form)
		}
	}
	if a := r.account(); a.Dead != 1 {
		t.Errorf("account: got %+v, want the letter still there", a)
	}
}

// all replays or discards to the end, as the command line does.
func (r *rig) all(call func(queue.Filter) (admin.Amended, error), f queue.Filter) (matched, changed, calls int) {
	r.Helper()
	for {
		got, err := call(f)
		check(r, err)
		matched, changed, calls = matched+got.Matched, changed+got.Changed, calls+1
		if !got.More {
			return matched, changed, calls
		}
		f.After, err = queue.ParseAddress(got.Last)
		check(r, err)
	}
}

func TestReplayGoesChunkByChunkAndLeavesNothing(t *testing.T) {
	r := newRig(t, 0).serve()
	r.bury("dead", 600, queue.Poison, 500)
	r.bury("other", 3, queue.Rejected, 400) // in the midst of the second chunk
	r.bury("more", 634, queue.Poison, 500)
	replay := func(f queue.Filter) (admin.Amended, error) { return r.client.Replay(t.Context(), f) }
	matched, changed, calls := r.all(replay, queue.Filter{Reasons: []queue.Reason{queue.Poison}})
	if matched != 1234 || changed != 1234 || calls != 3 {
		t.Errorf("got %d of %d in %d calls, want 1234 of 1234 in 3", changed, matched, calls)
	}
	if a := r.account(); a.Queued != 1234 || a.Dead != 3 || !a.Balances() {
		t.Errorf("account: got %+v", a)
	}
	if left := ids(r.letters(queue.Filter{})); !slices.Equal(left, []string{"other-0", "other-1", "other-2"}) {
		t.Errorf("left are %v", left)
	}
}

// Letters that die again while the rest is replayed are not replayed again:
// that would never end.
func TestReplayPassesEachLetterOnce(t *testing.T) {
	r := newRig(t, 0).serve()
	r.bury("dead", 700, queue.Rejected, 400)
	first, err := r.client.Replay(t.Context(), queue.Filter{})
	check(t, err)
	for left := first.Changed; left > 0; {
		deliveries, err := r.queue.Lease(t.Context(), left)
		check(t, err)
		for _, d := range deliveries {
			check(t, r.queue.Settle(t.Context(), queue.Outcome{Address: d.Address, Verb: queue.Bury, Reason: queue.Rejected, Attempts: 1}))
			left--
		}
	}
	after, err := queue.ParseAddress(first.Last)
	check(t, err)
	second, err := r.client.Replay(t.Context(), queue.Filter{After: after})
	check(t, err)
	if second.Changed != 200 || second.More {
		t.Errorf("got %+v, want the other 200 and no more", second)
	}
}

func TestTheLimitBindsReplayAndDiscard(t *testing.T) {
	r := newRig(t, 0).serve()
	r.bury("dead", 10, queue.Poison, 500)
	got, err := r.client.Replay(t.Context(), queue.Filter{Limit: 4})
	if err != nil || got.Changed != 4 || got.More {
		t.Errorf("replay: got %+v, %v, want 4 and no more", got, err)
	}
	got, err = r.client.Discard(t.Context(), queue.Filter{Limit: 5})
	if err != nil || got.Changed != 5 || got.More {
		t.Errorf("discard: got %+v, %v, want 5 and no more", got, err)
	}
	if a := r.account(); a.Queued != 4 || a.Discarded != 5 || a.Dead != 1 {
		t.Errorf("account: got %+v", a)
	}
}

func TestDoorLettersAreReplayedOnlyIfTheyPassNow(t *testing.T) {
	r := newRig(t, 0).serve()
	good := string(events("mended", 1)[0].Body)
	r.append(nil, badLine("nonsense"), badLine(good), badLine(`{"event":`))
	got, err := r.client.Replay(t.Context(), queue.Filter{})
	if err != nil || got.Matched != 3 || got.Changed != 1 {
		t.Fatalf("got %+v, %v, want 1 of 3", got, err)
	}
	if a := r.account(); a.Queued != 1 || a.Dead != 2 || a.Discarded != 1 || !a.Balances() {
		t.Errorf("account: got %+v", a)
	}
	const want = `
# HELP trackd_events_discarded_total Dead letters an operator threw away, or replaced by replaying what was rejected at ingest.
# TYPE trackd_events_discarded_total counter
trackd_events_discarded_total 1
# HELP trackd_events_replayed_total Dead letters an operator had queued again.
# TYPE trackd_events_replayed_total counter
trackd_events_replayed_total 1
`
	check(t, testutil.GatherAndCompare(r.registry, strings.NewReader(want), "trackd_events_discarded_total", "trackd_events_replayed_total"))
}

func TestOneIsFoundByItsAddress(t *testing.T) {
	r := newRig(t, 0).serve()
	r.bury("dead", 3, queue.Poison, 500)
	r.append(events("waiting", 3))
	for _, l := range r.letters(queue.Filter{}) {
		at, err := queue.ParseAddress(l.Address)
		check(t, err)
		if got := ids(r.letters(admin.Exactly(at))); !slices.Equal(got, []string{l.MessageID}) {
			t.Errorf("dead letter at %s: got %v, want %s", l.Address, got, l.MessageID)
		}
		if e, err := nextOf(r.client.Queued(t.Context(), admin.Exactly(at))); err != nil || e.Address != "" {
			t.Errorf("event at %s: got %+v, %v, want none", l.Address, e, err)
		}
	}
	for e, err := range r.client.Queued(t.Context(), queue.Filter{ID: "waiting-1"}) {
		check(t, err)
		at, err := queue.ParseAddress(e.Address)
		check(t, err)
		if got, err := nextOf(r.client.Queued(t.Context(), admin.Exactly(at))); err != nil || got.MessageID != "waiting-1" {
			t.Errorf("event at %s: got %+v, %v", e.Address, got, err)
		}
	}
}

// halfway is a queue that fails some way through an order, after it did a part
// of it.
type halfway struct {
	admin.Letters
	replay, replace, discard error
}

func (h halfway) Replay(ctx context.Context, f queue.Filter) (int, error) {
	if h.replay != nil {
		f.Limit = 2
	}
	n, err := h.Letters.Replay(ctx, f)
	return n, errors.Join(err, h.replay)
}

func (h halfway) Replace(ctx context.Context, f queue.Filter, put func(context.Context, []queue.DeadLetter) ([]queue.Address, error)) (int, error) {
	if h.replace != nil {
		f.Limit = 1
	}
	n, err := h.Letters.Replace(ctx, f, put)
	return n, errors.Join(err, h.replace)
}

func (h halfway) Discard(ctx context.Context, f queue.Filter) (int, error) {
	if h.discard != nil {
		f.Limit = 3
	}
	n, err := h.Letters.Discard(ctx, f)
	return n, errors.Join(err, h.discard)
}

// Half an order is answered as what it is, and counted.
func TestHalfAnOrderIsToldAndCounted(t *testing.T) {
	failed := errors.New("the disk is full")
	for _, test := range []struct {
		name                string
		queue               halfway
		changed             int
		replayed, discarded int
	}{
		{"a replay, while accepted events are replayed", halfway{replay: failed}, 2, 2, 0},
		{"a replay, while rejected input is", halfway{replace: failed}, 6, 6, 1},
		{"a discard", halfway{discard: failed}, 3, 0, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, 0)
			test.queue.Letters = r.queue
			r.registry = prometheus.NewRegistry()
			var err error
			r.server, err = admin.New(admin.Options{Queue: r.queue, Letters: test.queue, Control: r.control, Take: r.take,
				Upstream: func() status.Upstream { return r.upstream }, Registry: r.registry})
			check(t, err)
			r.serve()
			for _, ev := range events("mended", 2) {
				r.append(nil, badLine(string(ev.Body)))
			}
			r.bury("dead", 5, queue.Poison, 500)
			call := r.client.Replay
			if test.queue.discard != nil {
				call = r.client.Discard
			}
			got, err := call(t.Context(), queue.Filter{})
			if err == nil || err.Error() != failed.Error() || got.Changed != test.changed {
				t.Errorf("got %+v, %v, want %d changed and why not more", got, err, test.changed)
			}
			want := fmt.Sprintf(`
# HELP trackd_events_discarded_total Dead letters an operator threw away, or replaced by replaying what was rejected at ingest.
# TYPE trackd_events_discarded_total counter
trackd_events_discarded_total %d
# HELP trackd_events_replayed_total Dead letters an operator had queued again.
# TYPE trackd_events_replayed_total counter
trackd_events_replayed_total %d
`, test.discarded, test.replayed)
			check(t, testutil.GatherAndCompare(r.registry, strings.NewReader(want), "trackd_events_discarded_total", "trackd_events_replayed_total"))
		})
	}
}
