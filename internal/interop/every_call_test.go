package interop

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sdkRequest is one request of testdata/sdks.ndjson: what an SDK puts on the
// wire, with contents of our own. Each messageId occurs once in the file.
type sdkRequest struct {
	SDK         string          `json:"sdk"`
	Path        string          `json:"path"`
	Agent       string          `json:"agent"`
	ContentType string          `json:"content_type"`
	Gzip        bool            `json:"gzip"`
	Auth        string          `json:"auth"` // basic, or write_key: only in the body
	Body        json.RawMessage `json:"body"`
}

func sdkRequests(t testing.TB) []sdkRequest {
	t.Helper()
	f, err := os.Open("testdata/sdks.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []sdkRequest
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r sdkRequest
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v in %s", err, lines.Bytes())
		}
		all = append(all, r)
	}
	if err := lines.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%d requests, %v", len(all), err)
	}
	return all
}

// post sends the request to trackd at host and returns the answer.
func (r sdkRequest) post(t testing.TB, host string) (status int, body string) {
	t.Helper()
	raw := []byte(r.Body)
	if r.Gzip {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		w.Write(raw) // a buffer takes everything
		w.Close()
		raw = packed.Bytes()
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+host+r.Path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", r.ContentType)
	req.Header.Set("User-Agent", r.Agent)
	if r.Gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if r.Auth == "basic" {
		req.SetBasicAuth("interop-write-key", "")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(answer)
}

// wanted returns the calls of the request as Customer.io shall get them, by
// messageId: with a type, a timestamp and what the envelope shares, without ids
// that say nothing and without what belongs to the transport. All else is as the
// SDK sent it.
func (r sdkRequest) wanted(t testing.TB) map[string]call {
	t.Helper()
	var envelope struct {
		Batch                 []call
		Context, Integrations map[string]any
	}
	if err := json.Unmarshal(r.Body, &envelope); err != nil {
		t.Fatal(err)
	}
	if envelope.Batch == nil { // one call, whose context is its own
		var single call
		if err := json.Unmarshal(r.Body, &single); err != nil {
			t.Fatal(err)
		}
		envelope.Batch, envelope.Context, envelope.Integrations = []call{single}, nil, nil
	}
	all := map[string]call{}
	for _, c := range envelope.Batch {
		if c["type"] == nil {
			c["type"] = path.Base(r.Path)
		}
		if c["timestamp"] == nil {
			c["timestamp"] = c["originalTimestamp"]
		}
		delete(c, "sentAt")
		delete(c, "writeKey")
		for _, id := range []string{"userId", "anonymousId", "groupId", "previousId"} {
			if c[id] == nil || c[id] == "" {
				delete(c, id)
			}
		}
		for _, object := range []string{"properties", "traits", "context", "integrations"} {
			if list, ok := c[object].([]any); ok && len(list) == 0 { // what PHP makes of an empty object
				c[object] = map[string]any{}
			}
			if c[object] == nil {
				delete(c, object)
			}
		}
		for object, shared := range map[string]map[string]any{"context": envelope.Context, "integrations": envelope.Integrations} {
			if shared != nil {
				merged := maps.Clone(shared)
				if own, ok := c[object].(map[string]any); ok {
					maps.Copy(merged, own)
				}
				c[object] = merged
			}
		}
		all[c["messageId"].(string)] = c
	}
	return all
}

// Every call of every SDK passes trackd, is sent to the endpoint of its type and
// arrives as the SDK sent it.
func TestEveryCallOfEverySDKArrivesAsItWasSent(t *testing.T) {
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1", "TRACKD_INGEST_ACCEPT=all")
	want := map[string]call{}
	types, paths := map[string]bool{}, map[string]bool{}
	for _, r := range sdkRequests(t) {
		if status, body := r.post(t, d.http); status != http.StatusOK {
			t.Errorf("%s, %s: answered %d %s", r.SDK, r.Path, status, body)
		}
		paths[r.Path] = true
		for id, c := range r.wanted(t) {
			if want[id] != nil {
				t.Fatalf("%s: messageId %s is there twice", r.SDK, id)
			}
			want[id] = c
			types[c["type"].(string)] = true
		}
	}
	if len(types) != 6 || !paths["/v1/batch"] || !paths["/v1/import"] || !paths["/v1/identify"] {
		t.Errorf("the file has calls of types %v to %v", types, paths)
	}

	compareCalls(t, d, far, want)
}

// compareCalls waits until trackd has delivered everything and compares what
// arrived with the calls want, by messageId, field by field.
func compareCalls(t *testing.T, d *daemon, far *stand, want map[string]call) {
	t.Helper()
	if got := d.awaitDrained().Account; got.Taken != uint64(len(want)) || got.Delivered != got.Taken {
		t.Errorf("taken %d, delivered %d, want %d", got.Taken, got.Delivered, len(want))
	}
	for _, c := range far.box.Recent(2 * len(want)) {
		var got call
		if err := json.Unmarshal(c.Body, &got); err != nil {
			t.Fatal(err)
		}
		id := got["messageId"].(string)
		if diff := cmp.Diff(want[id], got); diff != "" {
			t.Errorf("%s (-sent +arrived):\n%s", id, diff)
		}
		if endpoint := "/v1/" + got["type"].(string); c.Path != endpoint {
			t.Errorf("%s arrived at %s, want %s", id, c.Path, endpoint)
		}
		delete(want, id)
	}
	if missing := slices.Sorted(maps.Keys(want)); len(missing) > 0 {
		t.Errorf("%d calls did not arrive: %s", len(missing), strings.Join(missing, " "))
	}
}

// recorder stands between an SDK and trackd and keeps what the SDK puts on the
// wire.
type recorder struct {
	mu       sync.Mutex
	requests []sdkRequest // guarded by mu
}

func (rec *recorder) requestsSoFar() []sdkRequest {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return slices.Clone(rec.requests)
}

// before returns the address of a proxy to trackd at host that records.
func (rec *recorder) before(t testing.TB, host string) string {
	t.Helper()
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		body := raw
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(bytes.NewReader(raw))
			if err == nil {
				body, err = io.ReadAll(unpacked)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		rec.mu.Lock()
		rec.requests = append(rec.requests, sdkRequest{Path: r.URL.Path, Body: body})
		rec.mu.Unlock()
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// The same with the SDKs themselves: what they put on the wire is recorded on
// its way to trackd.
func TestEveryCallOfTheOfficialSDKsArrivesAsItWasSent(t *testing.T) {
	needSDKs(t)
	kinds := append(sdks(), sdk{name: "rudder", pkg: "@rudderstack/rudder-sdk-node", option: "dataPlaneUrl"})
	for _, kind := range kinds {
		t.Run(kind.pkg, func(t *testing.T) {
			t.Parallel()
			far := newStand(t)
			d := startDaemon(t, far.url+"/v1", "TRACKD_INGEST_ACCEPT=all")
			rec := &recorder{}
			traits := options{"email": "mara@example.org", "address": options{"city": "Łódź"}, "seats": 12.5, "none": nil}
			calls := []call{
				{"type": "identify", "userId": "mara", "anonymousId": "anon", "traits": traits},
				{"type": "page", "userId": "mara", "name": "Pricing", "category": "Shop", "properties": options{"url": "https://example.org/"}},
				{"type": "page", "anonymousId": "anon", "properties": options{"url": "https://example.org/?q=x"}},
				{"type": "screen", "userId": "mara", "name": "Cart", "properties": options{"items": []int{1, 2}}},
				{"type": "group", "userId": "mara", "groupId": "team-9", "traits": options{"name": "Harbor & Sons"}},
				{"type": "alias", "userId": "mara", "previousId": "anon"},
				{"type": "track", "userId": "mara", "event": "Order Placed", "properties": options{"total": 9.95}, "context": options{"ip": "::1"}},
				{"type": "track", "userId": "mara", "event": "Application Opened", "properties": options{"version": "3.1", "from_background": false}},
			}
			answers := runApp(t, plan{SDK: kind.name, URL: rec.before(t, d.http), Events: calls})
			if _, failed := split(answers); len(answers) != len(calls) || len(failed) > 0 {
				t.Errorf("the SDK had %d answers, of which failed: %v", len(answers), reasons(answers))
			}
			want := map[string]call{}
			types := map[any]int{}
			for _, r := range rec.requestsSoFar() {
				for id, c := range r.wanted(t) {
					want[id] = c
					types[c["type"]]++
				}
			}
			if len(want) != len(calls) || types["page"] != 2 || types["track"] != 2 || len(types) != 6 {
				t.Errorf("the SDK sent %d calls of types %v, want all %d", len(want), types, len(calls))
			}
			compareCalls(t, d, far, want)
		})
	}
}
