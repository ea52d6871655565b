package sandbox

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

// one answers a call and says what was accepted and dropped by it.
func one(t *testing.T, trouble Trouble) (reply, Received) {
	t.Helper()
	s, c := serve(t, Options{Trouble: trouble})
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	got := c.post("/v1/track", opened("m1"))
	return got, s.Received()
}

func TestEachPresetIsSeenByItsClient(t *testing.T) {
	const html = "text/html; charset=utf-8"
	tests := []struct {
		preset  string
		status  int // 0: no answer
		err     error
		kind    string // Content-Type
		begins  string // of the body
		stored  uint64
		dropped uint64
	}{
		{preset: "well", status: 200, kind: "application/json", begins: `{}`, stored: 1},
		{preset: "down", err: io.EOF},
		{preset: "reset", err: syscall.ECONNRESET},
		{preset: "reset_midway", status: 200, kind: "application/json", begins: `{`, err: syscall.ECONNRESET},
		{preset: "cut", status: 200, kind: "application/json", begins: `{`, err: io.ErrUnexpectedEOF},
		{preset: "answer_lost", err: syscall.ECONNRESET, stored: 1},
		{preset: "unauthorized", status: 401},
		{preset: "forbidden", status: 403},
		{preset: "not_found", status: 404},
		{preset: "throttled", status: 429},
		{preset: "retry_after", status: 429},
		{preset: "retry_at", status: 429},
		{preset: "unavailable", status: 503},
		{preset: "refuse", status: 400, kind: "application/json", begins: `{"meta":{"errors":["`},
		{preset: "poison", status: 500},
		{preset: "proxy_ok", status: 200, kind: html, begins: "<!DOCTYPE html>", dropped: 1},
		{preset: "proxy_bad", status: 400, kind: html, begins: "<!DOCTYPE html>"},
		{preset: "redirect", status: 302},
	}
	tested := map[string]bool{
		"slow": true, "hang": true, // TestSlowAnswersLater, TestHangLastsUntilTheClientLeaves
		"flaky": true, "busy": true, "lossy": true, // TestARate…, TestALimit…
	}
	for _, tt := range tests {
		tested[tt.preset] = true
		t.Run(tt.preset, func(t *testing.T) {
			got, received := one(t, Trouble{{Preset: tt.preset}})
			if got.status != tt.status || !errors.Is(got.err, tt.err) {
				t.Errorf("got %d, error %v, want %d, error %v", got.status, got.err, tt.status, tt.err)
			}
			if !strings.HasPrefix(got.body, tt.begins) || (tt.begins == "" && got.body != "") {
				t.Errorf("got body %q, want one that begins with %q", got.body, tt.begins)
			}
			if kind := got.header.Get("Content-Type"); kind != tt.kind {
				t.Errorf("got content type %q, want %q", kind, tt.kind)
			}
			if received.Accepted != tt.stored || received.Dropped != tt.dropped {
				t.Errorf("accepted %d, dropped %d, want %d and %d", received.Accepted, received.Dropped, tt.stored, tt.dropped)
			}
			whole := received.Statuses[tt.status] == 1 && len(received.Broken) == 0
			if whole != (tt.err == nil) {
				t.Errorf("counted statuses %v, broken %v", received.Statuses, received.Broken)
			}
		})
	}
	for _, p := range Presets() {
		if !tested[p.Name] {
			t.Errorf("preset %q is not tested", p.Name)
		}
	}
}

func TestRetryAfterComesInBothForms(t *testing.T) {
	got, _ := one(t, Trouble{{Do: Action{Status: 503, RetryAfter: 1500 * time.Millisecond}}})
	if seconds := got.header.Get("Retry-After"); seconds != "2" {
		t.Errorf("in seconds: got %q, want 2", seconds)
	}

	before := time.Now().Truncate(time.Second)
	got, _ = one(t, Trouble{{Preset: "retry_at", Do: Action{RetryAt: time.Hour}}})
	at, err := http.ParseTime(got.header.Get("Retry-After"))
	if err != nil {
		t.Fatal(err)
	}
	if at.Before(before.Add(time.Hour)) || at.After(time.Now().Add(time.Hour)) {
		t.Errorf("as a date: got %v, want an hour from now", at)
	}

	got, _ = one(t, Trouble{{Preset: "throttled", Do: Action{Header: map[string]string{"Retry-After": "soon"}}}})
	if verbatim := got.header.Get("Retry-After"); verbatim != "soon" {
		t.Errorf("verbatim: got %q, want soon", verbatim)
	}
	got, _ = one(t, Trouble{{Preset: "throttled"}})
	if none := got.header.Values("Retry-After"); none != nil {
		t.Errorf("throttled: got Retry-After %q, want none", none)
	}
}

