package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/event"
)

// TestMain is the other processes too: this program plays their roles.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "role" {
		os.Exit(command())
	}
	os.Exit(m.Run())
}

// tiny is the least that touches everything.
func tiny(t *testing.T, binary string) settings {
	return settings{Runs: 1, Time: 20 * time.Millisecond, Fill: 200, dir: t.TempDir(), binary: binary}
}

func TestEveryTableIsMeasured(t *testing.T) {
	t.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0") // else each process takes a second more to end
	binary := filepath.Join(t.TempDir(), "trackd")
	if err := build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	t.Run("as JSON", func(t *testing.T) {
		set := tiny(t, binary)
		set.json = true
		tables := edges(set)
		if raceEnabled {
			t.Log("all tables but the first are left out: a process under the race detector takes long to begin and end")
			tables = tables[:1]
		}
		var out bytes.Buffer
		if err := measure(t.Context(), set, tables, &out); err != nil {
			t.Fatal(err)
		}
		wantReport(t, out.Bytes(), tables)
		wantNothingLeft(t, set)
	})
	t.Run("as text", func(t *testing.T) {
		set := tiny(t, binary)
		set.only = []string{"drain"}
		tables, err := set.choose()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := measure(t.Context(), set, tables, &out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CPU", "fdatasync", "p50", "events/s", "ratio", "drain, one event a POST", "≥ 0.85", ": after"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, &out)
			}
		}
		if strings.Contains(out.String(), "saturated") {
			t.Errorf("more than was asked for in\n%s", &out)
		}
		wantNothingLeft(t, set)
	})
	t.Run("interrupted", func(t *testing.T) {
		set := tiny(t, binary)
		set.Time = time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := measure(ctx, set, mainTables(), &bytes.Buffer{}); !errors.Is(err, errInterrupted) {
			t.Errorf("got %v, want %v", err, errInterrupted)
		}
		wantNothingLeft(t, set)
	})
}

// edges are all tables; of one that repeats itself with larger numbers, the
// smallest and the largest.
func edges(set settings) []table {
	tables := append(mainTables(), growthTables(set)...)
	for i, t := range tables {
		if slices.Contains([]string{"ack", "backlog", "letters", "clients", "sizes"}, t.Name) {
			tables[i].Rows = []row{t.Rows[0], t.Rows[len(t.Rows)-1]}
		}
	}
	return tables
}

// wantReport looks for every figure of the tables want in a report.
func wantReport(t *testing.T, text []byte, want []table) {
	t.Helper()
	var got report
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if m := got.Machine; m.CPUs < 1 || m.Go == "" || m.Filesystem == "" || m.Before.P50 <= 0 || m.After.P99 <= 0 {
		t.Errorf("machine: got %+v", m)
	}
	if len(got.Tables) != len(want) {
		t.Fatalf("got %d tables, want %d", len(got.Tables), len(want))
	}
	for i, table := range want {
		if len(got.Tables[i].Rows) != len(table.Rows) {
			t.Fatalf("%s: got %d rows, want %d", table.Name, len(got.Tables[i].Rows), len(table.Rows))
		}
		seen := map[string]bool{}
		for j, row := range got.Tables[i].Rows {
			for _, c := range row.Cells {
				seen[c.Figure] = true
				wantCell(t, fmt.Sprintf("%s: %s: %s", table.Name, row.Says, c.Figure), c)
			}
			if own := table.Rows[j].own; own.beside && row.Cells[0].Ratio <= 0 {
				t.Errorf("%s: %s: no ratio", table.Name, row.Says)
			}
		}
		for _, col := range table.columns {
			if !seen[col.figure] && col.figure != written { // a filesystem in memory writes nothing
				t.Errorf("%s: no row has %s", table.Name, col.figure)
			}
		}
	}
}

