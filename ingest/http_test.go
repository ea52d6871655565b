package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"trackd/event"
	"trackd/queue"
)

// zipped returns text in gzip.
func zipped(t testing.TB, text string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// request builds a request; headers are "Name: value".
func request(method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

// said is what an error reply holds.
type said struct {
	Code, Message string
	Meta          struct{ Errors []string }
}

func TestHTTPDoor(t *testing.T) {
	const (
		unknown = `{"event":"Order Placed","userId":"u"}`
		noID    = `{"event":"Application Installed","properties":{"version":[]}}`
		gz      = "Content-Encoding: gzip"
	)
	long := func(n int) string {
		return `{"event":"Application Opened","userId":"u","context":{"x":"` + strings.Repeat("x", n) + `"}}`
	}
	batch := func(items ...string) string { return `{"batch":[` + strings.Join(items, ",") + `]}` }
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)

	for _, c := range []struct {
		name, method, path, body string
		headers                  []string
		status                   int
		reply                    string // exact, or the code of an error
		events, rejects          int    // kept
	}{
		{"an event", "POST", "/v1/track", opened, nil, 200, `{}`, 1, 0},
		{"a trailing slash", "POST", "/v1/track/", opened, nil, 200, `{}`, 1, 0},
		{"a query", "POST", "/v1/track?x=1", opened, nil, 200, `{}`, 1, 0},
		{"any content type", "POST", "/v1/track", opened, []string{"Content-Type: text/plain"}, 200, `{}`, 1, 0},
		{"a key nobody asked for", "POST", "/v1/track", opened, []string{"Authorization: Basic eDp5"}, 200, `{}`, 1, 0},
		{"gzip", "POST", "/v1/track", zipped(t, opened), []string{gz}, 200, `{}`, 1, 0},
		{"GZIP", "POST", "/v1/track", zipped(t, opened), []string{"Content-Encoding: GZIP"}, 200, `{}`, 1, 0},
		{"no encoding, by name", "POST", "/v1/track", opened, []string{"Content-Encoding: identity"}, 200, `{}`, 1, 0},
		{"white space around it", "POST", "/v1/track", "\r\n " + opened + "\n", nil, 200, `{}`, 1, 0},

		{"no body", "POST", "/v1/track", "", nil, 400, "malformed", 0, 1},
		{"malformed", "POST", "/v1/track", opened[:20], nil, 400, "malformed", 0, 1},
		{"two events", "POST", "/v1/track", opened + opened, nil, 400, "malformed", 0, 1},
		{"invalid UTF-8", "POST", "/v1/track", `{"event":"Application Opened","userId":"` + "\xff" + `"}`, nil, 400, "malformed", 0, 1},
		{"duplicate keys", "POST", "/v1/track", `{"userId":"u","userId":"v","event":"Application Opened"}`, nil, 400, "malformed", 0, 1},
		{"nested 10,000 deep", "POST", "/v1/track", deep, nil, 400, "malformed", 0, 1},
		{"no id", "POST", "/v1/track", noID, nil, 400, "invalid", 0, 1},
		{"unknown event", "POST", "/v1/track", unknown, nil, 400, "not_lifecycle", 0, 1},
		{"strict, whatever the header says", "POST", "/v1/track", unknown, []string{"X-Strict-Mode: 0"}, 400, "not_lifecycle", 0, 1},
		{"larger than the destination takes", "POST", "/v1/track", long(33_000), nil, 413, "oversize", 0, 1},
		{"larger than ingest reads", "POST", "/v1/track", long(maxLine), nil, 413, "oversize", 0, 1},
		{"a gzip bomb", "POST", "/v1/track", zipped(t, strings.Repeat(" ", 10<<20)), []string{gz}, 413, "oversize", 0, 1},
		{"gzip in name only", "POST", "/v1/track", opened, []string{gz}, 400, "malformed", 0, 0},
		{"gzip cut off", "POST", "/v1/track", zipped(t, opened)[:30], []string{gz}, 400, "malformed", 0, 0},
		{"an encoding not known here", "POST", "/v1/track", opened, []string{"Content-Encoding: br"}, 415, "unsupported_encoding", 0, 0},

		{"a batch", "POST", "/v1/batch", batch(opened, opened), nil, 200,
			`{"accepted":2,"rejected":0,"refused":0,"errors":[]}`, 2, 0},
		{"a batch, slash", "POST", "/v1/batch/", batch(opened), nil, 200,
			`{"accepted":1,"rejected":0,"refused":0,"errors":[]}`, 1, 0},
		{"a batch, as other SDKs name it", "POST", "/v1/import", batch(opened), nil, 200,
			`{"accepted":1,"rejected":0,"refused":0,"errors":[]}`, 1, 0},
		{"an empty batch", "POST", "/v1/batch", batch(), nil, 200,
			`{"accepted":0,"rejected":0,"refused":0,"errors":[]}`, 0, 0},
		{"a batch in gzip", "POST", "/v1/batch", zipped(t, batch(opened)), []string{gz}, 200,
			`{"accepted":1,"rejected":0,"refused":0,"errors":[]}`, 1, 0},
		{"a large batch", "POST", "/v1/batch", batch(strings.Repeat(long(30_000)+",", 15) + opened), nil, 200,
			`{"accepted":16,"rejected":0,"refused":0,"errors":[]}`, 16, 0},
		{"no batch", "POST", "/v1/batch", opened, nil, 400, "invalid", 0, 1},
		{"a malformed batch", "POST", "/v1/batch", batch(opened)[:40], nil, 400, "malformed", 0, 1},
		{"a batch that is too large", "POST", "/v1/batch", strings.Repeat(" ", event.MaxBatchBytes+1), nil, 413, "oversize", 0, 0},
		{"a batch that is a bomb", "POST", "/v1/batch", zipped(t, strings.Repeat(" ", 10<<20)), []string{gz}, 413, "oversize", 0, 0},

		{"another call", "POST", "/v1/identify", `{"userId":"u"}`, nil, 400, "not_lifecycle", 0, 1},
		{"a type that contradicts the endpoint", "POST", "/v1/track", `{"type":"page","userId":"u"}`, nil, 400, "invalid", 0, 1},
		{"another call, slash", "POST", "/v1/page/", `{"userId":"u"}`, nil, 400, "not_lifecycle", 0, 1},
		{"screen", "POST", "/v1/screen", `{"userId":"u"}`, nil, 400, "not_lifecycle", 0, 1},
		{"group", "POST", "/v1/group", `{"userId":"u"}`, nil, 400, "not_lifecycle", 0, 1},
		{"alias", "POST", "/v1/alias", `{"userId":"u"}`, nil, 400, "not_lifecycle", 0, 1},
		{"what mobile SDKs call", "POST", "/v1/b", "", nil, 404, "not_found", 0, 0},
		{"the root", "GET", "/", "", nil, 404, "not_found", 0, 0},
		{"a path below", "POST", "/v1/track/x", "", nil, 404, "not_found", 0, 0},
		{"no version", "POST", "/track", opened, nil, 404, "not_found", 0, 0},
		{"the wrong method", "GET", "/v1/track", "", nil, 405, "method_not_allowed", 0, 0},
		{"a preflight", "OPTIONS", "/v1/batch", "", nil, 405, "method_not_allowed", 0, 0},
		{"a browser on another site's behalf", "POST", "/v1/track", opened, []string{"Sec-Fetch-Site: cross-site"}, 403, "cross_origin", 0, 0},
		{"an old browser likewise", "POST", "/v1/track", opened, []string{"Origin: https://evil.example"}, 403, "cross_origin", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &shelf{}
			s := open(t, q)
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, request(c.method, c.path, c.body, c.headers...))
			if w.Code != c.status || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("status %d, %s, want %d, application/json", w.Code, w.Header().Get("Content-Type"), c.status)
			}
			if c.status == 200 {
				if got := w.Body.String(); got != c.reply {
					t.Errorf("reply %s, want %s", got, c.reply)
				}
			} else {
				checkError(t, w, c.reply)
			}
			q.checkKept(t, c.events, c.rejects)
		})
	}
}

