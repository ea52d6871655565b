package main

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackd/admin"
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
	hear("STATUS=line open; nothing queued")
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
		s    admin.Status
		want string
	}{
		{"well", admin.Status{Line: admin.Line{State: "open"}}, "line open; nothing queued"},
		{"a moment's backlog", admin.Status{Line: admin.Line{State: "open"},
			Account: admin.Account{Queued: 12}, Queue: admin.Backlog{OldestAgeSeconds: 59}}, "line open; 12 queued"},
		{"after an outage", admin.Status{Line: admin.Line{State: "open", Why: "it climbs", Since: since},
			Account: admin.Account{Queued: 1234}, Queue: admin.Backlog{OldestAgeSeconds: 7_475}},
			"line open, not yet at its full rate; 1234 queued, the oldest for 2h4m"},
		{"denied", admin.Status{Line: admin.Line{State: "denied", Why: "check the key", Since: since}, Account: admin.Account{Queued: 1}},
			"line denied since 2026-11-22 14:03:00: check the key; 1 queued"},
		{"full", admin.Status{Line: admin.Line{State: "open"}, Queue: admin.Backlog{Full: "the disk is full"}},
			"events are refused: the disk is full; line open; nothing queued"},
		{"draining", admin.Status{Line: admin.Line{State: "open"}, Closed: since}, "doors closed by an operator; line open; nothing queued"},
		{"dead letters", admin.Status{Line: admin.Line{State: "open"}, Account: admin.Account{Dead: 3}},
			"line open; nothing queued; 3 dead letters (trackd dead list)"},
		{"an alarm of the line", admin.Status{Line: admin.Line{State: "open", Alarm: "twenty refused"}}, "line open; nothing queued; alarms (trackd status)"},
		{"an alarm of the queue", admin.Status{Line: admin.Line{State: "open"}, Alarms: []string{"x"}}, "line open; nothing queued; alarms (trackd status)"},
		{"a damaged file", admin.Status{Line: admin.Line{State: "open"}, Disk: admin.Disk{Damaged: []string{"x"}}}, "line open; nothing queued; alarms (trackd status)"},
	} {
		if got := statusLine(test.s); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
	}
}
