package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// cell is one figure of one row: medians over the turns.
type cell struct {
	Figure string  `json:"figure"`
	Unit   string  `json:"unit,omitempty"`
	Trackd float64 `json:"trackd"`
	Floor  float64 `json:"floor,omitzero"`
	Ratio  float64 `json:"ratio,omitzero"` // of pairs, so not of the two before
	Low    float64 `json:"ratio_min,omitzero"`
	High   float64 `json:"ratio_max,omitzero"`
}

// cells makes the cells of r. A column of its own must be there; of the columns
// of the table, a row may lack some.
func (r row) cells(columns []column, got result) ([]cell, error) {
	if columns == nil {
		c, found := newCell(r.own, got)
		if !found {
			return nil, fmt.Errorf("no figure %q", r.own.figure)
		}
		return []cell{c}, nil
	}
	var cells []cell
	for _, column := range columns {
		if c, found := newCell(column, got); found {
			cells = append(cells, c)
		}
	}
	if len(cells) == 0 {
		return nil, errors.New("no figure at all")
	}
	return cells, nil
}

func newCell(col column, got result) (cell, bool) {
	ours, floors := valuesOf(got.trackd, col.figure), valuesOf(got.floor, col.figure)
	if len(ours) == 0 {
		return cell{}, false
	}
	c := cell{Figure: col.figure, Unit: col.unit, Trackd: median(ours)}
	if !col.beside || len(floors) != len(ours) || slices.Contains(floors, 0) {
		return c, true
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / floors[i]
	}
	c.Floor, c.Ratio, c.Low, c.High = median(floors), median(ratios), slices.Min(ratios), slices.Max(ratios)
	return c, true
}

func valuesOf(turns []figures, name string) (values []float64) {
	for _, f := range turns {
		if v, there := f[name]; there {
			values = append(values, v)
		}
	}
	return values
}

// report prints what was measured: text as it comes, or JSON at the end.
type report struct {
	out io.Writer

	Settings settings `json:"settings"`
	Machine  machine  `json:"machine"`
	Tables   []table  `json:"tables"`
}

func (r *report) begin() {
	if !r.Settings.json {
		fmt.Fprintf(r.out, "%s\n%s: before\n", r.Machine, r.Machine.Before)
	}
}

func (r *report) add(t table) {
	r.Tables = append(r.Tables, t)
	if !r.Settings.json {
		t.print(r.out, r.Settings.Runs)
	}
}

func (r *report) end() error {
	if r.Settings.json {
		out := json.NewEncoder(r.out)
		out.SetIndent("", "  ")
		out.SetEscapeHTML(false)
		return out.Encode(r)
	}
	if r.Machine.After.P50 > 0 {
		fmt.Fprintf(r.out, "\n%s: after\n", r.Machine.After)
	}
	return nil
}

// print writes t as text.
func (t table) print(out io.Writer, runs int) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if t.columns == nil {
		t.printLong(table, runs)
	} else {
		t.printWide(table)
	}
	_ = table.Flush() // a reader who has left misses nothing
}

// printLong writes a line for each row, which has one figure.
func (t table) printLong(out io.Writer, runs int) {
	paired := slices.ContainsFunc(t.Rows, func(r row) bool { return r.Cells[0].Ratio > 0 })
	head := []string{t.Title, "trackd"}
	if paired {
		head = append(head, "floor", "ratio", fmt.Sprintf("(min–max of %d)", runs))
	}
	writeRow(out, append(head, "goal"))
	for _, r := range t.Rows {
		c := r.Cells[0]
		line := []string{r.Says, strings.TrimSpace(number(c.Trackd) + " " + c.Unit)}
		if paired {
			line = append(line, number(c.Floor), fmt.Sprintf("%.2f", c.Ratio), fmt.Sprintf("(%.2f–%.2f)", c.Low, c.High))
		}
		writeRow(out, append(line, r.Goal))
	}
}

// printWide writes a line for each row and a column for each figure, or three
// where there is a floor.
func (t table) printWide(out io.Writer) {
	head := []string{t.Title}
	for _, col := range t.columns {
		head = append(head, col.says)
		if col.beside {
			head = append(head, "floor", "ratio")
		}
	}
	writeRow(out, head)
	for _, r := range t.Rows {
		line := []string{r.Says}
		for _, col := range t.columns {
			line = append(line, r.shown(col)...)
		}
		writeRow(out, line)
	}
}

// shown is what stands under col.
func (r row) shown(col column) []string {
	texts := []string{"–", "–", "–"}
	at := slices.IndexFunc(r.Cells, func(c cell) bool { return c.Figure == col.figure })
	if at >= 0 {
		c := r.Cells[at]
		texts[0] = number(c.Trackd)
		if c.Ratio > 0 {
			texts[1], texts[2] = number(c.Floor), fmt.Sprintf("%.2f", c.Ratio)
		}
	}
	if !col.beside {
		texts = texts[:1]
	}
	return texts
}

func writeRow(out io.Writer, texts []string) { fmt.Fprintln(out, strings.Join(texts, "\t")) }

// number writes v with about three digits, all of them of a large one.
func number(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 0.01:
		return fmt.Sprintf("%.5f", v)
	case v < 1:
		return fmt.Sprintf("%.3f", v)
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