func TestResetIsSeenThroughTLS(t *testing.T) {
	tests := []struct {
		name  string
		http2 bool
		want  string
	}{
		{"HTTP/1.1", false, syscall.ECONNRESET.Error()},
		{"HTTP/2 has no connection to reset, only a stream", true, "INTERNAL_ERROR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(Options{Trouble: Trouble{{Preset: "reset"}}})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewUnstartedServer(s)
			server.EnableHTTP2 = tt.http2
			server.StartTLS()
			defer server.Close()
			c := &client{t: t, base: server.URL, http: server.Client()}
			got := c.post("/v1/track", opened("m1"))
			if got.err == nil || !strings.Contains(got.err.Error(), tt.want) {
				t.Errorf("got %d, error %v, want an error that says %q", got.status, got.err, tt.want)
			}
		})
	}
}

// The failure that cannot be told apart by the client: before or after its
// effect, the connection breaks in the same way.
func TestAFailureIsAmbiguousBothWays(t *testing.T) {
	for _, end := range []End{Close, Reset, Cut, CutReset} {
		for _, store := range []bool{false, true} {
			got, received := one(t, Trouble{{Do: Action{Store: store, End: end}}})
			if got.err == nil {
				t.Errorf("%s, store %t: got %d, want an error", end, store, got.status)
			}
			if stored := received.Accepted == 1; stored != store {
				t.Errorf("%s: got stored %t, want %t", end, stored, store)
			}
		}
	}
	got, received := one(t, Trouble{{Do: Action{Store: true, Status: 503}}})
	if got.status != 503 || received.Accepted != 1 {
		t.Errorf("a 503 that lies: got %d with %d accepted, want 503 with 1", got.status, received.Accepted)
	}
	got, received = one(t, Trouble{{Do: Action{Status: 200}}})
	if got.status != 200 || got.body != "{}" || received.Accepted != 0 || received.Dropped != 1 {
		t.Errorf("a 200 that lies: got %d %q with %d accepted and %d dropped, want 200 {} with 0 and 1",
			got.status, got.body, received.Accepted, received.Dropped)
	}
}

func TestStoreTakesNoEventThatIsBad(t *testing.T) {
	s, c := serve(t, Options{Trouble: Trouble{{Preset: "answer_lost"}}})
	c.post("/v1/track", `{"type":"track"}`)
	if got := s.Received(); got.Accepted != 0 || got.Broken[Reset] != 1 {
		t.Errorf("got %d accepted, broken %v, want 0 and one reset", got.Accepted, got.Broken)
	}
}

func TestARuleHitsTheEventsItNames(t *testing.T) {
	const body = `{"messageId":"m1","type":"track","event":"Application Crashed","userId":"u1","anonymousId":"a1"}`
	tests := []struct {
		name  string
		match Match
		path  string
		body  string
		want  int
	}{
		{"everything", Match{}, "/v1/track", body, 500},
		{"even what is no JSON", Match{}, "/v1/track", `nope`, 500},
		{"by name", Match{Event: "Application Crashed"}, "/v1/track", body, 500},
		{"by another name", Match{Event: "Application Opened"}, "/v1/track", body, 200},
		{"by messageId", Match{MessageID: "m1"}, "/v1/track", body, 500},
		{"by another messageId", Match{MessageID: "m2"}, "/v1/track", body, 200},
		{"by userId", Match{UserID: "u1"}, "/v1/track", body, 500},
		{"by anonymousId", Match{UserID: "a1"}, "/v1/track", body, 500},
		{"by another user", Match{UserID: "u2"}, "/v1/track", body, 200},
		{"by all", Match{Event: "Application Crashed", MessageID: "m1", UserID: "u1"}, "/v1/track", body, 500},
		{"by all but one", Match{Event: "Application Crashed", MessageID: "m2", UserID: "u1"}, "/v1/track", body, 200},
		{"in a batch", Match{MessageID: "m1"}, "/v1/batch", `{"batch":[` + opened("m0") + `,` + body + `]}`, 500},
		{"not in a batch", Match{MessageID: "m2"}, "/v1/batch", `{"batch":[` + opened("m0") + `,` + body + `]}`, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, c := serve(t, Options{Trouble: Trouble{{Preset: "poison", Match: tt.match}}})
			if got := c.post(tt.path, tt.body); got.status != tt.want {
				t.Errorf("got %d, want %d", got.status, tt.want)
			}
		})
	}
}

