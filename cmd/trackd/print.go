package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"trackd/admin"
)

// printable makes text from outside fit for a terminal: what could move the
// cursor or hide something is shown as its code, and so is a byte that is no
// text at all. Line breaks and tabs stay.
func printable(s string) string {
	var b strings.Builder
	for rest := s; rest != ""; {
		r, size := utf8.DecodeRuneInString(rest)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, "\\x%02x", rest[0])
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
		rest = rest[size:]
	}
	return b.String()
}

// cell is printable on one line of bounded length, for tables.
func cell(s string, most int) string {
	runes := []rune(strings.Join(strings.Fields(printable(s)), " "))
	if len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	if len(runes) == 0 {
		return "-"
	}
	return string(runes)
}

// printFacts prints labelled facts and the event they are about.
func printFacts(to io.Writer, facts [][2]string, content []byte) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, fact := range facts {
		if fact[1] != "" { // further lines of a fact stay in its column, so that none looks like a fact itself
			fmt.Fprintf(table, "%s\t%s\n", fact[0], strings.ReplaceAll(printable(fact[1]), "\n", "\n\t"))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(to, "\n%s\n", printable(string(content)))
	return err
}

// at renders a time and how long ago it was.
func at(t time.Time) string {
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format("2006-01-02 15:04:05 UTC"), ago(t))
}

func ago(t time.Time) string { return admin.Span(time.Since(t)) }

// size renders bytes for people.
func size(n int64) string {
	unit, f := "B", float64(n)
	for _, larger := range [...]string{"KiB", "MiB", "GiB", "TiB"} {
		if f < 1024 {
			break
		}
		unit, f = larger, f/1024
	}
	if unit == "B" || f >= 100 {
		return fmt.Sprintf("%.0f %s", f, unit)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}

// count renders a number of things.
func count[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// tell overwrites the line of progress of whoever watches; nothing is told to
// a pipe. The empty text takes the line away.
func (w *world) tell(format string, args ...any) {
	if isTerminal(w.stderr) {
		fmt.Fprintf(w.stderr, "\r\033[K"+format, args...)
	}
}
