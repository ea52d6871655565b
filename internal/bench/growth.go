package main

import "fmt"

// growthTables are what -tables measures: whether a cost stays what it is as
// something grows, and whether one side starves another. Sizes are multiples of
// -fill.
func growthTables(s settings) []table {
	return []table{backlog(s), clients(), sizes(), letters(s), sharing(), resting(s)}
}

// standingColumns are the figures of a queue in which something stands.
func standingColumns() []column {
	return []column{
		{p50, "ack p50 ms", "ms", false}, {taken, "socket events/s", "events/s", false}, {delivered, "drain events/s", "events/s", false},
		{ready, "ready ms", "ms", false}, {anonymous, "anonymous MiB", "MiB", false}}
}

func backlog(s settings) table {
	counts := []int{s.Fill / 10, s.Fill, 10 * s.Fill}
	if s.full {
		counts = append(counts, 100*s.Fill)
	}
	t := table{Name: "backlog", Title: "backlog", columns: standingColumns()}
	for _, n := range counts {
		stand := func(t *turn, dir string) error {
			_, err := t.play("fill", dir, n)
			return err
		}
		t.Rows = append(t.Rows, row{Says: plural(n, "event"),
			work: work{name: fmt.Sprintf("backlog of %d", n), trackd: standing(stand, min(n, s.Fill/2)), once: true}})
	}
	return t
}

func letters(s settings) table {
	t := table{Name: "letters", Title: "dead letters before the backlog", columns: standingColumns()}
	for _, n := range []int{0, s.Fill / 100, s.Fill / 10, s.Fill} {
		stand := func(t *turn, dir string) error {
			if _, err := t.play("bury", dir, n); err != nil {
				return err
			}
			_, err := t.play("fill", dir, s.Fill)
			return err
		}
		t.Rows = append(t.Rows, row{Says: plural(n, "letter"),
			work: work{name: fmt.Sprintf("%d letters", n), trackd: standing(stand, s.Fill/2)}})
	}
	return t
}

func clients() table {
	const flight = 1024 // of all clients of the socket together
	t := table{Name: "clients", Title: "clients", columns: []column{
		{taken, "events/s", "events/s", true}, {p50, "p50 ms", "ms", true}, {p99, "p99 ms", "ms", true}}}
	counts := []int{1, 10, 100, 1000}
	for _, n := range counts {
		t.Rows = append(t.Rows, row{Says: "socket, " + plural(n, "client"),
			work: loaded(fmt.Sprintf("socket with %d clients", n), streaming(n, max(1, flight/n), typical))})
	}
	for _, n := range counts {
		t.Rows = append(t.Rows, row{Says: "HTTP, " + plural(n, "connection"), work: httpWork(n)})
	}
	return t
}

func sizes() table {
	t := table{Name: "sizes", Title: "size of an event, socket", columns: []column{
		{taken, "events/s", "events/s", true}, {megabytes, "MB/s", "MB/s", false}, {cpu, "CPU µs", "µs", true}}}
	for _, size := range []int{200, typical, 2_000, 8_000, 32_000} {
		t.Rows = append(t.Rows, row{Says: fmt.Sprintf("%d bytes", size),
			work: loaded(fmt.Sprintf("socket with events of %d bytes", size), streaming(4, 256, size))})
	}
	return t
}

// sharing shows what each way costs the other.
func sharing() table {
	answering := work{name: "http during a drain", trackd: drainUnder(posting(1))}
	return table{Name: "sharing", Title: "both ways at once", columns: []column{
		{delivered, "delivered/s", "events/s", false}, {taken, "taken/s", "events/s", false}, {p50, "answer p50 ms", "ms", false}, {p99, "p99 ms", "ms", false}},
		Rows: []row{
			{Says: "delivery alone", work: drainWork().alone()},
			{Says: "delivery and a saturated socket", work: pressedWork().alone()},
			{Says: "a saturated socket alone", work: socketWork().alone()},
			{Says: "delivery and 1 connection of HTTP", work: answering},
			{Says: "1 connection of HTTP alone", work: httpWork(1).alone()},
		}}
}

// resting is what trackd takes while it has nothing to do.
func resting(s settings) table {
	empty := work{name: "idle and empty", trackd: idling(0), once: true}
	down := work{name: "idle before a destination that is down", trackd: idling(s.Fill), once: true}
	starts := work{name: "starts", trackd: starting, once: true}
	seconds := fmt.Sprintf("CPU over %v", idleTimes*s.Time)
	backlogged := fmt.Sprintf(", %s queued, the destination down", plural(s.Fill, "event"))
	return table{Name: "idle", Title: "idle and small", Rows: []row{
		{Says: seconds + ", empty queue", work: empty, own: column{idle, "", "s", false}},
		{Says: seconds + backlogged, work: down, own: column{idle, "", "s", false}},
		{Says: fmt.Sprintf("start to ready, empty queue, median of %d", startsCounted), work: starts, own: column{ready, "", "ms", false}, Goal: "≤ 50"},
		{Says: "the binary, stripped", work: starts, own: column{binary, "", "MiB", false}},
		{Says: "anonymous memory, empty queue", work: empty, own: column{anonymous, "", "MiB", false}},
		{Says: "resident memory, empty queue", work: empty, own: column{resident, "", "MiB", false}},
		{Says: "anonymous memory" + backlogged, work: down, own: column{anonymous, "", "MiB", false}},
		{Says: "disk, empty queue", work: empty, own: column{disk, "", "MiB", false}},
	}}
}
