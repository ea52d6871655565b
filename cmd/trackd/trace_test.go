package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// call is one system call in what strace wrote, with the lines where it began
// and ended as its times.
type call struct {
	name       string
	args       string // and the result
	begin, end int
}

var (
	traceLine = regexp.MustCompile(`^(\d+) +(.*)$`)
	callStart = regexp.MustCompile(`^(\w+)\((.*)$`)
	resumed   = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	firstFD   = regexp.MustCompile(`^\d+<([^>]*)>`)
	quoted    = regexp.MustCompile(`"([^"]*)"`)
	offset    = regexp.MustCompile(`, (\d+)\) += `)
)

// parseTrace returns the calls of all threads, in the order they began.
func parseTrace(trace string) []call {
	var calls []call
	open := map[string]call{} // by thread
	for at, line := range strings.Split(trace, "\n") {
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, text := m[1], m[2]
		c := call{begin: at}
		if r := resumed.FindStringSubmatch(text); r != nil {
			c = open[thread]
			c.args += r[1]
		} else if s := callStart.FindStringSubmatch(text); s != nil {
			c.name, c.args = s[1], s[2]
		}
		var unfinished bool
		if c.args, unfinished = strings.CutSuffix(c.args, " <unfinished ...>"); unfinished {
			open[thread] = c
			continue
		}
		c.end = at
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b call) int { return cmp.Compare(a.begin, b.begin) })
	return calls
}

// file is what the first descriptor of c stands for.
func (c call) file() string {
	if m := firstFD.FindStringSubmatch(c.args); m != nil {
		return m[1]
	}
	return ""
}

// path is the last path that c names.
func (c call) path() string {
	if all := quoted.FindAllStringSubmatch(c.args, -1); all != nil {
		return all[len(all)-1][1]
	}
	return ""
}

func (c call) isSync() bool { return c.name == "fsync" || c.name == "fdatasync" }

// isMeta reports whether c writes one of bbolt's two meta pages, which make a
// transaction count.
func (c call) isMeta() bool {
	m := offset.FindStringSubmatch(c.args)
	return c.name == "pwrite64" && m != nil && (m[1] == "0" || m[1] == fmt.Sprint(os.Getpagesize()))
}

func (c call) isYes() bool {
	return c.name == "write" && (strings.Contains(c.args, `"{\"accepted\":`) || strings.Contains(c.args, `"HTTP/1.1 200 OK`))
}

// unproven returns what is wrong with the yes that the event id got: between
// its arrival and its reply, with nothing else going on, the pages of one
// transaction must have been written to a segment and synced, and then its
// meta page written and synced.
func unproven(calls []call, id string) string {
	arrival := slices.IndexFunc(calls, func(c call) bool { return c.name == "read" && strings.Contains(c.args, id) })
	if arrival < 0 {
		return id + ": its arrival is not in the trace"
	}
	conn, rest := calls[arrival].file(), calls[arrival+1:]
	reply := slices.IndexFunc(rest, func(c call) bool { return c.file() == conn && c.isYes() })
	if reply < 0 {
		return id + ": its reply is not in the trace"
	}
	stage := "nothing was written"
	previous := calls[arrival].end
	for _, c := range rest[:reply] {
		switch {
		case filepath.Ext(c.file()) != ".seg":
			continue
		case c.name == "pwrite64" && !c.isMeta():
			stage = "pages were written and not synced"
		case c.begin < previous:
			return fmt.Sprintf("%s: %s overlaps what it must wait for", id, c.name)
		case c.isSync() && stage == "pages were written and not synced":
			stage = "pages were synced, no meta page was written"
		case c.isMeta() && stage == "pages were synced, no meta page was written":
			stage = "the meta page was written and not synced"
		case c.isMeta():
			return id + ": the meta page was written before the pages were synced"
		case c.isSync() && stage == "the meta page was written and not synced" && c.end < rest[reply].begin:
			stage = ""
		}
		previous = max(previous, c.end)
	}
	if stage != "" {
		return id + ": at its reply, " + stage
	}
	return ""
}

// syncsBefore counts the syncs of the segment that took the event id, between
// its arrival and its reply, with nothing else going on. It returns -1 if
// either is not in calls.
func syncsBefore(calls []call, id string) int {
	arrival := slices.IndexFunc(calls, func(c call) bool { return c.name == "read" && strings.Contains(c.args, id) })
	if arrival < 0 {
		return -1
	}
	conn, rest := calls[arrival].file(), calls[arrival+1:]
	reply := slices.IndexFunc(rest, func(c call) bool { return c.file() == conn && c.isYes() })
	if reply < 0 {
		return -1
	}
	taken := slices.IndexFunc(rest[:reply], func(c call) bool { return c.isMeta() && filepath.Ext(c.file()) == ".seg" })
	n := 0
	for _, c := range rest[:reply] {
		if taken >= 0 && c.isSync() && c.file() == rest[taken].file() {
			n++
		}
	}
	return n
}

// unsyncedNames returns what is wrong with the names of segments in dir: a yes
// that rests on a segment whose name was not synced, and changes of names that
// were never synced.
func unsyncedNames(calls []call, dir string) (problems []string, changes int) {
	pending := map[string]call{} // by path: changes not synced yet
	relied := map[string]bool{}  // written to since its name changed
	for _, c := range calls {
		path := c.path()
		switch {
		case strings.HasPrefix(c.name, "rename"), strings.HasPrefix(c.name, "unlink"):
			if filepath.Dir(path) == dir && filepath.Ext(path) == ".seg" {
				pending[path], relied[path] = c, false
				changes++
			}
		case c.isSync() && c.file() == dir:
			for path, change := range pending {
				if change.end < c.begin {
					delete(pending, path)
				}
			}
		case c.name == "pwrite64":
			relied[c.file()] = true
		case c.isYes():
			for path := range pending {
				if relied[path] {
					problems = append(problems, fmt.Sprintf("a yes rests on %s, whose name was not synced", filepath.Base(path)))
					relied[path] = false
				}
			}
		}
	}
	for path, change := range pending {
		problems = append(problems, fmt.Sprintf("%s of %s was never synced", change.name, filepath.Base(path)))
	}
	return problems, changes
}