func TestPathsOfTheTrackAPIAreToldFromMistypedOnes(t *testing.T) {
	for path, want := range map[string]bool{
		"/api/v1/customers/5/events": true, "/api/v2/batch": true, "/v1/tracks": false, "/": false,
	} {
		w := httptest.NewRecorder()
		open(t, &shelf{}).Handler().ServeHTTP(w, request("POST", path, opened))
		if got := strings.Contains(w.Body.String(), "Track API"); w.Code != 404 || got != want {
			t.Errorf("%s: %d %s, want 404 and the Track API named: %t", path, w.Code, w.Body, want)
		}
	}
}

// checkError fails the test unless w is an error reply of that code, in the
// shape that every SDK can read.
func checkError(t testing.TB, w *httptest.ResponseRecorder, code string) {
	t.Helper()
	var e said
	if err := json.Unmarshal(w.Body.Bytes(), &e, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Errorf("reply %q: %v", w.Body, err)
	}
	if e.Code != code || e.Message == "" || len(e.Meta.Errors) == 0 {
		t.Errorf("reply %s, want code %s, a message and errors", w.Body, code)
	}
	if allow := w.Header().Get("Allow"); (w.Code == 405) != (allow == "POST") {
		t.Errorf("status %d with Allow %q", w.Code, allow)
	}
}

