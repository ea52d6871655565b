package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackd/admin"
	"trackd/config"
	"trackd/internal/status"
	"trackd/queue"
)

func TestTextFromOutsideCannotMoveTheCursor(t *testing.T) {
	for in, want := range map[string]string{
		"plain ümlaut":     "plain ümlaut",
		"two\nlines\ttab":  "two\nlines\ttab",
		"\x1b[2Jgone":      `\u001b[2Jgone`,
		"a\rb\x00":         `a\u000db\u0000`,
		"right\u202eto":    `right\u202eto`,
		"bad \xff utf-8":   `bad \xff utf-8`,
		"c1 \u009b, \x9b":  `c1 \u009b, \x9b`,
		"":                 "",
		"zero\u200bwidth":  `zero\u200bwidth`,
		"backspace\b\bxxx": `backspace\u0008\u0008xxx`,
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestCellsAreOneLineOfBoundedLength(t *testing.T) {
	for in, want := range map[string]string{"": "-", "a\nb": "a b", "123456789": "123456789", "1234567890x": "123456789…"} {
		if got := cell(in, 10); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// Text of several lines must not look like facts of ours.
func TestAFactStaysInItsColumn(t *testing.T) {
	var out bytes.Buffer
	if err := printFacts(&out, [][2]string{{"event", "x\naddress  1"}, {"taken", "now"}}, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if want := "event  x\n       address  1\ntaken  now\n\n{}\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestAgesAreReadAsTheyArePrinted(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0s": 0, "90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "2w": 14 * 24 * time.Hour,
		"2d 23h": 71 * time.Hour, "1w1d1h": 193 * time.Hour, "36500d": 36_500 * 24 * time.Hour,
	} {
		var got age
		if err := got.UnmarshalText([]byte(text)); err != nil || time.Duration(got) != want {
			t.Errorf("%q: got %v, %v, want %v", text, time.Duration(got), err, want)
		}
	}
	for _, text := range []string{"", "2", "d", "-1h", "1d-1h", "-1d", "1d1w", "1d2d", "yesterday", "36501d", "5300w", "99999999999999999999d", "1000000h"} {
		var got age
		if err := got.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, time.Duration(got))
		}
	}
}

func TestSizesAreForPeople(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 150 << 10: "150 KiB", 10 << 30: "10.0 GiB", 3 << 40: "3.0 TiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

// Root may do everything, so who may is decided from the mode alone.
func TestTheHintNamesWhoGetsThrough(t *testing.T) {
	for _, test := range []struct {
		name string
		mode fs.FileMode
		want string
	}{
		{"a directory of a group", fs.ModeDir | 0o750, "/x lets in user root and group root: join that group (usermod -aG root YOU, then log in again) or use sudo -u root"},
		{"a directory of one user", fs.ModeDir | 0o700, "/x lets in user root alone (mode 0700): run this as that user, sudo -u root"},
		{"a socket of a group", fs.ModeSocket | 0o660, "/x lets in user root and group root: join"},
		{"a socket whose group may only look", fs.ModeSocket | 0o640, "/x lets in user root alone (mode 0640)"},
		{"a socket of one user", fs.ModeSocket | 0o600, "/x lets in user root alone (mode 0600)"},
	} {
		if got := keptOut("/x", test.mode, 0, 0); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

func TestUnreachableSaysWhatToDo(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{fs.ErrNotExist, "is it running?"},
		{syscall.ECONNREFUSED, "nobody listens"},
		{syscall.EACCES, "run this as the user the daemon runs as"}, // nothing on the way keeps root out
	} {
		if errors.Is(test.err, syscall.EACCES) && os.Geteuid() != 0 {
			continue
		}
		if got := socketHint(test.err, filepath.Join(t.TempDir(), "admin.sock")); !strings.Contains(got, test.want) {
			t.Errorf("%v: got %q, want %q", test.err, got, test.want)
		}
	}
}

func TestTheStatusScreenTellsWhatIsWrong(t *testing.T) {
	now := time.Now()
	s := status.Report{Version: "1.2.3", Started: now.Add(-3 * time.Hour),
		Account:  status.Balance{Account: status.Account{Taken: 20, Queued: 7, Delivered: 9, Dead: 3, Lost: 1}, Exact: true},
		Queue:    status.Backlog{Leased: 2, Parked: 3, Held: 1, OldestAgeSeconds: 3700, Full: "10 GiB of 10 GiB are used"},
		Outlook:  status.Outlook{NetDrain: new(3.5), Summary: "empty in 2s, before anything passes 72 h"},
		Upstream: status.Upstream{State: "denied", Since: now.Add(-time.Minute), Why: "the key is wrong", Alarm: "many are rejected", Rate: 250, NextProbe: now.Add(10*time.Minute + 500*time.Millisecond)},
		Dead:     status.Dead{ByReason: map[queue.Reason]uint64{queue.Poison: 1, queue.Rejected: 2}},
		Disk:     status.Disk{Bytes: 1 << 30, MaxBytes: 10 << 30, FreeBytes: 5 << 30, Damaged: []string{"00000003.seg.bad"}},
		Alarms:   []string{"an fsync failed"}}
	var out bytes.Buffer
	if err := (statusCmd{}).print(&out, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"trackd    1.2.3, up 3h 0m\n",
		"intake    refusing events: 10 GiB of 10 GiB are used\n",
		"upstream  denied for 1m 0s, may send 250/s\n          the key is wrong\n          tries again in 10m 0s\n",
		"queue     7 events, the oldest taken 1h 1m ago; 2 being sent; 3 waiting for another attempt; 1 settled but not markable on disk\n          shrinks by 3.5/s: empty in 2s, before anything passes 72 h\n",
		"dead      3 dead letters: 2 rejected, 1 poison\n",
		"disk      1.0 GiB of 10.0 GiB used, 5.0 GiB left on the disk\n",
		"damaged   00000003.seg.bad\n",
		"trackd    1.2.3, up 3h 0m\nALARM     an fsync failed\n          many are rejected\n",
		"          THIS DOES NOT BALANCE: stop trackd and run trackd check\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("want %q in:\n%s", want, out.String())
		}
	}
}

// inspected looks at a configuration of files in dir.
func inspected(t *testing.T, dir string, change func(*config.Config)) inspection {
	t.Helper()
	c := config.Config{
		Upstream: config.Upstream{APIKeyFile: filepath.Join(dir, "key")},
		Ingest:   config.Ingest{Socket: filepath.Join(dir, "events.sock"), SocketMode: 0o660},
		Queue:    config.Queue{Dir: filepath.Join(dir, "queue"), MaxBytes: 512 << 20},
		Admin:    config.Admin{Socket: filepath.Join(dir, "admin.sock"), HTTP: "127.0.0.1:9484"},
	}
	if err := os.WriteFile(c.Upstream.APIKeyFile, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	change(&c)
	in := inspection{euid: 1000}
	in.inspect(c)
	return in
}

func TestAnInspectionFindsWhatIsWrongOnThisHost(t *testing.T) {
	mode := func(path string, m fs.FileMode) {
		t.Helper()
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name   string
		change func(dir string, c *config.Config)
		want   string // in the one finding; "" for none
	}{
		{"nothing", func(string, *config.Config) {}, ""},
		{"a key everybody reads", func(_ string, c *config.Config) { mode(c.Upstream.APIKeyFile, 0o604) }, "can be read by everybody"},
		{"a key its group changes", func(_ string, c *config.Config) { mode(c.Upstream.APIKeyFile, 0o660) }, "can be changed by its group"},
		{"a key its group reads", func(_ string, c *config.Config) { mode(c.Upstream.APIKeyFile, 0o640) }, ""},
		{"a queue that is a file", func(_ string, c *config.Config) { c.Queue.Dir = c.Upstream.APIKeyFile }, "is no directory"},
		{"an open queue", func(dir string, c *config.Config) { c.Queue.Dir = dir; mode(dir, 0o750) }, "is open to others"},
		{"no room", func(_ string, c *config.Config) { c.Queue.MinFreeBytes = 1 << 60 }, "too little to take events"},
		{"a file where a socket goes", func(_ string, c *config.Config) { c.Admin.Socket = c.Upstream.APIKeyFile }, "something that is no socket"},
		{"a directory everybody writes to", func(dir string, c *config.Config) {
			mode(dir, 0o777)
			c.Ingest.Socket = ""
		}, "everybody may write to"},
	} {
		dir := t.TempDir()
		mode(dir, 0o700)
		in := inspected(t, dir, func(c *config.Config) { test.change(dir, c) })
		switch {
		case test.want == "" && len(in.findings) > 0, test.want != "" && len(in.findings) != 1:
			t.Errorf("%s: got %q", test.name, in.findings)
		case test.want != "" && !strings.Contains(in.findings[0], test.want):
			t.Errorf("%s: got %q, want %q", test.name, in.findings[0], test.want)
		}
	}
}

func TestAQuestionThatIsNotAnsweredDiscardsNothing(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, " y \n": true, "n\n": false, "\n": false, "": false, "yep\n": false} {
		var asked bytes.Buffer
		w := &world{ctx: context.Background(), stdin: strings.NewReader(answer), stderr: &asked}
		err := deadDiscardCmd{}.confirm(w, admin.Counted{Count: 12, ByReason: map[queue.Reason]int{queue.Poison: 2, queue.Rejected: 10}})
		if (err == nil) != want {
			t.Errorf("%q: got %v", answer, err)
		}
		if got := strings.TrimSpace(asked.String()); got != "Discard 12 dead letters (10 rejected, 2 poison)? [y/N]" {
			t.Errorf("asked %q", got)
		}
	}
}

// An interrupted replay says how far it came, after the chunk it was at.
func TestAReplayCanBeInterrupted(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	calls := 0
	a := amending{world: &world{ctx: ctx, stderr: &bytes.Buffer{}}, past: "replayed",
		count: func(context.Context, queue.Filter) (admin.Counted, error) { return admin.Counted{Count: 1200}, nil },
		call: func(ctx context.Context, f queue.Filter) (admin.Amended, error) {
			if calls++; calls == 2 {
				interrupt()
			}
			return admin.Amended{Matched: 500, Changed: 500, Last: queue.Address{Lo: uint64(calls * 500)}.String(), More: true}, ctx.Err()
		}}
	err := a.run(queue.Filter{}, nil)
	if f, ok := errors.AsType[*fault](err); !ok || f.code != exitFailure || err.Error() != "interrupted: 1000 of 1200 replayed" {
		t.Errorf("got %v", err)
	}
	if calls != 2 {
		t.Errorf("got %d calls, want 2", calls)
	}
}
