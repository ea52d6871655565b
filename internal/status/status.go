// Package status holds what an operator is told about a running trackd: the
// document that /status serves, with its JSON names. The sender, admin and the
// command line share these types, so that nothing is copied from one into
// another on its way to the operator.
//
// It decides nothing and formats only what every reader wants the same way.
//
// Reading order: status.go (the whole document), account.go (the conservation
// law), upstream.go (the destination), outlook.go (the backlog and what will
// become of it), clients.go (who gets in and who does not).
package status

import (
	"slices"
	"strings"
	"time"

	"trackd/queue"
)

// Report is everything an operator is told at once.
type Report struct {
	Version  string    `json:"version"`
	Started  time.Time `json:"started"`
	Closed   time.Time `json:"closed_since,omitzero"` // when an operator stopped the intake, to drain
	Account  Balance   `json:"account"`
	Queue    Backlog   `json:"queue"`
	Outlook  Outlook   `json:"outlook"`
	Upstream Upstream  `json:"upstream"`
	Dead     Dead      `json:"dead_letters"`
	Disk     Disk      `json:"disk"`
	Clients  Clients   `json:"clients"`
	Reload   Reload    `json:"reload"`
	Alarms   []string  `json:"alarms"`
}

// AllAlarms is everything an operator must look at, whoever raised it.
func (r Report) AllAlarms() []string {
	alarms := slices.Clone(r.Alarms)
	if r.Upstream.Alarm != "" {
		alarms = append(alarms, r.Upstream.Alarm)
	}
	if r.Reload.Refused() {
		alarms = append(alarms, "the configuration was refused "+r.Reload.At.Format(time.DateTime)+
			" and the one before stays in force: "+strings.Join(r.Reload.Problems, "; "))
	}
	return alarms
}

// Dead counts the dead letters.
type Dead struct {
	ByReason map[queue.Reason]uint64 `json:"by_reason"`
	Bytes    int64                   `json:"rejected_bytes"` // disk held by what was rejected at ingest
	Samples  int64                   `json:"sample_bytes"`   // disk held by samples of what ingest.accept excludes
}

// Disk is what the queue uses and may use.
type Disk struct {
	Bytes     int64    `json:"bytes"`
	MaxBytes  int64    `json:"max_bytes"`
	FreeBytes int64    `json:"free_bytes"` // on the medium
	Damaged   []string `json:"damaged"`
}

// Reload tells how the last attempt to read the configuration again ended.
type Reload struct {
	At          time.Time `json:"at,omitzero"`            // zero: none since the start
	Problems    []string  `json:"problems,omitempty"`     // why it was refused; empty: it is in force
	Changed     []string  `json:"changed,omitempty"`      // what it changed
	NeedRestart []string  `json:"need_restart,omitempty"` // settings that differ and that only a restart changes
}

// Refused reports whether the configuration on disk is not the one in force.
func (r Reload) Refused() bool { return len(r.Problems) > 0 }
