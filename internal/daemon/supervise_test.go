package daemon

import (
	"testing"
	"time"

	"trackd/internal/status"
)

func TestTheStatusLineSaysWhatAnOperatorMustKnow(t *testing.T) {
	since := time.Date(2026, 11, 22, 14, 3, 0, 0, time.UTC)
	for _, test := range []struct {
		name string
		s    status.Report
		want string
	}{
		{"well", status.Report{Upstream: status.Upstream{State: "open"}}, "upstream open; nothing queued"},
		{"a moment's backlog", status.Report{Upstream: status.Upstream{State: "open"},
			Account: status.Balance{Account: status.Account{Queued: 12}}, Queue: status.Backlog{OldestAgeSeconds: 59}}, "upstream open; 12 queued"},
		{"after an outage", status.Report{Upstream: status.Upstream{State: "open", Why: "it climbs", Since: since},
			Account: status.Balance{Account: status.Account{Queued: 1234}}, Queue: status.Backlog{OldestAgeSeconds: 7_475}},
			"upstream open, not yet at its full rate; 1234 queued, the oldest for 2h4m"},
		{"denied", status.Report{Upstream: status.Upstream{State: "denied", Why: "check the key", Since: since}, Account: status.Balance{Account: status.Account{Queued: 1}}},
			"upstream denied since 2026-11-22 14:03:00: check the key; 1 queued"},
		{"full", status.Report{Upstream: status.Upstream{State: "open"}, Queue: status.Backlog{Full: "the disk is full"}},
			"events are refused: the disk is full; upstream open; nothing queued"},
		{"draining", status.Report{Upstream: status.Upstream{State: "open"}, Closed: since}, "intake stopped by an operator; upstream open; nothing queued"},
		{"dead letters", status.Report{Upstream: status.Upstream{State: "open"}, Account: status.Balance{Account: status.Account{Dead: 3}}},
			"upstream open; nothing queued; 3 dead letters (trackd dead list)"},
		{"an alarm of the upstream", status.Report{Upstream: status.Upstream{State: "open", Alarm: "twenty refused"}}, "upstream open; nothing queued; alarms (trackd status)"},
		{"an alarm of the queue", status.Report{Upstream: status.Upstream{State: "open"}, Alarms: []string{"x"}}, "upstream open; nothing queued; alarms (trackd status)"},
		{"a refused reload", status.Report{Upstream: status.Upstream{State: "open"}, Reload: status.Reload{Problems: []string{"x"}}}, "upstream open; nothing queued; alarms (trackd status)"},
		{"a damaged file", status.Report{Upstream: status.Upstream{State: "open"}, Disk: status.Disk{Damaged: []string{"x"}}}, "upstream open; nothing queued; alarms (trackd status)"},
	} {
		if got := inOneLine(test.s); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}
