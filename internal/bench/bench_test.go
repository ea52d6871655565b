package main

import (
	"bytes"
	"context"
	"encoding/json"
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
func tiny(t *testing.T) settings {
	return settings{Runs: 1, Time: 20 * time.Millisecond, Fill: 200, dir: t.TempDir()}
}

func TestEveryTableIsMeasured(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "trackd")
	if err := build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	for _, tables := range []bool{false, true} {
		set := tiny(t)
		set.binary, set.tables, set.json = binary, tables, true
		var out bytes.Buffer
		if err := measure(t.Context(), set, &out); err != nil {
			t.Fatal(err)
		}
		want, err := set.choose()
		if err != nil {
			t.Fatal(err)
		}
		wantReport(t, out.Bytes(), want)
		wantEmpty(t, set.dir)
	}
	t.Run("as text", func(t *testing.T) {
		set := tiny(t)
		set.binary, set.only = binary, []string{"drain", "ack"}
		var out bytes.Buffer
		if err := measure(t.Context(), set, &out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"CPU", "fdatasync", "p50", "ratio", "drain, one event a POST", "256 connections", "≥ 0.85", ": after"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, &out)
			}
		}
		if strings.Contains(out.String(), "socket") {
			t.Errorf("more than was asked for in\n%s", &out)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		set := tiny(t)
		set.binary, set.Time = binary, time.Minute
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if err := measure(ctx, set, &bytes.Buffer{}); err == nil {
			t.Error("no error")
		}
		wantEmpty(t, set.dir)
		if left := children(t); len(left) > 0 {
			t.Errorf("left running: %v", left)
		}
	})
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

// wantEmpty fails unless nothing is left in dir.
func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
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
			t.Errorf("%s: %v", name, err)
			continue
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
