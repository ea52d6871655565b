package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// work is what one side or both sides do. Rows that name the same work share
// its runs.
type work struct {
	name          string
	trackd, floor func(*run) (figures, error) // floor nil: nothing to compare with
	once          bool                        // one run is enough, for it is long or repeats itself
}

// table is one table of the report.
type table struct {
	name    string
	title   string
	rows    []row
	columns []column // of every row; nil: each row has one of its own
}

// row is one line of a table.
type row struct {
	name string // for -only, where it is not the table's
	says string
	goal string
	work work
	own  column
	got  result // once it is measured
}

// column is a figure as it is shown.
type column struct {
	figure string
	says   string
	unit   string
	paired bool // with the floor's figure and the ratio
}

// goals are what is measured unless -tables is given: the speed that trackd is
// held to.
func goals(s settings) table {
	rate := func(figure string) column { return column{figure, "", "events/s", true} }
	return table{name: "goals", title: "work", rows: []row{
		{name: "http", says: "HTTP, one event a request, 64 connections", work: httpWork(64), own: rate(taken), goal: "≥ 1.05"},
		{name: "ack", says: "acknowledgement at 1 connection, p50", work: httpWork(1), own: column{p50, "", "ms", true}, goal: "≤ 1.15"},
		{name: "socket", says: "socket, 4 clients with 256 events in flight", work: socketWork(typical), own: rate(taken), goal: "≥ 0.95"},
		{name: "drain", says: "drain, one event a POST, 16 workers", work: drainWork(), own: rate(delivered), goal: "≥ 0.88"},
		{name: "order10k", says: "drain of 10,000 persons in order, beside none", work: orderWork(10_000, s.fill), own: rate(delivered), goal: "≥ 0.97"},
		{name: "both", says: "delivery while the socket is saturated, beside draining alone", work: pressedWork(), own: rate(delivered), goal: "≥ 0.60"},
		{name: "2kb", says: "socket, events of 2,000 bytes", work: socketWork(2_000), own: rate(taken), goal: "≥ 0.75"},
		{name: "8kb", says: "socket, events of 8,000 bytes", work: socketWork(8_000), own: rate(taken), goal: "≥ 0.75"},
	}}
}

// growthTables are what -tables measures: whether a cost stays what it is as
// something grows, and whether one side starves another. Sizes are multiples of
// -fill.
func growthTables(s settings) []table {
	return []table{backlogs(s), deadLetters(s), clients(), sizes(), sharing(), orders(s), idleTable(s)}
}

func allTables(s settings) []table { return append([]table{goals(s)}, growthTables(s)...) }

// serveWork is the work of accepting what a client sends.
func serveWork(name string, c client) work {
	return work{name: name,
		trackd: func(r *run) (figures, error) { return r.load((*run).serveTrackd, c) },
		floor:  func(r *run) (figures, error) { return r.load((*run).serveFloor, c) },
	}
}

func httpWork(conns int) work {
	return serveWork(fmt.Sprintf("http with %d connections", conns), posting(conns))
}

func socketWork(size int) work {
	return serveWork(fmt.Sprintf("socket with events of %d bytes", size), streaming(4, 256, size))
}

func drainWork() work { return work{name: "drain", trackd: draining, floor: drainFloor} }

// pressedWork sets delivery beside itself alone.
func pressedWork() work {
	return work{name: "both", trackd: drainingUnder(streaming(4, 256, typical)), floor: draining}
}

// alone is w without its floor.
func (w work) alone() work {
	w.name, w.floor = w.name+", trackd alone", nil
	return w
}

// backlogColumns are the figures of a queue that holds something.
func backlogColumns() []column {
	return []column{
		{p50, "ack p50 ms", "ms", false}, {taken, "socket events/s", "events/s", false}, {delivered, "drain events/s", "events/s", false},
		{ready, "ready ms", "ms", false}, {anonymous, "anonymous MiB", "MiB", false}}
}

func backlogs(s settings) table {
	counts := []int{s.fill / 10, s.fill, 10 * s.fill}
	if s.full {
		counts = append(counts, 100*s.fill)
	}
	t := table{name: "backlog", title: "backlog", columns: backlogColumns()}
	for _, n := range counts {
		prepare := func(r *run, dir string) error { return r.prepareQueue(dir, 0, n) }
		t.rows = append(t.rows, row{says: plural(n, "event"),
			work: work{name: fmt.Sprintf("backlog of %d", n), trackd: withBacklog(prepare, min(n, s.fill/2)), once: true}})
	}
	return t
}

func deadLetters(s settings) table {
	t := table{name: "dead", title: "dead letters before the backlog", columns: backlogColumns()}
	for _, n := range []int{0, s.fill / 100, s.fill / 10, s.fill} {
		prepare := func(r *run, dir string) error { return r.prepareQueue(dir, n, s.fill) }
		t.rows = append(t.rows, row{says: plural(n, "dead letter"),
			work: work{name: fmt.Sprintf("%d dead letters", n), trackd: withBacklog(prepare, s.fill/2)}})
	}
	return t
}

func clients() table {
	const flight = 1024 // of all clients of the socket together
	t := table{name: "clients", title: "clients", columns: []column{
		{taken, "events/s", "events/s", true}, {p50, "p50 ms", "ms", true}, {p99, "p99 ms", "ms", true}}}
	counts := []int{1, 10, 100, 1000}
	for _, n := range counts {
		t.rows = append(t.rows, row{says: "socket, " + plural(n, "client"),
			work: serveWork(fmt.Sprintf("socket with %d clients", n), streaming(n, max(1, flight/n), typical))})
	}
	for _, n := range counts {
		t.rows = append(t.rows, row{says: "HTTP, " + plural(n, "connection"), work: httpWork(n)})
	}
	return t
}

