package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/event"
)

// TestMain is the other processes too: this program plays their roles.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "role" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tiny is the least that touches everything.
func tiny(t *testing.T, binary string) settings {
	return settings{runs: 1, time: 20 * time.Millisecond, fill: 200, dir: t.TempDir(), binary: binary}
}

func TestEveryTableIsMeasured(t *testing.T) {
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // else each process takes a second more to end
	binary := filepath.Join(t.TempDir(), "trackd")
	if err := build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	t.Run("all", func(t *testing.T) {
		set := tiny(t, binary)
		tables := edges(set)
		if raceEnabled {
			t.Log("all tables but the first are left out: a process under the race detector takes long to begin and end")
			tables = tables[:1]
		}
		var out bytes.Buffer
		if err := measure(t.Context(), set, tables, &out); err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			wantFigures(t, table)
		}
		for _, want := range []string{"CPU", "before: p50", "after: p50", "events/s", "ratio", "drain, one event a POST", "≥ 0.88"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, &out)
			}
		}
		wantNothingLeft(t, set)
	})
	t.Run("interrupted", func(t *testing.T) {
		set := tiny(t, binary)
		set.time = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := measure(ctx, set, []table{goals(set)}, &bytes.Buffer{}); !errors.Is(err, errInterrupted) {
			t.Errorf("got %v, want %v", err, errInterrupted)
		}
		wantNothingLeft(t, set)
	})
}

// edges are all tables; of one that repeats itself with larger numbers, the
// smallest and the largest.
func edges(set settings) []table {
	tables := allTables(set)
	for i, t := range tables {
		if slices.Contains([]string{"backlog", "dead", "clients", "sizes", "order"}, t.name) {
			tables[i].rows = []row{t.rows[0], t.rows[len(t.rows)-1]}
		}
	}
	return tables
}

// wantFigures fails unless every row of t, which is measured, has figures that
// can be true.
func wantFigures(t *testing.T, tab table) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range tab.rows {
		columns := tab.columns
		if columns == nil {
			columns = []column{r.own}
		}
		cells := 0
		for _, col := range columns {
			c, found := r.cell(col)
			if !found {
				continue
			}
			cells++
			seen[col.figure] = true
			where := fmt.Sprintf("%s: %s: %s", tab.name, r.says, col.figure)
			if c.trackd < 0 || c.trackd == 0 && col.figure != idle { // which may be 0, and should
				t.Errorf("%s: got %v", where, c.trackd)
			}
			if paired := col.paired && r.work.floor != nil; (c.ratio > 0) != paired || c.low > c.ratio || c.ratio > c.high {
				t.Errorf("%s: got %+v, with a floor: %t", where, c, paired)
			}
		}
		if cells == 0 {
			t.Errorf("%s: %s: no figure", tab.name, r.says)
		}
	}
	for _, col := range tab.columns {
		if !seen[col.figure] {
			t.Errorf("%s: no row has %s", tab.name, col.figure)
		}
	}
}

// wantNothingLeft fails unless directories and processes are gone.
func wantNothingLeft(t *testing.T, set settings) {
	t.Helper()
	left, err := os.ReadDir(set.dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if left := children(t); len(left) > 0 {
		t.Errorf("left running: %v", left)
	}
}

// children lists the processes that this one has started and that run.
func children(t *testing.T) (found []string) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			found = append(found, string(text[:bytes.IndexByte(text, '\n')]))
		}
	}
	return found
}

func TestEveryNameCanBeAskedFor(t *testing.T) {
	for _, name := range names(allTables(settings{})) {
		set, err := parse([]string{"-only", name})
		if err != nil {
			t.Fatal(err)
		}
		if tables, err := set.choose(); err != nil || len(tables) != 1 {
			t.Errorf("%s: got %d tables, %v", name, len(tables), err)
		}
	}
	set, err := parse([]string{"-only", "http,drain,sizes"})
	if err != nil {
		t.Fatal(err)
	}
	tables, err := set.choose()
	if err != nil || len(tables) != 2 || len(tables[0].rows) != 2 || tables[1].name != "sizes" {
		t.Errorf("two rows and a table: got %+v, %v", tables, err)
	}
}

