package main

import (
	"testing"
	"time"

	"trackd/internal/status"
)

func TestClientsWithTroubleAreShownForAnHour(t *testing.T) {
	now := time.Now()
	c := status.Clients{
		Connections: []status.Connections{
			{Listener: "socket", Open: 47, Max: 47, ClosedIdle: 9, TurnedAway: 1, LastCrowded: now.Add(-time.Minute)},
			{Listener: "http", Max: 47, LastCrowded: now.Add(-2 * time.Hour)},
			{Listener: "admin_http", Max: 32},
		},
		Bounced: []status.Bounced{{Reason: "not_found", Count: 3, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Last: now.Add(-time.Second),
			Client: "app/1.0", Sample: "POST /v1/b: trackd serves others"}},
	}
	rows := clientRows(c)
	want := [][2]string{
		{"clients", "socket: 47 of 47 in use, all of them 1m 0s ago; since the start 9 idle ones closed for others, 1 turned away"},
		{"bounced", "not_found: 3 turned back since 2026-01-02 03:04:05, last 1s ago from app/1.0\n  POST /v1/b: trackd serves others"},
	}
	if len(rows) != 2 || rows[0] != want[0] || rows[1] != want[1] {
		t.Errorf("got  %q\nwant %q", rows, want)
	}
	if rows := clientRows(status.Clients{}); len(rows) != 0 {
		t.Errorf("without trouble: %q, want nothing", rows)
	}
}