func sizes() table {
	t := table{name: "sizes", title: "size of an event, socket", columns: []column{
		{taken, "events/s", "events/s", true}, {megabytes, "MB/s", "MB/s", false}, {cpu, "CPU µs", "µs", true}}}
	for _, size := range []int{200, typical, 2_000, 8_000, 32_000} {
		t.rows = append(t.rows, row{says: fmt.Sprintf("%d bytes", size), work: socketWork(size)})
	}
	return t
}

// sharing shows what accepting and delivering cost each other.
func sharing() table {
	answering := work{name: "http during a drain", trackd: drainingUnder(posting(1))}
	return table{name: "sharing", title: "both ways at once", columns: []column{
		{delivered, "delivered/s", "events/s", false}, {taken, "taken/s", "events/s", false}, {p50, "answer p50 ms", "ms", false}, {p99, "p99 ms", "ms", false}},
		rows: []row{
			{says: "delivery alone", work: drainWork().alone()},
			{says: "delivery and a saturated socket", work: pressedWork().alone()},
			{says: "a saturated socket alone", work: socketWork(typical).alone()},
			{says: "delivery and 1 connection of HTTP", work: answering},
			{says: "1 connection of HTTP alone", work: httpWork(1).alone()},
		}}
}

// orderWork sets delivery in the order of each person beside delivery in none.
func orderWork(persons, count int) work {
	return work{name: fmt.Sprintf("%d events of %d persons in order", count, persons),
		trackd: drainingInOrder("person", persons, count), floor: drainingInOrder("none", persons, count)}
}

// orders shows what keeping each person's order costs: the fewer there are, the
// fewer events can be on their way at once.
func orders(s settings) table {
	t := table{name: "order", title: "drain in order, beside none", columns: []column{{delivered, "events/s", "events/s", true}}}
	for _, persons := range []int{1, 10, 100, 10_000} {
		t.rows = append(t.rows, row{says: plural(persons, "person"), work: orderWork(persons, s.fill/10)})
	}
	return t
}

// idleTable is what trackd uses while it has nothing to do.
func idleTable(s settings) table {
	empty := work{name: "idle and empty", trackd: idling(0), once: true}
	down := work{name: "idle before a destination that is down", trackd: idling(s.fill), once: true}
	starts := work{name: "starts", trackd: starting, once: true}
	seconds := fmt.Sprintf("CPU over %v", idleTimes*s.time)
	backlogged := fmt.Sprintf(", %s queued, the destination down", plural(s.fill, "event"))
	return table{name: "idle", title: "idle and small", rows: []row{
		{says: seconds + ", empty queue", work: empty, own: column{idle, "", "s", false}},
		{says: seconds + backlogged, work: down, own: column{idle, "", "s", false}},
		{says: fmt.Sprintf("start to ready, empty queue, median of %d", startsCounted), work: starts, own: column{ready, "", "ms", false}, goal: "≤ 50"},
		{says: "the binary, stripped", work: starts, own: column{binary, "", "MiB", false}},
		{says: "anonymous memory, empty queue", work: empty, own: column{anonymous, "", "MiB", false}},
		{says: "resident memory, empty queue", work: empty, own: column{resident, "", "MiB", false}},
		{says: "anonymous memory" + backlogged, work: down, own: column{anonymous, "", "MiB", false}},
		{says: "disk, empty queue", work: empty, own: column{disk, "", "MiB", false}},
	}}
}

// choose returns the tables to measure, with the rows to measure.
func (s settings) choose() (chosen []table, err error) {
	switch {
	case len(s.only) == 0 && s.tables:
		return growthTables(s), nil
	case len(s.only) == 0:
		return []table{goals(s)}, nil
	}
	all := allTables(s)
	for _, name := range s.only {
		if !slices.Contains(names(all), name) {
			return nil, fmt.Errorf("no row and no table %q; there are %s", name, strings.Join(names(all), ", "))
		}
	}
	for _, t := range all {
		if !slices.Contains(s.only, t.name) {
			t.rows = slices.DeleteFunc(t.rows, func(r row) bool { return r.name == "" || !slices.Contains(s.only, r.name) })
		}
		if len(t.rows) > 0 {
			chosen = append(chosen, t)
		}
	}
	return chosen, nil
}

// names lists what -only understands of tables: their names and those of rows.
func names(tables []table) (names []string) {
	for _, t := range tables {
		names = append(names, t.name)
		for _, r := range t.rows {
			if r.name != "" {
				names = append(names, r.name)
			}
		}
	}
	return slices.Sorted(slices.Values(names))
}

// plural writes a count of things, as 1 thing, 16 things or 10 k things.
func plural(n int, thing string) string {
	switch {
	case n == 1:
		return "1 " + thing
	case n >= 1_000_000 && n%1_000_000 == 0:
		return fmt.Sprintf("%d M %ss", n/1_000_000, thing)
	case n >= 1_000 && n%1_000 == 0:
		return fmt.Sprintf("%d k %ss", n/1_000, thing)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// queueDir is where the queue of a run lies.
func (r *run) queueDir() string { return filepath.Join(r.dir, "queue") }