func TestACommandLineThatMeansNothingIsRefused(t *testing.T) {
	for _, args := range [][]string{{"-only", "http,nonsense"}, {"-runs", "0"}, {"-time", "0s"}, {"-fill", "1"}, {"http"}, {"role", "nobody"}} {
		if err := command(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestARunInWhichNothingCountedIsRepeated(t *testing.T) {
	for _, test := range []struct{ empty, wantRuns int }{{0, 1}, {2, 3}, {9, 3}} {
		runs := 0
		w := work{name: "moody", trackd: func(*run) (figures, error) {
			runs++
			if runs <= test.empty {
				return figures{counted: 0}, nil
			}
			return figures{counted: 1}, nil
		}}
		b := &bench{ctx: t.Context(), queues: t.TempDir(), results: map[string]result{}}
		_, _, err := b.pair(w)
		if runs != test.wantRuns || (err == nil) != (test.empty < test.wantRuns) {
			t.Errorf("%d without a count: got %d runs and %v, want %d", test.empty, runs, err, test.wantRuns)
		}
	}
}

func TestTheFirstPairIsNotCounted(t *testing.T) {
	runs := 0.0
	side := func(*run) (figures, error) {
		runs++
		return figures{counted: runs}, nil
	}
	b := &bench{ctx: t.Context(), queues: t.TempDir(), results: map[string]result{}, settings: settings{runs: 2}}
	want := result{trackd: []figures{{counted: 3}, {counted: 5}}, floor: []figures{{counted: 4}, {counted: 6}}}
	for range 2 { // the second time without a run
		got, err := b.resultOf(work{name: "pairs", trackd: side, floor: side})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
}

func TestARunThatFailsLeavesNothingBehind(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	set := settings{dir: t.TempDir()}
	b := &bench{ctx: t.Context(), settings: set, self: self, queues: set.dir, sockets: t.TempDir()}
	failed := errors.New("the client has failed")
	_, err = b.run(func(r *run) (figures, error) {
		if _, err := r.serveFloor(r.queueDir()); err != nil {
			return nil, err
		}
		if len(children(t)) != 1 {
			t.Errorf("got %v, want a floor at work", children(t))
		}
		return nil, failed
	})
	if !errors.Is(err, failed) {
		t.Errorf("got %v, want %v", err, failed)
	}
	wantNothingLeft(t, set)
}

func TestTheRatioIsTheMedianOfPairs(t *testing.T) {
	r := row{got: result{
		trackd: []figures{{taken: 10}, {taken: 80}, {taken: 30}},
		floor:  []figures{{taken: 10}, {taken: 20}, {taken: 60}},
	}}
	c, found := r.cell(column{figure: taken, paired: true})
	if want := (cell{trackd: 30, floor: 20, ratio: 1, low: 0.5, high: 4}); !found || c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if _, found := r.cell(column{figure: p50}); found {
		t.Error("found a figure that no run has")
	}
}

func TestTablesArePrinted(t *testing.T) {
	both, one := result{trackd: []figures{{taken: 300, disk: 0.5}}, floor: []figures{{taken: 200}}}, result{trackd: []figures{{disk: 0}}}
	wide := table{title: "things", columns: []column{{taken, "events/s", "events/s", true}, {disk, "MiB", "MiB", false}},
		rows: []row{{says: "both", got: both}, {says: "one", got: one}}}
	long := table{title: "work", rows: []row{
		{says: "both", goal: "≥ 1.00", got: both, own: column{taken, "", "events/s", true}}, {says: "one", got: one, own: column{disk, "", "MiB", false}}}}
	var out bytes.Buffer
	wide.print(&out, 1)
	long.print(&out, 5)
	want := `
things  events/s  floor  ratio  MiB
both    300       200    1.50   0.5
one     –         –      –      0

work  trackd        floor  ratio  (min–max of 5)  goal
both  300 events/s  200    1.50   (1.50–1.50)     ≥ 1.00
one   0 MiB         –      –                      
`
	if out.String() != want {
		t.Errorf("got %s, want %s", &out, want)
	}
}

func TestSamplesAreEventsOfTheirSize(t *testing.T) {
	for _, size := range []int{200, typical, 2_000, 32_000} {
		ids := map[string]bool{}
		for n := range 100 {
			raw := sample(nil, size, n%3, n, n%2*7)
			ev, err := (event.Parser{}).Parse(raw, time.Now())
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if ids[ev.ID] {
				t.Errorf("%d bytes: messageId %s twice", size, ev.ID)
			}
			ids[ev.ID] = true
			if got := len(raw); got < size-5 || got > size+5 {
				t.Fatalf("got %d bytes, want about %d", got, size)
			}
		}
	}
}

func TestAWorkloadIsSentRoundAndRound(t *testing.T) {
	n := 0
	w := newWorkload(workloadBytes, 0, typical, func(dst, _ []byte) []byte { n++; return fmt.Appendf(dst, "%d;", n-1) })
	if len(w.ends) != 32 {
		t.Fatalf("got %d pieces, want 32", len(w.ends))
	}
	for _, test := range []struct {
		from, most uint64
		want       string
		n          uint64
	}{{0, 2, "0;1;", 2}, {31, 5, "31;", 1}, {32, 1, "0;", 1}, {65, 2, "1;2;", 2}} {
		if got, n := w.pieces(test.from, test.most); string(got) != test.want || n != test.n {
			t.Errorf("%d from %d: got %q, %d, want %q, %d", test.most, test.from, got, n, test.want, test.n)
		}
	}
}

func TestAResponseIsReadToItsEnd(t *testing.T) {
	whole := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n{}"
	for n := range len(whole) {
		if err := readResponse(bufio.NewReader(strings.NewReader(whole[:n]))); !errors.Is(err, io.EOF) {
			t.Errorf("%q: got %v, want the end", whole[:n], err)
		}
	}
	twice := bufio.NewReader(strings.NewReader(whole + whole))
	if err := errors.Join(readResponse(twice), readResponse(twice)); err != nil || twice.Buffered() > 0 {
		t.Errorf("two responses: got %v, %d bytes left", err, twice.Buffered())
	}
	for _, bad := range []string{strings.Replace(whole, "200", "503", 1), "HTTP/1.1 200 OK\r\n\r\n{}"} {
		if err := readResponse(bufio.NewReader(strings.NewReader(bad))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q: got %v, want an error that says so", bad, err)
		}
	}
}

func TestWorksOfOneNameAreOne(t *testing.T) {
	floors := map[string]bool{} // of works by name: whether there is one
	for _, table := range allTables(settings{fill: 1000, full: true}) {
		for _, r := range table.rows {
			paired := r.work.floor != nil
			if before, known := floors[r.work.name]; r.work.name == "" || known && before != paired {
				t.Errorf("%s: %s: the work %q is two", table.name, r.says, r.work.name)
			}
			floors[r.work.name] = paired
		}
	}
	if got := len(floors); got < 30 {
		t.Errorf("got %d works, want all of them", got)
	}
}