func TestBadItemsOfABatchAreKeptAndTold(t *testing.T) {
	q := &shelf{}
	s := open(t, q)
	huge := `{"event":"` + strings.Repeat("x", 2*event.MaxInputBytes) + `"}`
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, request("POST", "/v1/batch",
		`{"batch":[{"event":"Nope","userId":"u"},`+opened+`,7,`+huge+`],"context":{"a":1}}`))
	var got batchReply
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("reply %q: %v", w.Body, err)
	}
	if got.Accepted != 1 || got.Rejected != 3 || got.Refused != 0 {
		t.Errorf("reply %+v, want 1 accepted and 3 rejected", got)
	}
	var faults []string
	for _, f := range got.Errors {
		faults = append(faults, fmt.Sprintf("%d %s", f.Index, f.Code))
		if f.Message == "" {
			t.Errorf("item %d has no message", f.Index)
		}
	}
	if want := "[0 not_lifecycle 2 malformed 3 oversize]"; fmt.Sprint(faults) != want {
		t.Errorf("faults %v, want %s", faults, want)
	}
	_, rejects := q.kept()
	if len(rejects) != 3 || rejects[0].Reason != queue.NotLifecycle || string(rejects[1].Body) != "7" ||
		len(rejects[2].Body) != event.MaxInputBytes {
		t.Errorf("kept %.200q", rejects)
	}
	if n := testutil.ToFloat64(s.metrics.rejected[sourceHTTP]); n != 3 {
		t.Errorf("%v rejects counted, want 3", n)
	}
}

func TestFaultsPastTheirBoundAreOnlyCounted(t *testing.T) {
	s := open(t, &shelf{})
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, request("POST", "/v1/batch", `{"batch":[`+strings.Repeat("0,", 4999)+`0]}`))
	var got batchReply
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatalf("reply %q: %v", w.Body, err)
	}
	if got.Rejected != 5000 || len(got.Errors) != maxFaults {
		t.Errorf("%d rejected and %d described, want 5000 and %d", got.Rejected, len(got.Errors), maxFaults)
	}
}

func TestHTTPSaysYesOnlyWhenTheQueueDid(t *testing.T) {
	broken := fmt.Errorf("disk on fire")
	for _, c := range []struct {
		name          string
		before, after error
		status        int
		code          string
		kept          int
	}{
		{"full", queue.ErrFull, nil, 503, "queue_full", 0},
		{"failed before its effect", broken, nil, 503, "unavailable", 0},
		{"failed after its effect", nil, broken, 503, "unavailable", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			for path, body := range map[string]string{"/v1/track": opened, "/v1/batch": `{"batch":[` + opened + `]}`} {
				q := &shelf{before: func(queue.Batch) error { return c.before }, after: c.after}
				s := open(t, q)
				w := httptest.NewRecorder()
				s.Handler().ServeHTTP(w, request("POST", path, body))
				if w.Code != c.status || w.Header().Get("Retry-After") == "" {
					t.Errorf("%s: status %d, Retry-After %q, want %d and some", path, w.Code, w.Header().Get("Retry-After"), c.status)
				}
				checkError(t, w, c.code)
				q.checkKept(t, c.kept, 0)
				if n := testutil.ToFloat64(s.metrics.refused[c.code]); n != 1 {
					t.Errorf("%s: %v refused for %s, want 1", path, n, c.code)
				}
			}
		})
	}
	t.Run("no room for rejects", func(t *testing.T) {
		s := open(t, &shelf{after: queue.ErrRejectsFull})
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, request("POST", "/v1/batch", `{"batch":[`+opened+`,7]}`))
		if got, want := w.Body.String(), `{"accepted":1,"rejected":0,"refused":1,"errors":[{"index":1,"code":"malformed"`; w.Code != 200 || !strings.HasPrefix(got, want) {
			t.Errorf("%d %s, want 200 %s", w.Code, got, want)
		}
	})
}

