package main

import (
	"slices"
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
	for i, kind := range []string{`type "page"`, `event "a"`, `event "b"`, `event "c"`, `event "d"`} {
		c.Excluded = append(c.Excluded, status.Excluded{Kind: kind, Count: uint64(i + 1), Last: now.Add(-time.Minute), Admit: "ingest.accept: all"})
	}
	rows := clientRows(c)
	want := [][2]string{
		{"clients", "socket: 47 of 47 in use, all of them 1m 0s ago; since the start 9 idle ones closed for others, 1 turned away"},
		{"bounced", "not_found: 3 turned back since 2026-01-02 03:04:05, last 1s ago from app/1.0\n  POST /v1/b: trackd serves others"},
		{"excluded", "type \"page\": 1, last 1m 0s ago; to send such events set ingest.accept: all and reload\n" +
			"event \"a\": 2, last 1m 0s ago; to send such events set ingest.accept: all and reload\n" +
			"event \"b\": 3, last 1m 0s ago; to send such events set ingest.accept: all and reload\nand 2 more kinds"},
	}
	if !slices.Equal(rows, want) {
		t.Errorf("got  %q\nwant %q", rows, want)
	}
	if rows := clientRows(status.Clients{}); len(rows) != 0 {
		t.Errorf("without trouble: %q, want nothing", rows)
	}
}
