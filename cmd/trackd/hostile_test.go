package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
)

// badEvent is something that is no event, and what both doors make of it.
type badEvent struct {
	name   string
	body   string
	status int    // over HTTP
	code   string // over both
	says   string // a part of the message over both
}

func badEvents() []badEvent {
	event := func(rest string) string { return `{"event":"Application Opened",` + rest + `}` }
	deep := strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000)
	return []badEvent{
		{"malformed JSON", `{"event":"Application Opened","userId":"ann"`, 400, "malformed", ""},
		{"two objects", event(`"userId":"ann"`) + event(`"userId":"bob"`), 400, "malformed", ""},
		{"no JSON at all", `event=Application+Opened&userId=ann`, 400, "malformed", ""},
		{"a list", `[` + event(`"userId":"ann"`) + `]`, 400, "malformed", "object"},
		{"invalid UTF-8", event(`"userId":"ann` + "\xff\xfe" + `"`), 400, "malformed", "UTF-8"},
		{"a NUL", event(`"userId":"ann` + "\x00" + `"`), 400, "malformed", ""},
		{"duplicate keys", event(`"userId":"ann","userId":"bob"`), 400, "malformed", "userId"},
		{"duplicate keys deep inside", event(`"userId":"ann","properties":{"a":{"b":1,"b":2}}`), 400, "malformed", "b"},
		{"10,000-deep nesting", event(`"userId":"ann","properties":` + deep), 400, "malformed", "levels of nesting"},
		{"no id", event(`"properties":{}`), 400, "invalid", "userId"},
		{"empty ids", event(`"userId":"","anonymousId":null`), 400, "invalid", "anonymousId"},
		{"an unknown event", `{"event":"Application Exploded","userId":"ann"}`, 400, "not_lifecycle", "Application Exploded"},
		{"a name of the wrong type", `{"event":42,"userId":"ann"}`, 400, "invalid", "event"},
		{"properties of the wrong type", event(`"userId":"ann","properties":"none"`), 400, "invalid", "properties"},
		{"an id of the wrong type", event(`"userId":["ann"]`), 400, "invalid", "userId"},
		{"a time of the wrong type", event(`"userId":"ann","timestamp":1700000000`), 400, "invalid", "timestamp"},
		{"more than may be sent", event(`"userId":"ann","properties":{"a":"` + strings.Repeat("x", 33_000) + `"}`), 413, "oversize", "32000"},
		{"more than the door takes", event(`"userId":"ann","properties":{"a":"` + strings.Repeat("x", 70_000) + `"}`), 413, "oversize", "65536"},
	}
}

// hostile is a daemon among clients that mean no good.
type hostile struct {
	*process
	client   *http.Client
	good     []string // ids of good events that got a yes
	rejected int      // lines and items that were kept as dead letters
}

func newHostile(t *testing.T, upstream string) *hostile {
	d := newProcess(t, upstream)
	d.start()
	d.awaitReady()
	h := &hostile{process: d, client: unixClient(d.path("http.sock"))}
	t.Cleanup(h.client.CloseIdleConnections)
	return h
}

// problem is how both doors tell what is wrong.
type problem struct {
	Line          int
	Code, Message string
	Meta          struct{ Errors []string }
}

// post posts body and returns the status and what is wrong, if anything.
func (h *hostile) post(t *testing.T, path, encoding string, body io.Reader) (status int, p problem) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://trackd"+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer, &p); err != nil {
		t.Fatalf("the answer %.200q: %v", answer, err)
	}
	if resp.StatusCode != http.StatusOK && len(p.Meta.Errors) == 0 {
		t.Errorf("the answer lists no errors: %s", answer)
	}
	return resp.StatusCode, p
}

// dial connects to the socket.
func (h *hostile) dial(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", h.path("events.sock"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.UnixConn)
}

// finish ends the sending side and returns everything that was replied: what
// is wrong with single lines, and the last counts.
func finish(t *testing.T, conn *net.UnixConn) (problems []problem, last sent) {
	t.Helper()
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	for replies := json.NewDecoder(conn); ; {
		var reply struct {
			problem
			sent
		}
		switch err := replies.Decode(&reply); {
		case errors.Is(err, io.EOF):
			return problems, last
		case err != nil:
			t.Fatal(err)
		case reply.Code != "":
			problems = append(problems, reply.problem)
		default:
			last = reply.sent
		}
	}
}

// goodLine returns a good event and expects it to get a yes.
func (h *hostile) goodLine() string {
	id := fmt.Sprintf("good-%03d", len(h.good))
	h.good = append(h.good, id)
	return lifecycleLine(id) + "\n"
}

func (p problem) check(t *testing.T, code, says string) {
	t.Helper()
	if p.Code != code || p.Message == "" || !strings.Contains(p.Message, says) {
		t.Errorf("got code %q, message %q, want code %q and a message with %q", p.Code, p.Message, code, says)
	}
	if len(p.Message) > 1000 {
		t.Errorf("the message has %d bytes, which nobody reads", len(p.Message))
	}
}

