package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"trackd/event"
	"trackd/queue"
)

func TestAResultTrustsOnlyWhatTheQueueVouchesFor(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want result
	}{
		{"durable", nil, result{counts{3, 5, 0}, "", "", 0}},
		{"full", queue.ErrFull, result{counts{0, 0, 8}, codeQueueFull, codeQueueFull, 0}},
		{"full, wrapped", fmt.Errorf("append: %w", queue.ErrFull), result{counts{0, 0, 8}, codeQueueFull, codeQueueFull, 0}},
		{"no room for rejects", queue.ErrRejectsFull, result{counts{3, 1, 4}, "", reasonRejectsFull, 0}},
		{"samples enough", queue.ErrSamplesFull, result{counts{3, 4, 1}, "", "", 1}},
		{"neither", errors.Join(queue.ErrSamplesFull, queue.ErrRejectsFull), result{counts{3, 0, 5}, "", reasonRejectsFull, 1}},
		{"no room for anything", errors.Join(queue.ErrRejectsFull, queue.ErrFull), result{counts{0, 0, 8}, codeQueueFull, codeQueueFull, 0}},
		{"closed", queue.ErrClosed, result{counts{0, 0, 8}, codeUnavailable, codeUnavailable, 0}},
		{"anything else", errors.New("input/output error"), result{counts{0, 0, 8}, codeUnavailable, codeUnavailable, 0}},
	} {
		if got := resultOf(3, 5, 1, c.err); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// twoGood is a batch of two events and no rejects.
func twoGood() *batch { return &batch{Batch: queue.Batch{Events: make([]event.Event, 2)}} }

func TestTroubleIsLoggedWhenItBeginsAndWhenItIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail error
		q := &shelf{before: func(queue.Batch) error { return fail }}
		log, logged := journal(slog.LevelInfo)
		s := open(t, q, func(o *Options) { o.Log = log })
		for range 100 { // at the edge: full, not full, full
			fail = queue.ErrFull
			s.commit(t.Context(), sourceSocket, twoGood())
			fail = nil
			s.commit(t.Context(), sourceHTTP, twoGood())
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		s.commit(t.Context(), sourceHTTP, twoGood())
		s.commit(t.Context(), sourceHTTP, twoGood())
		want := `level=WARN msg="queue is full, events are refused" error="queue is full"
level=INFO msg="queue has room again, events are taken" refused=200 after=1m0.1s
`
		if got := logged(); got != want {
			t.Errorf("logged\n%swant\n%s", got, want)
		}
	})
}

func TestFirstExcludedEventOfAKindIsWarnedOf(t *testing.T) {
	log, logged := journal(slog.LevelInfo)
	s := open(t, &shelf{}, func(o *Options) { o.Log = log })
	parser := event.Parser{}
	for _, raw := range []string{
		`{"event":"Order Placed","userId":"u"}`, `{"event":"Order Placed","userId":"v"}`,
		`{"event":"Order Paid","userId":"u"}`, `{"type":"page","userId":"u"}`, `{"userId":"u"}`,
	} {
		_, err := parser.Parse([]byte(raw), time.Now())
		s.excluded.note(asRejection(err))
	}
	got := logged()
	for _, found := range []string{"Order Placed", "Order Paid", "page"} {
		if n := strings.Count(got, found); n != 1 {
			t.Errorf("%q is logged %d times, want once", found, n)
		}
	}
	if n := strings.Count(got, "setting=ingest.accept"); n != 3 {
		t.Errorf("logged %d warnings, want 3:\n%s", n, got)
	}
	var told []string
	for _, e := range s.Excluded() {
		told = append(told, fmt.Sprintf("%s %d %s", e.Kind, e.Count, e.Admit))
	}
	slices.Sort(told)
	if want := []string{`event "Order Paid" 1 ingest.accept: track`, `event "Order Placed" 2 ingest.accept: track`, `type "page" 1 ingest.accept: all`}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	for i := range 2 * maxKinds {
		_, err := parser.Parse(fmt.Appendf(nil, `{"event":"\u009b%d","userId":"u"}`, i), time.Now())
		s.excluded.note(asRejection(err))
	}
	if n := len(s.Excluded()); n != maxKinds {
		t.Errorf("%d kinds are remembered, want %d", n, maxKinds)
	}
	s.SetRules(Rules{})
	if n := len(s.Excluded()); n != maxKinds {
		t.Errorf("%d kinds after a reload that changes nothing, want %d", n, maxKinds)
	}
	s.SetRules(Rules{Parser: event.Parser{Accept: event.Track}})
	if n := len(s.Excluded()); n != 0 {
		t.Errorf("%d kinds after the setting changed, want none", n)
	}
}

func TestOneMessageIDCanBeFollowed(t *testing.T) {
	log, logged := journal(slog.LevelDebug)
	s := open(t, &shelf{}, func(o *Options) { o.Log = log })
	ev, err := event.Parser{}.Parse([]byte(`{"event":"Application Opened","userId":"secret","messageId":"m-1"}`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.commit(t.Context(), sourceHTTP, &batch{Batch: queue.Batch{Events: []event.Event{ev}}})
	want := `level=DEBUG msg="event taken" message_id=m-1 event="Application Opened" source=http` + "\n"
	if got := logged(); got != want {
		t.Errorf("logged %swant %s", got, want)
	}
}

func TestMetricsHaveEveryLabelFromTheStartAndCountWhatIsTold(t *testing.T) {
	reg := prometheus.NewRegistry()
	q := &shelf{}
	s := open(t, q, func(o *Options) { o.Registerer = reg })
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(reg, "trackd_events_taken_total"); n != 4 || err != nil {
		t.Errorf("%d series of events taken, want 2 sources × 2 outcomes (%v)", n, err)
	}
	if n, err := testutil.GatherAndCount(reg, "trackd_events_refused_total"); n != len(refusals()) || err != nil {
		t.Errorf("%d series of events refused, want %d (%v)", n, len(refusals()), err)
	}

	both := &batch{Batch: queue.Batch{Events: make([]event.Event, 3), Rejects: make([]queue.Reject, 2)}, replaced: 1}
	both.Rejects[0].Reason = queue.NotLifecycle
	for _, q.after = range []error{nil, queue.ErrRejectsFull, queue.ErrSamplesFull, queue.ErrFull, queue.ErrClosed} {
		s.commit(t.Context(), sourceSocket, both)
	}
	want := `
# HELP trackd_events_refused_total Events that were read and not kept, by reason.
# TYPE trackd_events_refused_total counter
trackd_events_refused_total{reason="excluded"} 1
trackd_events_refused_total{reason="queue_full"} 5
trackd_events_refused_total{reason="rejects_full"} 1
trackd_events_refused_total{reason="unavailable"} 5
trackd_events_refused_total{reason="unfinished"} 0
# HELP trackd_events_taken_total Events made durable, by the listener they came through: accepted to be sent, or rejected and kept as dead letters.
# TYPE trackd_events_taken_total counter
trackd_events_taken_total{outcome="accepted",source="http"} 0
trackd_events_taken_total{outcome="accepted",source="socket"} 9
trackd_events_taken_total{outcome="rejected",source="http"} 0
trackd_events_taken_total{outcome="rejected",source="socket"} 4
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "trackd_events_taken_total", "trackd_events_refused_total"); err != nil {
		t.Error(err)
	}
}

func TestOptionsNameEveryProblem(t *testing.T) {
	_, err := New(Options{LineTimeout: -1, ShutdownTimeout: -time.Second})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"queue is missing", "line timeout", "shutdown timeout -1s is negative"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q in it", err, want)
		}
	}
}