func TestABadPostIsADeadLetterAndAnsweredAllTheSame(t *testing.T) {
	for _, c := range []struct {
		path, body string
		want       queue.Reason
	}{
		{"/v1/track", "x", queue.Malformed},
		{"/v1/track", `{"event":"Application Opened"}`, queue.Invalid},
		{"/v1/batch", `{"batch":[`, queue.Malformed},
		{"/v1/batch", `{"batch":7}`, queue.Invalid},
		{"/v1/identify", `{"userId":"u"}`, queue.NotLifecycle},
	} {
		for name, q := range map[string]*shelf{"kept": {}, "not kept": {after: queue.ErrRejectsFull}, "the queue fails": {after: errors.New("input/output error")}} {
			s := open(t, q)
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, request("POST", c.path, c.body))
			if w.Code != 400 {
				t.Errorf("%s %s, %s: status %d, want 400", c.path, c.body, name, w.Code)
			}
			checkError(t, w, string(c.want))
			_, rejects := q.kept()
			kept := c.body
			if c.path == "/v1/identify" { // else it would be replayed as a track call
				kept = `{"userId":"u","type":"identify"}`
			}
			if len(rejects) != 1 || string(rejects[0].Body) != kept || rejects[0].Reason != c.want {
				t.Errorf("%s %s, %s: rejects %+v, want it as it came, %s", c.path, c.body, name, rejects, c.want)
			}
			// An excluded call has room among the samples, also where rejects have none.
			counted := name == "kept" || name == "not kept" && c.want == queue.NotLifecycle
			if rejected := testutil.ToFloat64(s.metrics.rejected[sourceHTTP]); (rejected == 1) != counted {
				t.Errorf("%s %s, %s: %v counted as rejected", c.path, c.body, name, rejected)
			}
			if bounced := s.Bounced(); name == "kept" && len(bounced) > 0 {
				t.Errorf("%s %s: told as bounced: %v", c.path, c.body, bounced)
			}
		}
	}
}

func TestIngestKeyIsAskedForWhenSetAndFollowsTheRules(t *testing.T) {
	s := open(t, &shelf{}, func(o *Options) { o.Rules.Key = "k1" })
	body := opened
	try := func(user string) (int, string) {
		r := request("POST", "/v1/track", body)
		if user != "" {
			r.SetBasicAuth(user, "")
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Code, w.Header().Get("WWW-Authenticate")
	}
	for user, want := range map[string]int{"": 401, "k": 401, "k11": 401, "k2": 401, "k1": 200} {
		status, challenge := try(user)
		if status != want || (status == 401) != (challenge != "") {
			t.Errorf("user %q: status %d, challenge %q, want %d", user, status, challenge, want)
		}
	}
	s.SetRules(Rules{Key: "k2", Parser: event.Parser{Accept: event.Track}})
	if status, _ := try("k1"); status != 401 {
		t.Errorf("the old key: status %d, want 401", status)
	}
	body = `{"event":"Order Placed","userId":"u"}`
	if status, _ := try("k2"); status != 200 {
		t.Errorf("the new key and setting: status %d, want 200", status)
	}
}

// SDKs that know no Basic auth send the key in the body.
func TestTheIngestKeyMayBeTheWriteKeyOfTheBody(t *testing.T) {
	call := func(key string) string { return `{"writeKey":"` + key + `",` + opened[1:] }
	batch := func(key string) string { return `{"batch":[` + opened + `,{"x":NaN}],"writeKey":"` + key + `"}` }
	for _, c := range []struct {
		path, body string
		want       int
		kept       int
	}{
		{"/v1/track", call("k1"), 200, 1},
		{"/v1/track", call("k2"), 401, 0},
		{"/v1/track", opened, 401, 0},
		{"/v1/track", "x", 401, 0},
		{"/v1/track", `{"x":"` + strings.Repeat("x", maxLine) + `"}`, 413, 0},
		{"/v1/import", batch("k1"), 200, 2},
		{"/v1/batch", batch("k2"), 401, 0},
	} {
		q := &shelf{}
		s := open(t, q, func(o *Options) { o.Rules.Key = "k1" })
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, request("POST", c.path, c.body))
		if w.Code != c.want {
			t.Errorf("%s %.60s: status %d, want %d", c.path, c.body, w.Code, c.want)
		}
		if events, rejects := q.kept(); len(events)+len(rejects) != c.kept {
			t.Errorf("%s %.60s: %d kept, want %d", c.path, c.body, len(events)+len(rejects), c.kept)
		}
	}
}
