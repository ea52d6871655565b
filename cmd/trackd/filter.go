package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"trackd/event"
	"trackd/queue"
)

// eventFilter is the part of the shared filter that concerns events.
type eventFilter struct {
	Type  []string `placeholder:"TYPE" help:"Only calls of this type: track, identify, page, screen, group or alias."`
	Event string   `placeholder:"NAME" help:"Only events of this name."`
	ID    string   `name:"id" placeholder:"ID" help:"Only the event with this messageId."`
	User  string   `placeholder:"ID" help:"Only events of this userId or anonymousId."`
	Older age      `placeholder:"AGE" help:"Only events taken at least this long ago, for example 90m, 24h, 7d or 2w."`
	Newer age      `placeholder:"AGE" help:"Only events taken within this time until now."`
	Limit int      `placeholder:"N" help:"At most N of them."`
	All   bool     `help:"All there are."`
}

// narrow reports whether some flag leaves something out.
func (f eventFilter) narrow() bool {
	return len(f.Type) > 0 || f.Event != "" || f.ID != "" || f.User != "" || f.Older != 0 || f.Newer != 0 || f.Limit != 0
}

// selection is what the flags select.
func (f eventFilter) selection() (selection, error) {
	return f.narrowed(f.narrow(), time.Now())
}

// narrowed is selection at a time, where narrow says whether these flags or
// further ones leave something out.
func (f eventFilter) narrowed(narrow bool, now time.Time) (selection, error) {
	s := selection{all: f.All, narrow: narrow, Filter: queue.Filter{Event: f.Event, ID: f.ID, User: f.User, Limit: f.Limit}}
	if f.Limit < 0 {
		return s, &fault{code: exitUsage, err: errors.New("--limit must not be negative")}
	}
	if f.All && narrow {
		return s, &fault{code: exitUsage, err: errors.New("--all and other filters contradict each other")}
	}
	for _, name := range f.Type {
		t, err := event.ParseType(name)
		if err != nil {
			return s, &fault{code: exitUsage, err: fmt.Errorf("--type: %w", err)}
		}
		s.Types = append(s.Types, t)
	}
	s.TakenBefore = f.Older.before(now)
	s.TakenAfter = f.Newer.before(now)
	return s, nil
}

// letterFilter is the whole shared filter.
type letterFilter struct {
	Addresses []string `arg:"" optional:"" name:"address" help:"Only the dead letters at these addresses, as trackd dead list shows them."`
	Reason    []string `placeholder:"REASON" help:"Only dead letters that died of this, as trackd dead list shows it."`
	Status    []int    `placeholder:"CODE" help:"Only dead letters whose last answer had this HTTP status."`
	DiedOlder age      `placeholder:"AGE" help:"Only dead letters that died at least this long ago."`
	eventFilter
}

func (f letterFilter) narrow() bool {
	return len(f.Addresses) > 0 || len(f.Reason) > 0 || len(f.Status) > 0 || f.DiedOlder != 0 || f.eventFilter.narrow()
}

func (f letterFilter) selection() (selection, error) {
	now := time.Now()
	s, err := f.narrowed(f.narrow(), now)
	if err != nil {
		return s, err
	}
	s.Statuses, s.DiedBefore = f.Status, f.DiedOlder.before(now)
	for _, text := range f.Addresses {
		at, err := queue.ParseAddress(text)
		if err != nil {
			return s, &fault{code: exitUsage, err: err, hint: "to select by messageId, use --id"}
		}
		s.At = append(s.At, at)
	}
	for _, name := range f.Reason {
		reason, err := reasonNamed(name)
		if err != nil {
			return s, err
		}
		s.Reasons = append(s.Reasons, reason)
	}
	return s, nil
}

func reasonNamed(name string) (queue.Reason, error) {
	var known []string
	for _, r := range queue.Reasons() {
		if string(r) == name {
			return r, nil
		}
		known = append(known, string(r))
	}
	return "", &fault{code: exitUsage, err: fmt.Errorf("there is no reason %q", name), hint: "the reasons are " + strings.Join(known, ", ")}
}

// bulk is selection for a verb that changes things: selecting everything must
// be said.
func (f letterFilter) bulk() (selection, error) {
	if !f.All && !f.narrow() {
		return selection{}, &fault{code: exitUsage, err: errors.New("no dead letter is selected"),
			hint: "narrow it with --reason, --status, --type, --event, --id, --user, --older, --newer, --died-older, --limit or addresses, or say --all"}
	}
	return f.selection()
}

// age is a duration of a flag. Besides what Go understands it may have weeks
// and days, and the spaces with which trackd itself prints one: "2d 23h".
type age time.Duration

var longUnits = regexp.MustCompile(`^(?:(\d+)w)?(?:(\d+)d)?(.*)$`)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (a *age) UnmarshalText(text []byte) error {
	parts := longUnits.FindStringSubmatch(strings.ReplaceAll(string(text), " ", ""))
	var rest time.Duration
	if parts[3] != "" || parts[0] == "" {
		var err error
		if rest, err = time.ParseDuration(parts[3]); err != nil || rest < 0 {
			return fmt.Errorf("%q is no age: write one like 90m, 24h, 7d, 2w or 1d12h", text)
		}
	}
	weeks, _ := strconv.Atoi(parts[1]) // no digits: none of it
	days, _ := strconv.Atoi(parts[2])
	const most = 36_500 // days, of which a duration could hold almost three times as many
	if weeks > most || days > most || 7*weeks+days > most || rest > most*24*time.Hour {
		return fmt.Errorf("%q is no age: it is more than a hundred years", text)
	}
	*a = age(time.Duration(7*weeks+days)*24*time.Hour + rest)
	return nil
}

// before is the time that long before now; the zero time for no age.
func (a age) before(now time.Time) time.Time {
	if a == 0 {
		return time.Time{}
	}
	return now.Add(-time.Duration(a))
}