// decisions returns the statuses of n calls, each so much later than the one before.
func decisions(t *testing.T, trouble Trouble, n int, apart time.Duration) []int {
	t.Helper()
	rules := newRuleSet(0)
	start := time.Unix(0, 0)
	if err := rules.set(trouble, start); err != nil {
		t.Fatal(err)
	}
	var got []int
	for i := range n {
		c := &call{at: start.Add(time.Duration(i) * apart)}
		got = append(got, rules.decide(c).Status)
	}
	return got
}

func TestARuleAppliesInItsTimeAndNumber(t *testing.T) {
	do := Action{Status: 500}
	tests := []struct {
		name    string
		trouble Trouble
		want    []int // of five calls, a second apart
	}{
		{"no trouble", nil, []int{0, 0, 0, 0, 0}},
		{"always", Trouble{{Do: do}}, []int{500, 500, 500, 500, 500}},
		{"after", Trouble{{Do: do, After: 2 * time.Second}}, []int{0, 0, 500, 500, 500}},
		{"for", Trouble{{Do: do, For: 2 * time.Second}}, []int{500, 500, 0, 0, 0}},
		{"after and for", Trouble{{Do: do, After: time.Second, For: 2 * time.Second}}, []int{0, 500, 500, 0, 0}},
		{"count", Trouble{{Do: do, Count: 2}}, []int{500, 500, 0, 0, 0}},
		{"over", Trouble{{Do: do, Over: Limit{Calls: 2, Per: 8 * time.Second}}}, []int{0, 0, 500, 500, 0}},
		{"the first rule that applies", Trouble{{Do: do, Count: 1}, {Preset: "well", Count: 1}, {Preset: "not_found", For: 4 * time.Second}}, []int{500, 0, 404, 404, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, decisions(t, tt.trouble, 5, time.Second)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestARateHitsItsShareAndTheSameCallsEachTime(t *testing.T) {
	first := decisions(t, Trouble{{Preset: "flaky"}}, 1000, 0)
	hits := 0
	for _, status := range first {
		if status == 503 {
			hits++
		}
	}
	if hits < 250 || hits > 350 {
		t.Errorf("flaky hit %d of 1,000 calls, want about 300", hits)
	}
	if diff := cmp.Diff(first, decisions(t, Trouble{{Preset: "flaky"}}, 1000, 0)); diff != "" {
		t.Errorf("another run hit others:\n%s", diff)
	}
}

func TestALimitHitsWhatExceedsIt(t *testing.T) {
	for preset, status := range map[string]int{"busy": 429, "lossy": 200} {
		hits := 0
		for _, got := range decisions(t, Trouble{{Preset: preset}}, 10_000, 500*time.Microsecond) {
			if got == status {
				hits++
			}
		}
		// 5 s at 2,000 a second: 3,000 at once, and 1,000 a second.
		if passed := 10_000 - hits; passed < 7_990 || passed > 8_010 {
			t.Errorf("%s let %d of 10,000 calls pass, want 8,000", preset, passed)
		}
	}
}

func TestTroubleIsReadFromJSON(t *testing.T) {
	tests := []struct {
		json string
		want Trouble
	}{
		{`[]`, Trouble{}},
		{`{"preset":"down"}`, Trouble{{Preset: "down"}}},
		{`[{"preset":"down","for":"30s"},{"preset":"flaky","rate":0.5,"after":"1m"}]`,
			Trouble{{Preset: "down", For: 30 * time.Second}, {Preset: "flaky", Rate: 0.5, After: time.Minute}}},
		{`{"match":{"event":"x","message_id":"m","user_id":"u"},"over":{"calls":10,"per":"1s"},"count":3,"do":{"store":true,"delay":"1.5s","status":503,"header":{"X":"y"},"retry_after":"2s","body":"b","end":"cut"}}`,
			Trouble{{
				Match: Match{Event: "x", MessageID: "m", UserID: "u"}, Over: Limit{Calls: 10, Per: time.Second}, Count: 3,
				Do: Action{Store: true, Delay: 1500 * time.Millisecond, Status: 503, Header: map[string]string{"X": "y"}, RetryAfter: 2 * time.Second, Body: "b", End: Cut},
			}}},
	}
	for _, tt := range tests {
		got, err := ParseTrouble([]byte(tt.json))
		if err != nil {
			t.Errorf("%s: %v", tt.json, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.json, diff)
		}
		written, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseTrouble(written)
		if err != nil {
			t.Errorf("%s, written as %s: %v", tt.json, written, err)
		}
		if diff := cmp.Diff(got, again); diff != "" {
			t.Errorf("%s does not survive being written as %s:\n%s", tt.json, written, diff)
		}
	}
}

func TestWhatIsWrongWithATroubleIsSaidPlainly(t *testing.T) {
	tests := []struct{ json, want string }{
		{``, `read trouble: the document ends too early`},
		{`"down"`, `read trouble: found string, which does not fit`},
		{`{"preset":"dwon"}`, `rule 1: there is no preset "dwon"; there are well, down, slow,`},
		{`{"preest":"down"}`, `read trouble: unknown key "preest"`},
		{`[{"preset":"down"},{"do":{"sttaus":500}}]`, `read trouble: in /1/do: unknown key "sttaus"`},
		{`{"preset":"down","for":30}`, `read trouble: in /for: a duration is written like "1m30s", found 30`},
		{`{"preset":"down","for":"soon"}`, `read trouble: in /for: time: invalid duration "soon"`},
		{`{"rate":"half"}`, `read trouble: in /rate: found string, which does not fit`},
		{`{"preset":"down"`, `read trouble: the document ends too early`},
		{`{"rate":0.5}`, `rule 1: does nothing: name a "preset" or say what to "do"`},
		{`{"preset":"down","rate":1.5}`, `rule 1: "rate" must lie between 0 and 1, found 1.5`},
		{`{"preset":"down","after":"-1s"}`, `rule 1: "after" must not be negative, found -1s`},
		{`{"preset":"down","for":"-1s"}`, `rule 1: "for" must not be negative, found -1s`},
		{`{"preset":"down","over":{"calls":5}}`, `rule 1: "over" needs positive "calls" and "per"`},
		{`{"do":{"status":99}}`, `rule 1: "status" must lie between 200 and 599, found 99`},
		{`{"do":{"end":"explode"}}`, `rule 1: "end" must be close, reset, hang, cut or cut_reset, found "explode"`},
		{`{"do":{"end":"hang","status":200}}`, `rule 1: "end": "hang" gives no answer that could have a status, header or body`},
		{`{"do":{"status":204,"end":"cut"}}`, `rule 1: an answer of status 204 has no body to cut`},
		{`{"do":{"status":204,"body":"x"}}`, `rule 1: an answer of status 204 has no body`},
		{`{"do":{"delay":"1s","retry_after":"1s"}}`, `rule 1: a header, a body and Retry-After need a "status"`},
		{`{"do":{"delay":"-1s"}}`, `rule 1: "delay" must not be negative, found -1s`},
		{`{"do":{"status":429,"retry_after":"-1s"}}`, `rule 1: "retry_after" and "retry_at" must not be negative`},
		{`{"do":{"status":429,"retry_after":"1s","retry_at":"1s"}}`, `rule 1: "retry_after" and "retry_at" exclude each other`},
		{`[{"do":{"status":99}},{"preset":"down","rate":2}]`, "rule 1: \"status\" must lie between 200 and 599, found 99\nrule 2: \"rate\" must lie between 0 and 1, found 2"},
	}
	for _, tt := range tests {
		_, err := ParseTrouble([]byte(tt.json))
		if got := fmt.Sprint(err); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.json, got, tt.want)
		}
	}
}

func TestARuleChangesItsPreset(t *testing.T) {
	got, _ := one(t, Trouble{{Preset: "proxy_ok", Do: Action{Status: 502, Header: map[string]string{"Via": "1.1 office"}}}})
	if got.status != 502 || got.header.Get("Via") != "1.1 office" || got.header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("got %d with %v, want 502, Via and the preset's content type", got.status, got.header)
	}
}
