package sender_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	told "trackd/internal/status"
	"trackd/sender"
)

func TestMetricsAreCleanAndThereFromTheStart(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	if _, err := sender.New(sender.Options{
		Settings: sender.Settings{Key: "k"}, URL: "http://site.test/v1", Queue: newMemQueue(), Registerer: reg,
	}); err != nil {
		t.Fatal(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	for name, want := range map[string]int{
		"trackd_events_delivered_total":   6,
		"trackd_events_buried_total":      4,
		"trackd_attempts_total":           30,
		"trackd_attempt_duration_seconds": 1,
		"trackd_delivery_latency_seconds": 1,
		"trackd_upstream_state":           5,
		"trackd_rate":                     1,
	} {
		if got, err := testutil.GatherAndCount(reg, name); got != want || err != nil {
			t.Errorf("%s has %d series (%v), want %d", name, got, err, want)
		}
	}
}

func TestMetricsCountWhatHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, func(o *sender.Options) { o.Registerer = reg })
		s.set(except(is("big"), says(413, "{}"), except(is("bad"), says(422, "{}"), passes)))
		q.add("big", "bad", "a", "b")
		time.Sleep(time.Second)
		s.set(says(401, ""))
		q.add("c")
		time.Sleep(time.Second / 10)
		want := `
# HELP trackd_events_buried_total Accepted events that became dead letters, by reason.
# TYPE trackd_events_buried_total counter
trackd_events_buried_total{reason="expired"} 0
trackd_events_buried_total{reason="poison"} 0
trackd_events_buried_total{reason="rejected"} 1
trackd_events_buried_total{reason="too_large"} 1
# HELP trackd_events_delivered_total Events the destination has taken, by type of call.
# TYPE trackd_events_delivered_total counter
trackd_events_delivered_total{type="alias"} 0
trackd_events_delivered_total{type="group"} 0
trackd_events_delivered_total{type="identify"} 0
trackd_events_delivered_total{type="page"} 0
trackd_events_delivered_total{type="screen"} 0
trackd_events_delivered_total{type="track"} 2
# HELP trackd_rate Events per second the sender allows itself now.
# TYPE trackd_rate gauge
trackd_rate 250
# HELP trackd_upstream_state 1 for the state the upstream is in, 0 for the others.
# TYPE trackd_upstream_state gauge
` + states("denied")
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "trackd_events_buried_total",
			"trackd_events_delivered_total", "trackd_upstream_state", "trackd_rate"); err != nil {
			t.Error(err)
		}
		snd.Pause(time.Now(), "")
		if err := testutil.GatherAndCompare(reg, strings.NewReader(
			"# HELP trackd_upstream_state 1 for the state the upstream is in, 0 for the others.\n"+
				"# TYPE trackd_upstream_state gauge\n"+states("paused")), "trackd_upstream_state"); err != nil {
			t.Error(err)
		}
		snd.end(t)
	})
}

// states is the exposition of trackd_upstream_state with one state on.
func states(on sender.State) string {
	var b strings.Builder
	for _, s := range told.States() {
		value := 0
		if s == on {
			value = 1
		}
		fmt.Fprintf(&b, "trackd_upstream_state{state=%q} %d\n", string(s), value)
	}
	return b.String()
}
