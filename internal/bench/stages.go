package main

import (
	"path/filepath"
	"testing"
)

// stage is one part of an event's way, measured by itself in a process of its
// own. What is next to it costs nothing: a queue that drops, a queue that
// springs, clients that play from memory.
type stage struct {
	name string
	says string
	sink bool                                   // needs a destination
	run  func(b *testing.B, at stageSite) error // one event is one iteration

	// fixed has -fill iterations, instead of as many as -time allows: what
	// must be prepared for each would take longer than measuring it.
	fixed bool
}

// stageSite is what a stage may use.
type stageSite struct {
	dir string // for queues; fresh
	url string // of the destination, if it needs one
}

// allStages lists the stages in the order of an event's way.
func allStages() []stage {
	return []stage{
		{name: "parse", says: "parse", run: benchParse},
		{name: "socket", says: "socket door, with parsing", run: benchSocketDoor},
		{name: "handler", says: "HTTP door, handler with parsing", run: benchHandler},
		{name: "http", says: "HTTP door over loopback, 64 clients included", run: benchHTTPDoor},
		{name: "append", says: "append, 64 callers", run: benchAppend},
		{name: "lease", says: "lease and settle, from disk", run: benchLease, fixed: true},
		{name: "attempt", says: "sender, 16 workers that POST", run: benchAttempt, sink: true},
	}
}

func stageTable() table {
	t := table{Name: "stages", Title: "an event by stage", columns: []column{
		{ns, "ns", "ns", false}, {cpuNs, "CPU ns", "ns", false}, {heap, "bytes", "B", false}, {allocs, "allocations", "", false}}}
	for _, s := range allStages() {
		t.Rows = append(t.Rows, row{Says: s.says, work: work{name: "stage " + s.name, trackd: s.measure, once: true}})
	}
	return t
}

// measure runs the stage as a role.
func (s stage) measure(t *turn) (figures, error) {
	dir := filepath.Join(t.dir, "queue")
	if s.sink {
		return t.withSink(func(url string) (figures, error) { return t.play("stage", s.name, t.Time, t.Fill, dir, url) })
	}
	return t.play("stage", s.name, t.Time, t.Fill, dir, nowhere)
}
