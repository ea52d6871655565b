package admin_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"trackd/admin"
	"trackd/internal/status"
	"trackd/queue"
)

// page asks a handler for a page.
func page(h http.Handler, method, path string) (status int, body string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Body.String()
}

func TestHealthPagesSayWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name, path string
		make       func(*rig)
		status     int
		reason     string
	}{
		{"all is well", "/healthz", func(*rig) {}, 200, "making progress"},
		{"all is well", "/readyz", func(*rig) {}, 200, "events are accepted"},
		{"all is well", "/deliverz", func(*rig) {}, 200, "the upstream is open"},
		{"something hangs", "/healthz", func(r *rig) { r.sick = errors.New("the writer does not turn") }, 503, "no progress: the writer does not turn"},
		{"something hangs", "/readyz", func(r *rig) { r.sick = errors.New("the writer does not turn") }, 200, "events are accepted"},
		{"the queue is full", "/readyz", func(r *rig) { r.append(events("e", 5)) }, 503, "events are refused: 5 events are queued"},
		{"the queue is full", "/healthz", func(r *rig) { r.append(events("e", 5)) }, 200, "making progress"},
		{"the intake is stopped", "/readyz", func(r *rig) { r.control.closed = time.Unix(0, 0) }, 503, "draining: an operator stopped the intake at 1970-01-01T00:00:00Z"},
		{"the upstream is denied", "/deliverz", func(r *rig) { r.upstream = status.Upstream{State: "denied", Why: "wrong key"} }, 503, "the upstream is denied: wrong key"},
		{"the upstream is paused", "/readyz", func(r *rig) { r.upstream = status.Upstream{State: "paused"} }, 200, "events are accepted"},
		{"the queue is closed", "/healthz", func(r *rig) { check(r, r.queue.Close()) }, 503, "queue statistics are unavailable: queue is closed"},
		{"the queue is closed", "/status", func(r *rig) { check(r, r.queue.Close()) }, 503, "queue statistics are unavailable"},
	} {
		t.Run(test.name+" "+test.path, func(t *testing.T) {
			r := newRig(t, 5)
			test.make(r)
			status, body := page(r.server.Pages(), "GET", test.path)
			if status != test.status {
				t.Errorf("got %d, want %d", status, test.status)
			}
			mentions(t, body, test.reason)
		})
	}
}

func TestTheStatusHoldsTheAccountAndEveryReason(t *testing.T) {
	r := newRig(t, 0)
	r.bury("dead", 3, queue.Poison, 500)
	r.append(events("waiting", 2), badLine("nonsense"))
	_, body := page(r.server.Pages(), "GET", "/status")
	var got status.Report
	check(t, json.Unmarshal([]byte(body), &got))
	want := status.Balance{Account: status.Account{Taken: 6, Queued: 2, Dead: 4}, Balances: true, Exact: true}
	if got.Account != want {
		t.Errorf("account: got %+v, want %+v", got.Account, want)
	}
	if n := len(got.Dead.ByReason); n != len(queue.Reasons()) || got.Dead.ByReason[queue.Poison] != 3 || got.Dead.ByReason[queue.Malformed] != 1 {
		t.Errorf("by reason: got %v", got.Dead.ByReason)
	}
	if got.Version != "1.2.3" || got.Upstream.State != "open" {
		t.Errorf("got version %q, line %q", got.Version, got.Upstream.State)
	}
	mentions(t, body, `"alarms": []`, `"damaged": []`, `"net_drain_per_second": null`, `"will_pass_72h": null`)
}

// Whoever reaches the pages must neither change anything nor see an event.
func TestPagesNeitherActNorShowEvents(t *testing.T) {
	r := newRig(t, 0)
	r.bury("dead", 1, queue.Rejected, 400)
	for _, path := range []string{"/dead", "/dead/count", "/queue", "/dead/replay", "/dead/discard", "/import", "/pause", "/resume", "/drain"} {
		for _, method := range []string{"GET", "POST"} {
			if status, body := page(r.server.Pages(), method, path); status != http.StatusNotFound {
				t.Errorf("%s %s: got %d %q, want 404", method, path, status, body)
			}
		}
	}
	for _, path := range []string{"/status", "/metrics", "/healthz", "/readyz", "/deliverz"} {
		status, body := page(r.server.Pages(), "GET", path)
		if status != http.StatusOK || strings.Contains(body, "user-0") || strings.Contains(body, "dead-0") {
			t.Errorf("%s: got %d %q", path, status, body)
		}
		if status, _ := page(r.server.Pages(), "POST", path); status != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: got %d, want 405", path, status)
		}
		if status, _ := page(r.server.Actions(), "GET", path); status != http.StatusOK {
			t.Errorf("%s where one acts: got %d, want 200", path, status)
		}
	}
	if len(r.control.orders) > 0 {
		t.Errorf("orders were carried out: %v", r.control.orders)
	}
}

func TestMetricsTellTheStateOfTheQueue(t *testing.T) {
	r := newRig(t, 0)
	r.bury("dead", 2, queue.Poison, 500)
	r.append(events("waiting", 3))
	r.upstream.Alarm = "every event is rejected"
	r.control.reload.Problems = []string{"sender.rate: found many"}
	r.control.closed = time.Now()
	const want = `
# HELP trackd_alarms Alarms that trackd status shows now.
# TYPE trackd_alarms gauge
trackd_alarms 2
# HELP trackd_build_info Always 1; the version is the label.
# TYPE trackd_build_info gauge
trackd_build_info{version="1.2.3"} 1
# HELP trackd_config_last_reload_successful 1 if the configuration on disk was put into force when it was last read, 0 if it was refused.
# TYPE trackd_config_last_reload_successful gauge
trackd_config_last_reload_successful 0
# HELP trackd_dead_letters Dead letters kept, by reason.
# TYPE trackd_dead_letters gauge
trackd_dead_letters{reason="expired"} 0
trackd_dead_letters{reason="invalid"} 0
trackd_dead_letters{reason="malformed"} 0
trackd_dead_letters{reason="not_lifecycle"} 0
trackd_dead_letters{reason="oversize"} 0
trackd_dead_letters{reason="poison"} 2
trackd_dead_letters{reason="rejected"} 0
trackd_dead_letters{reason="too_large"} 0
# HELP trackd_events_discarded_total Dead letters an operator threw away, or replaced by replaying what was rejected at ingest.
# TYPE trackd_events_discarded_total counter
trackd_events_discarded_total 0
# HELP trackd_intake_open 1 while events are taken, 0 after an operator stopped the intake to drain.
# TYPE trackd_intake_open gauge
trackd_intake_open 0
# HELP trackd_queue_events Events that wait to be delivered.
# TYPE trackd_queue_events gauge
trackd_queue_events 3
# HELP trackd_segments_quarantined Files set aside as damaged.
# TYPE trackd_segments_quarantined gauge
trackd_segments_quarantined 0
`
	err := testutil.GatherAndCompare(r.registry, strings.NewReader(want), "trackd_alarms", "trackd_build_info",
		"trackd_config_last_reload_successful", "trackd_dead_letters", "trackd_intake_open",
		"trackd_events_discarded_total", "trackd_queue_events", "trackd_segments_quarantined")
	if err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(r.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

func TestMissingOptionsAreNamedTogether(t *testing.T) {
	_, err := admin.New(admin.Options{})
	if err == nil {
		t.Fatal("got no error")
	}
	mentions(t, err.Error(), "queue is missing", "letters is missing", "control is missing", "upstream is missing", "take is missing")
}