func TestNothingBadHurtsWhatIsGood(t *testing.T) {
	box, url := newSandbox(t)
	h := newHostile(t, url)
	for _, bad := range badEvents() {
		t.Run("over HTTP: "+bad.name, func(t *testing.T) {
			status, p := h.post(t, "/v1/track", "", strings.NewReader(bad.body))
			if status != bad.status {
				t.Errorf("status %d, want %d", status, bad.status)
			}
			p.check(t, bad.code, bad.says)
			h.rejected++ // a bad event alone in its request is kept, too
			if status, p := h.post(t, "/v1/track", "", strings.NewReader(h.goodLine())); status != http.StatusOK {
				t.Errorf("the next event: %d %+v", status, p)
			}
		})
		t.Run("over the socket: "+bad.name, func(t *testing.T) {
			conn := h.dial(t)
			fmt.Fprint(conn, h.goodLine()+bad.body+"\n"+h.goodLine())
			problems, last := finish(t, conn)
			if len(problems) != 1 || problems[0].Line != 2 || last != (sent{Accepted: 2, Rejected: 1}) {
				t.Fatalf("got %+v and %+v, want line 2 rejected and two accepted", problems, last)
			}
			problems[0].check(t, bad.code, bad.says)
			h.rejected++
		})
	}
	t.Run("over HTTP: bodies", h.badBodies)
	t.Run("over the socket: an endless line", h.endlessLine)

	until(t, "the good events to arrive", func() bool { return len(box.IDs()) == len(h.good) })
	for _, id := range h.good {
		if n := box.IDs()[id]; n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	h.awaitDrained()
	a := h.status().Account
	if want := uint64(len(h.good)) + a.Dead; a.Taken != want || a.Dead < uint64(h.rejected) || a.Delivered != uint64(len(h.good)) || !a.Balances {
		t.Errorf("account %+v, want %d taken, at least %d dead", a, want, h.rejected)
	}
	if got := box.Received(); got.Statuses[http.StatusBadRequest] > 0 {
		t.Errorf("something bad was sent on: %+v", got)
	}
	if bytes.Contains(h.logged(), []byte("panic")) || regexp.MustCompile(`\bann\b`).Match(h.logged()) {
		t.Error("the log holds a panic or a user's id")
	}
}

// badBodies are bad before anybody looks for an event in them.
func (h *hostile) badBodies(t *testing.T) {
	bomb := squeeze(t, bytes.Repeat([]byte(" "), 64<<20))
	for _, test := range []struct {
		name, path, encoding string
		body                 io.Reader
		status               int
		code                 string
		kept                 bool // as a dead letter
	}{
		{"nothing", "/v1/track", "", http.NoBody, 400, "malformed", true},
		{"a gzip bomb", "/v1/track", "gzip", bytes.NewReader(bomb), 413, "oversize", true},
		{"a gzip bomb as a batch", "/v1/batch", "gzip", bytes.NewReader(bomb), 413, "oversize", false},
		{"a cut gzip", "/v1/track", "gzip", bytes.NewReader(squeeze(t, []byte(lifecycleLine("cut")))[:40]), 400, "malformed", false},
		{"what is no gzip", "/v1/track", "gzip", strings.NewReader(lifecycleLine("plain")), 400, "malformed", false},
		{"a body without end", "/v1/track", "", endless{}, 413, "oversize", true},
		{"a batch without end", "/v1/batch", "", endless{}, 413, "oversize", false},
		{"a batch that is none", "/v1/batch", "", strings.NewReader(`{"batch":{}}`), 400, "invalid", true},
		{"a batch without items", "/v1/batch", "", strings.NewReader(`{}`), 400, "invalid", true},
	} {
		status, p := h.post(t, test.path, test.encoding, test.body)
		if status != test.status || p.Code != test.code {
			t.Errorf("%s: got %d %+v, want %d %s", test.name, status, p, test.status, test.code)
		}
		if test.kept {
			h.rejected++
		}
		if status, p := h.post(t, "/v1/track", "", strings.NewReader(h.goodLine())); status != http.StatusOK {
			t.Errorf("the event after %s: %d %+v", test.name, status, p)
		}
	}
}

// endlessLine sends 64 MiB before the line ends. What follows is taken.
func (h *hostile) endlessLine(t *testing.T) {
	conn := h.dial(t)
	if _, err := io.CopyN(conn, endless{}, 64<<20); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "\n"+h.goodLine())
	problems, last := finish(t, conn)
	if len(problems) != 1 || problems[0].Line != 1 || last != (sent{Accepted: 1, Rejected: 1}) {
		t.Fatalf("got %+v and %+v, want line 1 rejected and one accepted", problems, last)
	}
	problems[0].check(t, "oversize", "65536")
	h.rejected++
}

// TestWhoStallsIsAnsweredAndNobodyWaitsForThem begins a line and a body, and
// never ends them. Both are told after 30 s, which is why -short skips this.
func TestWhoStallsIsAnsweredAndNobodyWaitsForThem(t *testing.T) {
	if testing.Short() {
		t.Skip("the doors wait 30 s for what was begun")
	}
	t.Parallel()
	box, url := newSandbox(t)
	h := newHostile(t, url)
	line := h.dial(t)
	fmt.Fprint(line, h.goodLine()+`{"event":"Applic`)

	hung, err := net.Dial("unix", h.path("http.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	fmt.Fprint(hung, "POST /v1/track HTTP/1.1\r\nHost: trackd\r\nContent-Length: 100\r\n\r\n{\"event\"")

	if status, p := h.post(t, "/v1/track", "", strings.NewReader(h.goodLine())); status != http.StatusOK {
		t.Errorf("another client: %d %+v", status, p)
	}
	until(t, "the good events to arrive", func() bool { return len(box.IDs()) == len(h.good) })

	told, err := io.ReadAll(line)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"code":"unfinished"`, "line 2", `{"accepted":1,"rejected":0,"refused":1}`} {
		if !bytes.Contains(told, []byte(want)) {
			t.Errorf("the socket was told %s, want %s in it", told, want)
		}
	}
	if told, err = io.ReadAll(hung); err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(told, []byte("HTTP/1.1 408 ")) || !bytes.Contains(told, []byte(`"code":"unfinished"`)) {
		t.Errorf("the HTTP client was told %s", told)
	}
}

// endless is a body of one JSON string that has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func squeeze(t *testing.T, data []byte) []byte {
	t.Helper()
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped.Bytes()
}
