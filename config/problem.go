package config

import (
	"fmt"
	"strconv"
	"strings"
)

// Problem is one thing wrong with the configuration.
type Problem struct {
	Where string // file:line:column or a variable's name; "" when it is nowhere
	Key   string // the setting; "" when it is about none
	Text  string // what was found and what is allowed, or what is missing and how to set it
}

// String renders p on one line.
func (p Problem) String() string {
	s := p.Text
	for _, part := range []string{p.Key, p.Where} {
		if quoted := strconv.Quote(part); len(quoted) > len(part)+len(`""`) {
			part = quoted // a name from outside may hold anything, a line break too
		}
		if part != "" {
			s = part + ": " + s
		}
	}
	return s
}

// Problems is everything wrong with a configuration. [Load] returns it as its
// error.
type Problems []Problem

// Error prints one problem per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// found words the usual problem.
func found(what, allowed string) string { return fmt.Sprintf("found %s, allowed %s", what, allowed) }

// didYouMean is the end of a sentence about an unknown name: the known name it
// was probably meant to be, or nothing.
func didYouMean(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return fmt.Sprintf("; did you mean %s?", best)
	}
	return ""
}

// nearest returns the known name that takes the fewest edits to reach, or "" if
// even that takes more than a slip: two letters, fewer in a short name.
func nearest(name string, known []string) string {
	best, fewest := "", min(2, len(name)/3)
	for _, k := range known {
		if d := edits(name, k); d <= fewest && (best == "" || d < fewest) {
			best, fewest = k, d
		}
	}
	return best
}

// edits is the number of letters to insert, remove or change between a and b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
