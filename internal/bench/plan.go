package main

import (
	"fmt"
	"slices"
	"strings"
)

// work is what one side or both sides do. Rows that name the same work share
// its turns.
type work struct {
	name          string
	trackd, floor func(*turn) (figures, error) // floor nil: nothing to compare with
	once          bool                         // one turn is enough, for it is long or repeats itself
}

// table is one table of the report.
type table struct {
	Name    string   `json:"name"`
	Title   string   `json:"title"`
	Rows    []row    `json:"rows"`
	columns []column // of every row; nil: each row has one of its own
}

// row is one line of a table.
type row struct {
	Name  string `json:"-"` // for -only, where it is not the table's
	Says  string `json:"row"`
	Goal  string `json:"goal,omitempty"`
	Cells []cell `json:"figures"`
	work  work
	own   column
}

// column is a figure as it is shown.
type column struct {
	figure string
	says   string
	unit   string
	beside bool // with the floor's figure and the ratio
}

// loaded is the work of taking what a client sends, by trackd and by the floor.
func loaded(name string, c client) work {
	return work{name: name,
		trackd: func(t *turn) (figures, error) { return t.load(t.serveTrackd, c) },
		floor:  func(t *turn) (figures, error) { return t.load(t.serveFloor, c) },
	}
}

// alone is w without its floor.
func (w work) alone() work {
	w.name, w.floor = w.name+", trackd alone", nil
	return w
}

func httpWork(conns int) work {
	return loaded(fmt.Sprintf("http with %d connections", conns), posting(conns))
}

func socketWork() work { return loaded("socket", streaming(4, 256, typical)) }
func drainWork() work  { return work{name: "drain", trackd: drainTrackd, floor: drainFloor} }

// pressedWork sets delivery beside itself alone.
func pressedWork() work {
	return work{name: "both", trackd: drainUnder(streaming(4, 256, typical)), floor: drainTrackd}
}

// mainTables are what is measured unless -tables is given.
func mainTables() []table { return []table{goals(), acknowledgement(), cost(), stageTable()} }

func goals() table {
	rate := func(figure string) column { return column{figure, "", "events/s", true} }
	return table{Name: "goals", Title: "work", Rows: []row{
		{Name: "http", Says: "HTTP, one event a request, 64 connections", work: httpWork(64), own: rate(taken), Goal: "≥ 1.00"},
		{Name: "ack", Says: "acknowledgement at 1 connection, p50", work: httpWork(1), own: column{p50, "", "ms", true}, Goal: "≤ 1.20"},
		{Name: "socket", Says: "socket, 4 clients with 256 events in flight", work: socketWork(), own: rate(taken), Goal: "≥ 0.90"},
		{Name: "drain", Says: "drain, one event a POST, 16 workers", work: drainWork(), own: rate(delivered), Goal: "≥ 0.85"},
		{Name: "both", Says: "delivery while the socket is saturated, beside draining alone", work: pressedWork(), own: rate(delivered), Goal: "≥ 0.50"},
	}}
}

func acknowledgement() table {
	t := table{Name: "ack", Title: "acknowledgement over HTTP, ms", columns: []column{
		{p50, "p50", "ms", true}, {p99, "p99", "ms", true}, {p999, "p99.9", "ms", true}}}
	for _, conns := range []int{1, 16, 64, 256} {
		t.Rows = append(t.Rows, row{Says: plural(conns, "connection"), work: httpWork(conns)})
	}
	return t
}

func cost() table {
	return table{Name: "cost", Title: "cost of an event", columns: []column{
		{cpu, "CPU µs", "µs", true}, {written, "bytes written", "B", true}, {commits, "commits", "", true}, {fsyncs, "fsyncs", "", false}},
		Rows: []row{
			{Says: "HTTP, 64 connections", work: httpWork(64)},
			{Says: "HTTP, 1 connection", work: httpWork(1)},
			{Says: "socket, 4 × 256 in flight", work: socketWork()},
			{Says: "drain, 16 workers", work: drainWork()},
		}}
}

// choose returns the tables to measure, with the rows to measure.
func (s settings) choose() ([]table, error) {
	if len(s.only) > 0 {
		return chosen(append(mainTables(), growthTables(s)...), s.only)
	}
	if s.tables {
		return growthTables(s), nil
	}
	return mainTables(), nil
}

// chosen returns of tables what names say: tables and rows.
func chosen(tables []table, names []string) (some []table, err error) {
	for _, name := range names {
		if !slices.Contains(namesOf(tables), name) {
			return nil, fmt.Errorf("no row and no table %q; there are %s", name, strings.Join(namesOf(tables), ", "))
		}
	}
	for _, t := range tables {
		if !slices.Contains(names, t.Name) {
			t.Rows = slices.DeleteFunc(t.Rows, func(r row) bool { return r.Name == "" || !slices.Contains(names, r.Name) })
		}
		if len(t.Rows) > 0 {
			some = append(some, t)
		}
	}
	return some, nil
}

// names lists all that -only understands.
func names() []string { return namesOf(append(mainTables(), growthTables(settings{})...)) }

func namesOf(tables []table) (names []string) {
	for _, t := range tables {
		for _, r := range t.Rows {
			if r.Name != "" {
				names = append(names, r.Name)
			}
		}
		names = append(names, t.Name)
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

// plural writes a count of things, as 1 thing, 16 things or 10 k things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return short(n) + " " + thing + "s"
}

// short writes n with its thousands or millions as k or M.
func short(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n >= 1_000 && n%1_000 == 0:
		return fmt.Sprintf("%d k", n/1_000)
	}
	return fmt.Sprint(n)
}
