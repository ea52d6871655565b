package sandbox

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestReceivedCountsWhatArrived(t *testing.T) {
	s, c := serve(t, Options{Trouble: Trouble{{Preset: "poison", Match: Match{MessageID: "m9"}}, {Preset: "answer_lost", Match: Match{MessageID: "m3"}}}})
	before := time.Now()
	for _, id := range []string{"m1", "m2", "m1", "m3", "m1", "m9"} {
		c.post("/v1/track", opened(id))
	}
	c.post("/v1/track", `{"type":"track","event":"Order Placed","userId":"u1"}`)
	c.post("/v1/track", `{"type":"track"}`)
	c.do(c.request("POST", "/v1/track", opened("m4")))

	got := s.Received()
	if got.First.Before(before) || got.Last.Before(got.First) || got.Last.After(time.Now()) {
		t.Errorf("first %v, last %v are out of order", got.First, got.Last)
	}
	got.First, got.Last = time.Time{}, time.Time{}
	want := Received{
		Calls: 9, Accepted: 6, Unique: 3, Duplicates: 2, WithoutID: 1, Dropped: 1,
		Statuses: map[int]uint64{200: 6, 400: 1, 500: 1},
		Broken:   map[End]uint64{Reset: 1},
		Types:    map[string]uint64{"track": 6},
		Events:   map[string]uint64{"Application Opened": 5, "Order Placed": 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]uint32{"m1": 3, "m2": 1, "m3": 1}, s.IDs()); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}

	s.Forget()
	empty := Received{Statuses: map[int]uint64{}, Broken: map[End]uint64{}, Types: map[string]uint64{}, Events: map[string]uint64{}}
	if diff := cmp.Diff(empty, s.Received()); diff != "" {
		t.Errorf("after Forget (-want +got):\n%s", diff)
	}
	if len(s.IDs()) != 0 || s.Recent(10) != nil {
		t.Errorf("after Forget: %d ids, %d calls, want none", len(s.IDs()), len(s.Recent(10)))
	}
}

func TestWhatIsHandedOutIsTheCallers(t *testing.T) {
	s, c := serve(t, Options{})
	c.post("/v1/track", opened("m1"))
	r := s.Received()
	r.Statuses[200], r.Broken[Cut], r.Events["Application Opened"] = 7, 7, 7
	s.IDs()["m1"] = 7
	r = s.Received()
	if r.Statuses[200] != 1 || r.Broken[Cut] != 0 || r.Events["Application Opened"] != 1 || s.IDs()["m1"] != 1 {
		t.Errorf("a caller's change shows: %+v, ids %v", r, s.IDs())
	}
}

