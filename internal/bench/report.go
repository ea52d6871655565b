package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figures are what one run of one side brought, by name. A figure that the side
// cannot have is not there.
type figures map[string]float64

// The names, each with its unit.
const (
	counted   = "events"    // answered or delivered in all; with 0 the pair says nothing
	taken     = "taken"     // events/s answered
	delivered = "delivered" // events/s
	megabytes = "megabytes" // MB/s answered
	p50       = "p50"       // ms from the call to its answer
	p99       = "p99"
	cpu       = "cpu"       // µs of the server, per event
	ready     = "ready"     // ms from the start of the process
	anonymous = "anonymous" // MiB of memory that no file backs
	resident  = "resident"  // MiB of memory
	disk      = "disk"      // MiB allocated
	idle      = "idle"      // s of processor while there is nothing to do
	binary    = "binary"    // MiB
)

func (f figures) print() error { return json.NewEncoder(os.Stdout).Encode(f) }

// with returns f and what other has besides.
func (f figures) with(other figures) figures {
	both := figures{}
	maps.Copy(both, other)
	maps.Copy(both, f)
	return both
}

// timed are the figures of what was answered within length. It sorts times.
func timed(events int, times []time.Duration, length time.Duration) figures {
	f := figures{counted: float64(events), taken: float64(events) / length.Seconds()}
	if len(times) == 0 {
		return f
	}
	slices.Sort(times)
	for name, q := range map[string]float64{p50: 0.5, p99: 0.99} {
		f[name] = 1000 * times[int(q*float64(len(times)-1))].Seconds()
	}
	return f
}

// median returns the middle of v, which must not be empty.
func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// cell is one figure of one row: medians over the runs.
type cell struct {
	trackd, floor    float64
	ratio, low, high float64 // of pairs, so not of the two before; 0: there is no floor
}

// cell makes the cell of r in the column, if it has that figure.
func (r row) cell(c column) (made cell, found bool) {
	values := func(runs []figures) (values []float64) {
		for _, f := range runs {
			if v, there := f[c.figure]; there {
				values = append(values, v)
			}
		}
		return values
	}
	ours, floors := values(r.got.trackd), values(r.got.floor)
	if len(ours) == 0 {
		return cell{}, false
	}
	made = cell{trackd: median(ours)}
	if !c.paired || len(floors) != len(ours) || slices.Contains(floors, 0) {
		return made, true
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / floors[i]
	}
	made.floor, made.ratio, made.low, made.high = median(floors), median(ratios), slices.Min(ratios), slices.Max(ratios)
	return made, true
}

// print writes t as text: where rows have a figure of their own, with its unit,
// its spread and its goal; otherwise with a column for each figure, or three
// where there is a floor.
func (t table) print(out io.Writer, runs int) {
	fmt.Fprintln(out)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	write := func(texts ...string) { fmt.Fprintln(table, strings.Join(texts, "\t")) }
	if t.columns == nil {
		write(t.title, "trackd", "floor", "ratio", fmt.Sprintf("(min–max of %d)", runs), "goal")
		for _, r := range t.rows {
			trackd, floor, ratio, spread := "–", "–", "–", ""
			if c, found := r.cell(r.own); found {
				trackd = number(c.trackd) + " " + r.own.unit
				if c.ratio > 0 {
					floor, ratio, spread = number(c.floor), fmt.Sprintf("%.2f", c.ratio), fmt.Sprintf("(%.2f–%.2f)", c.low, c.high)
				}
			}
			write(r.says, trackd, floor, ratio, spread, r.goal)
		}
	} else {
		head := []string{t.title}
		for _, c := range t.columns {
			head = append(head, c.says)
			if c.paired {
				head = append(head, "floor", "ratio")
			}
		}
		write(head...)
		for _, r := range t.rows {
			line := []string{r.says}
			for _, col := range t.columns {
				texts := []string{"–", "–", "–"}
				if c, found := r.cell(col); found {
					texts[0] = number(c.trackd)
					if c.ratio > 0 {
						texts[1], texts[2] = number(c.floor), fmt.Sprintf("%.2f", c.ratio)
					}
				}
				if !col.paired {
					texts = texts[:1]
				}
				line = append(line, texts...)
			}
			write(line...)
		}
	}
	_ = table.Flush() // a reader who has left misses nothing
}

// number writes v with three digits, all of them of a large one.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
