package main

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackd/internal/status"
)

// TestTheServiceManagerIsToldOfStartReloadAndStop is systemd's other end of
// NOTIFY_SOCKET.
func TestTheServiceManagerIsToldOfStartReloadAndStop(t *testing.T) {
	t.Parallel()
	_, upstream := newSandbox(t)
	d := newProcess(t, upstream)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: d.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	d.env = append(d.env, "NOTIFY_SOCKET="+d.path("notify"), "WATCHDOG_USEC=400000")
	var heard []string // and not asked for yet: the watchdog and the status come whenever they like
	hear := func(want string) {
		t.Helper()
		text := make([]byte, 4096)
		for socket.SetReadDeadline(time.Now().Add(patience)); ; {
			i := slices.IndexFunc(heard, func(message string) bool { return strings.HasPrefix(message, want) })
			if i >= 0 {
				heard = slices.Delete(heard, i, i+1)
				return
			}
			n, err := socket.Read(text)
			if err != nil {
				t.Fatalf("waiting for %q: %v; heard %q", want, err, heard)
			}
			heard = append(heard, string(text[:n]))
		}
	}
	d.start()
	hear("READY=1")
	if status := d.status(); status.Queue.Full != "" {
		t.Errorf("it said READY and refuses events: %s", status.Queue.Full)
	}
	hear("WATCHDOG=1")
	hear("STATUS=upstream open; nothing queued")
	hear("WATCHDOG=1")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1\nMONOTONIC_USEC=")
	hear("READY=1")
	if code, _ := d.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	hear("STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\nSTATUS=stopping")
}

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
		if got := statusLine(test.s); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}