func wantCell(t *testing.T, where string, c cell) {
	t.Helper()
	if c.Trackd < 0 || c.Trackd == 0 && c.Figure != idle { // which may be 0, and should
		t.Errorf("%s: got %v", where, c.Trackd)
	}
	if (c.Floor > 0) != (c.Ratio > 0) || c.Low > c.Ratio || c.Ratio > c.High {
		t.Errorf("%s: got floor %v, ratio %v of %v to %v", where, c.Floor, c.Ratio, c.Low, c.High)
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
	for _, name := range names() {
		set, err := parse([]string{"-only", name})
		if err != nil {
			t.Fatal(err)
		}
		if tables, err := set.choose(); err != nil || len(tables) == 0 {
			t.Errorf("%s: got %d tables, %v", name, len(tables), err)
		}
	}
}

func TestACommandLineThatMeansNothingIsRefused(t *testing.T) {
	for _, args := range [][]string{{"-only", "http,nonsense"}, {"-runs", "0"}, {"-time", "0s"}, {"-fill", "1"}, {"http"}} {
		if err := run(args, &bytes.Buffer{}); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestATurnInWhichNothingCountedIsTakenAgain(t *testing.T) {
	for _, test := range []struct{ empty, wantTurns int }{{0, 1}, {2, 3}, {9, 3}} {
		turns := 0
		w := work{name: "moody", trackd: func(*turn) (figures, error) {
			turns++
			if turns <= test.empty {
				return figures{counted: 0}, nil
			}
			return figures{counted: 1}, nil
		}}
		b := &bench{ctx: t.Context(), queues: t.TempDir(), results: map[string]result{}}
		_, _, err := b.pair(w, 1, 1)
		if turns != test.wantTurns || (err == nil) != (test.empty < test.wantTurns) {
			t.Errorf("%d without a count: got %d turns and %v, want %d", test.empty, turns, err, test.wantTurns)
		}
	}
}

func TestATurnThatFailsLeavesNothingBehind(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	set := settings{dir: t.TempDir()}
	b := &bench{ctx: t.Context(), settings: set, self: self, queues: set.dir, short: t.TempDir()}
	failed := errors.New("the client has failed")
	_, err = b.take(func(turn *turn) (figures, error) {
		if _, err := turn.serveFloor(filepath.Join(turn.dir, "queue")); err != nil {
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
	got := result{
		trackd: []figures{{taken: 10}, {taken: 80}, {taken: 30}},
		floor:  []figures{{taken: 10}, {taken: 20}, {taken: 60}},
	}
	c, found := newCell(column{figure: taken, beside: true}, got)
	if want := (cell{Figure: taken, Trackd: 30, Floor: 20, Ratio: 1, Low: 0.5, High: 4}); !found || c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	if _, found := newCell(column{figure: p50}, got); found {
		t.Error("found a figure that no turn has")
	}
}

func TestATableIsPrintedAsWideAsItsFloorAsks(t *testing.T) {
	columns := []column{{taken, "events/s", "events/s", true}, {disk, "MiB", "MiB", false}}
	both, one := result{trackd: []figures{{taken: 300, disk: 0.5}}, floor: []figures{{taken: 200}}}, result{trackd: []figures{{disk: 0}}}
	tab := table{Title: "things", columns: columns, Rows: []row{{Says: "both"}, {Says: "one"}}}
	for i, got := range []result{both, one} {
		var err error
		if tab.Rows[i].Cells, err = tab.Rows[i].cells(columns, got); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	tab.print(&out, 1)
	want := `
things  events/s  floor  ratio  MiB
both    300       200    1.50   0.500
one     –         –      –      0
`
	if out.String() != want {
		t.Errorf("got %s, want %s", &out, want)
	}
	if _, err := (row{Says: "none"}).cells(columns, result{}); err == nil {
		t.Error("a row without a figure: no error")
	}
}

func TestSamplesAreEventsOfTheirSize(t *testing.T) {
	for _, size := range []int{200, typical, 2_000, 32_000} {
		ids := map[string]bool{}
		for n := range 100 {
			raw := sample(nil, size, n%3, n)
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

func TestATapeIsPlayedRoundAndRound(t *testing.T) {
	tp := newTape(tapeBytes, func(dst []byte, n int) []byte { return fmt.Appendf(dst, "%d;", n) })
	if len(tp.ends) != 32 {
		t.Fatalf("got %d pieces, want 32", len(tp.ends))
	}
	for _, test := range []struct {
		from, most uint64
		want       string
		n          uint64
	}{{0, 2, "0;1;", 2}, {31, 5, "31;", 1}, {32, 1, "0;", 1}, {65, 2, "1;2;", 2}} {
		if got, n := tp.pieces(test.from, test.most); string(got) != test.want || n != test.n {
			t.Errorf("%d from %d: got %q, %d, want %q, %d", test.most, test.from, got, n, test.want, test.n)
		}
	}
}

func TestAnAnswerIsReadToItsEnd(t *testing.T) {
	whole := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n{}"
	for n := range len(whole) {
		if done, err := isWhole([]byte(whole[:n])); done || err != nil {
			t.Errorf("%q: got %t, %v", whole[:n], done, err)
		}
	}
	if done, err := isWhole([]byte(whole)); !done || err != nil {
		t.Errorf("%q: got %t, %v", whole, done, err)
	}
	for _, bad := range []string{strings.Replace(whole, "200", "503", 1), "HTTP/1.1 200 OK\r\n\r\n{}"} {
		if done, err := isWhole([]byte(bad)); done || err == nil {
			t.Errorf("%q: got %t, %v, want an error", bad, done, err)
		}
	}
}

func TestEveryRowHasAWorkOfItsName(t *testing.T) {
	works := map[string]bool{} // and whether it has a floor
	for _, table := range append(mainTables(), growthTables(settings{Fill: 1000, full: true})...) {
		for _, r := range table.Rows {
			paired := r.work.floor != nil
			if before, known := works[r.work.name]; r.work.name == "" || known && before != paired {
				t.Errorf("%s: %s: the work %q is two", table.Name, r.Says, r.work.name)
			}
			works[r.work.name] = paired
		}
	}
	if got := len(works); got < 30 {
		t.Errorf("got %d works, want all of them", got)
	}
	if all := names(); !slices.IsSorted(all) || !slices.Contains(all, "sharing") || !slices.Contains(all, "socket") {
		t.Errorf("names: got %v", all)
	}
}