func TestRecentTellsTheLatestCallsFirst(t *testing.T) {
	s, c := serve(t, Options{Remember: 3, Trouble: Trouble{{Preset: "down", Match: Match{MessageID: "m4"}}}})
	for _, body := range []string{opened("m1"), opened("m2"), `{"type":"track"}`, opened("m4"), "\xff"} {
		c.post("/v1/track", body)
	}
	got := s.Recent(10)
	for i := range got {
		if got[i].At.IsZero() {
			t.Errorf("call %d has no time", i)
		}
		got[i].At = time.Time{}
	}
	call := Call{Path: "/v1/track", Strict: true}
	noJSON, down, bad := call, call, call
	noJSON.Status, noJSON.Problems = 400, []string{"the body must be one JSON value: invalid character '\\xff' at start of value at byte 0"}
	noJSON.Body = []byte("\"\uFFFD\"")
	down.Broken, down.Body = Close, []byte(opened("m4"))
	bad.Status, bad.Problems = 400, []string{"the event must have event", "userId, anonymousId or groupId must be a non-empty string"}
	bad.Body = []byte(`{"type":"track"}`)
	if diff := cmp.Diff([]Call{noJSON, down, bad}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := s.Recent(1); len(got) != 1 || got[0].Status != 400 || got[0].Body.Kind() != '"' {
		t.Errorf("the latest alone: got %+v", got)
	}
}

func TestNothingIsRememberedWhenToldSo(t *testing.T) {
	s, c := serve(t, Options{Remember: -1})
	c.post("/v1/track", opened("m1"))
	if got := s.Recent(10); got != nil || s.Received().Accepted != 1 {
		t.Errorf("got %d calls remembered, %d accepted, want 0 and 1", len(got), s.Received().Accepted)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	n := newCounters(2)
	body := make([]byte, maxReadBytes)
	for i := range 2 * maxNames {
		n.count(&call{body: body}, answer{accepted: []event{{callType: "track", name: fmt.Sprint(i)}}})
	}
	r := n.received()
	if len(r.Events) != maxNames+1 || r.Events[otherNames] != maxNames {
		t.Errorf("got %d names, %d of other names, want %d and %d", len(r.Events), r.Events[otherNames], maxNames+1, maxNames)
	}
	for _, e := range n.latest(10) {
		if cap(e.call.body) > 2*maxEventBytes {
			t.Errorf("a remembered body holds %d bytes", cap(e.call.body))
		}
	}
}

func TestManyIDsAreCounted(t *testing.T) {
	const many = 50_000
	n := newCounters(0)
	for i := range many + 5 {
		n.count(&call{}, answer{accepted: []event{{messageID: fmt.Sprintf("%026d", i%many)}}})
	}
	if r := n.received(); r.Unique != many || r.Duplicates != 5 {
		t.Errorf("got %d unique, %d duplicates, want %d and 5", r.Unique, r.Duplicates, many)
	}
}

func TestTheConsoleAnswers(t *testing.T) {
	const down = `[
  {
    "preset": "down",
    "match": {
      "message_id": "m9"
    },
    "for": "30s"
  }
]
`
	tests := []struct {
		method, path, body string
		status             int
		want               string // is in the answer
	}{
		{"GET", "/", "", 200, "Send it events"},
		{"GET", "/", "", 200, "\n  answer_lost   the event is accepted, then the connection is reset\n"},
		{"GET", "/sandbox/trouble", "", 200, "[]\n"},
		{"PUT", "/sandbox/trouble", `{"preset":"down","for":"30s","match":{"message_id":"m9"}}`, 200, down},
		{"PUT", "/sandbox/trouble", `{"preset":"dwon"}`, 400, `there is no preset "dwon"`},
		{"PUT", "/sandbox/trouble", strings.Repeat(" ", maxTroubleBytes+1), 400, "too large"},
		{"GET", "/sandbox/trouble", "", 200, down},
		{"DELETE", "/sandbox/trouble", "", 200, "[]\n"},
		{"GET", "/sandbox/received", "", 200, "\n  \"accepted\": 3,\n  \"unique\": 2,\n  \"duplicates\": 1,\n"},
		{"GET", "/sandbox/expect?count=2", "", 200, "{\n  \"expected\": 2,\n"},
		{"GET", "/sandbox/expect?count=3&timeout=1ms", "", 408, "\n      \"body\": {\n        \"messageId\": \"m2\",\n"},
		{"GET", "/sandbox/expect", "", 400, `"count" must be a number of events, at least 1, found ""`},
		{"GET", "/sandbox/expect?count=1&timeout=10", "", 400, `"timeout" must be a duration such as "10s", at most 10m0s, found "10"`},
		{"GET", "/sandbox/expect?count=1&timeout=11m", "", 400, `found "11m"`},
		{"GET", "/sandbox/received?last=1", "", 200, "\n      \"body\": {\n        \"messageId\": \"m2\",\n"},
		{"GET", "/sandbox/received?last=x", "", 400, `"last" must be a number of calls, found "x"`},
		{"GET", "/sandbox/received?ids=1", "", 200, `{"message_id":"m1","count":2}` + "\n"},
		{"DELETE", "/sandbox/received", "", 200, `"accepted": 0,`},
		{"GET", "/sandbox/received?ids=1", "", 200, ""},
		{"POST", "/sandbox/trouble", "", 405, "Method Not Allowed"},
		{"GET", "/nothing", "", 404, "404"},
	}
	_, c := serve(t, Options{})
	for _, id := range []string{"m1", "m1", "m2"} {
		c.post("/v1/track", opened(id))
	}
	for _, tt := range tests {
		got := c.do(c.request(tt.method, tt.path, tt.body))
		if got.status != tt.status || !strings.Contains(got.body, tt.want) || (tt.want == "" && got.body != "") {
			t.Errorf("%s %s %.60s:\ngot %d %s\nwant %d with %s", tt.method, tt.path, tt.body, got.status, got.body, tt.status, tt.want)
		}
	}
}

func TestTheLogTellsTroubleAndNeverWhose(t *testing.T) {
	var log bytes.Buffer
	s, err := New(Options{Key: "secret", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetTrouble(Trouble{{Preset: "down", Match: Match{UserID: "user-1"}}, {Do: Action{Status: 502}}}); err != nil {
		t.Fatal(err)
	}
	if got := log.String(); !strings.Contains(got, `msg="trouble changed" rules="[down own]"`) {
		t.Errorf("got log %q, want the names of the rules", got)
	}
	for _, private := range []string{"user-1", "secret"} {
		if strings.Contains(log.String(), private) {
			t.Errorf("the log has %q in it: %s", private, &log)
		}
	}
}
