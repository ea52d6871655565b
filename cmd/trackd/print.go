package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"trackd/admin"
)

// printJSON writes v on one line, as export and --json do.
func printJSON(to io.Writer, v any) error {
	enc := json.NewEncoder(to)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printable makes text from outside fit for a terminal: what could move the
// cursor or hide something is shown as its code. Line breaks stay.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "\\u%04x", r)
		}
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

// indented renders an event for eyes: as JSON if it is some, else as it is.
func indented(body []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, body, "", "  ") != nil {
		return printable(string(body))
	}
	return printable(b.String())
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
