package interop

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/queue"
)

// shape is what one SDK puts on the wire, written by hand from its source, for
// those that cannot be installed here.
type shape struct {
	name   string
	agent  string // User-Agent
	gzip   bool
	packed func(calls []call) map[string]any // the body for these calls

	// content is how the SDK judges an answer: "" when it counts the batch as
	// delivered, else why it does not.
	content func(status int, body []byte) string
}

// shapes lists the SDKs with the fields each adds on its own.
func shapes() []shape {
	return []shape{
		{"go", "analytics-go (version: 0.0.1)", false, goBatch, below300},
		{"python", "analytics-python/0.0.2", false, pythonBatch, exactly200},
		{"python gzip", "analytics-python/0.0.2", true, pythonBatch, exactly200},
		{"php", "analytics-php/3.8.0", false, phpBatch, exactly200},
		{"php gzip", "analytics-php/3.8.0", true, phpBatch, exactly200},
	}
}

// goBatch: the envelope has an id, a context and a time of its own; items have
// no context and leave out an empty anonymousId.
func goBatch(calls []call) map[string]any {
	return map[string]any{
		"messageId": "envelope", "sentAt": now(time.RFC3339Nano),
		"context": map[string]any{"library": library("cdp-analytics-go", "0.0.1")},
		"batch":   each(calls, map[string]any{"timestamp": now(time.RFC3339Nano)}),
	}
}

// pythonBatch: ids that are not known are null, objects that are not given are
// empty, times have an offset and no Z.
func pythonBatch(calls []call) map[string]any {
	return map[string]any{
		"sentAt": now("2006-01-02T15:04:05.000000+00:00"),
		"batch": each(calls, map[string]any{"timestamp": now("2006-01-02T15:04:05.000+00:00"), "anonymousId": nil,
			"integrations": map[string]any{}, "context": map[string]any{"library": library("analytics-python", "0.0.2")}}),
	}
}

// phpBatch: times have no fraction.
func phpBatch(calls []call) map[string]any {
	lib := library("analytics-php", "3.8.0")
	lib["consumer"] = "LibCurl"
	return map[string]any{
		"sentAt": now("2006-01-02T15:04:05+00:00"),
		"batch": each(calls, map[string]any{"timestamp": now("2006-01-02T15:04:05+00:00"),
			"context": map[string]any{"library": lib}}),
	}
}

func library(name, version string) map[string]any {
	return map[string]any{"name": name, "version": version}
}

func now(layout string) string { return time.Now().UTC().Format(layout) }

// each returns the calls as the SDK sends them: with more fields, and an id
// that can be told from the user.
func each(calls []call, more map[string]any) []call {
	packed := make([]call, len(calls))
	for i, c := range calls {
		packed[i] = call{"messageId": "id-of-" + c.user()}
		maps.Copy(packed[i], more)
		maps.Copy(packed[i], c)
	}
	return packed
}

func below300(status int, _ []byte) string {
	if status < 300 {
		return ""
	}
	return fmt.Sprintf("%d: tried 10 times, then dropped", status)
}

// exactly200 also holds answers to what Python reads of them: an error without
// a code and a message in its body raises a KeyError there.
func exactly200(status int, body []byte) string {
	if status == 200 {
		return ""
	}
	var said struct{ Code, Message string }
	if err := json.Unmarshal(body, &said); err != nil || said.Code == "" || said.Message == "" {
		return fmt.Sprintf("%d with a body that no SDK can read: %s", status, body)
	}
	return fmt.Sprintf("%d: %s", status, said.Code)
}

// post sends calls as the SDK would, to path.
func (s shape) post(t testing.TB, client *http.Client, path string, calls []call) (status int, body []byte) {
	t.Helper()
	return s.postBody(t, client, path, s.packed(calls))
}

func (s shape) postBody(t testing.TB, client *http.Client, path string, what any) (status int, body []byte) {
	t.Helper()
	raw, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	if s.gzip {
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		if _, err := w.Write(raw); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		raw = packed.Bytes()
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.agent)
	if s.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	req.SetBasicAuth("write-key", "")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatalf("post as %s: %v", s.name, err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, body
}

// overUnix is the transport an app gives the Go SDK to send over a socket.
func overUnix(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
}

func TestWhatSDKsPutOnTheWireArrives(t *testing.T) {
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1")
	var sent []string
	for _, s := range shapes() {
		for _, way := range []struct {
			name   string
			client *http.Client
			path   string
		}{
			{"tcp", http.DefaultClient, "http://" + d.http + "/v1/batch"},
			{"tcp with a trailing slash", http.DefaultClient, "http://" + d.http + "/v1/batch/"},
			{"unix", overUnix(d.httpSock), "http://trackd/v1/batch"},
		} {
			t.Run(s.name+"/"+way.name, func(t *testing.T) {
				calls := lifecycle(t.Name(), 20)
				if why := s.content(s.post(t, way.client, way.path, calls)); why != "" {
					t.Fatalf("the SDK would not be content: %s", why)
				}
				sent = append(sent, users(calls)...)
			})
		}
	}
	d.awaitDrained()
	far.checkArrived(sent)
	for user, ids := range far.arrived() {
		if ids[0] != "id-of-"+user {
			t.Fatalf("the event of %s arrived under the messageId %s", user, ids[0])
		}
	}
}

// Oddities that the vendor's own SDKs send and its published schema refuses.
func TestOdditiesOfSDKsArriveAsTheDestinationWantsThem(t *testing.T) {
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1")
	calls := lifecycle("odd", 5)
	calls[0]["anonymousId"] = "both-ids"
	calls[1]["anonymousId"] = nil
	calls[2]["properties"] = nil
	calls[3]["properties"] = map[string]any{"version": nil, "build": 45}
	calls[4]["writeKey"] = "secret"
	for _, s := range shapes() {
		if why := s.content(s.post(t, http.DefaultClient, "http://"+d.http+"/v1/batch", calls)); why != "" {
			t.Errorf("%s would not be content: %s", s.name, why)
		}
	}
	s := d.awaitDrained()
	far.checkArrived(users(calls))
	if got, want := s.Account.Delivered, uint64(len(calls)*len(shapes())); got != want || s.Account.Dead != 0 {
		t.Errorf("delivered %d, dead %d, want all %d delivered", got, s.Account.Dead, want)
	}
	for _, call := range far.box.Recent(100) {
		if strings.Contains(string(call.Body), "secret") || strings.Contains(string(call.Body), "sentAt") {
			t.Errorf("sent on: %s", call.Body)
		}
	}
}

func TestBadItemsOfABatchBecomeLettersAndTheSDKIsContent(t *testing.T) {
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			far := newStand(t)
			d := startDaemon(t, far.url+"/v1")
			good, bad, letters := mixed(s.name)
			calls := slices.Concat(good[:3], bad, good[3:])
			if why := s.content(s.post(t, http.DefaultClient, "http://"+d.http+"/v1/batch", calls)); why != "" {
				t.Errorf("the SDK would not be content: %s", why)
			}
			d.checkLetters(letters)
			far.checkArrived(users(good))
		})
	}
}

func TestRefusalsAreReadableByEverySDK(t *testing.T) {
	d := startDaemon(t, newStand(t).url+"/v1")
	root := "http://" + d.http
	for _, c := range []struct {
		name, path string
		body       any
		want       string // of a 400, as Python reads it
	}{
		{"no batch", root + "/v1/batch", map[string]any{"sentAt": "now"}, "400: invalid"},
		{"no object", root + "/v1/batch", []int{1}, "400: malformed"},
		{"one bad event", root + "/v1/track", map[string]any{"event": "Application Opened"}, "400: invalid"},
		{"one large event", root + "/v1/track", map[string]any{"event": "Application Opened", "userId": strings.Repeat("u", 33_000)}, "413: oversize"},
		{"another call", root + "/v1/identify", map[string]any{"userId": "u"}, "400: not_lifecycle"},
		{"another path", root + "/v2/batch", map[string]any{}, "404: not_found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := shapes()[1]
			if got := exactly200(s.postBody(t, http.DefaultClient, c.path, c.body)); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// mixed returns good calls, bad ones of every kind an SDK can send, and the
// letters that the bad ones become.
func mixed(prefix string) (good, bad []call, letters map[queue.Reason]uint64) {
	good = lifecycle(prefix+"-good", 8)
	bad = lifecycle(prefix+"-bad", 4)
	bad[0]["event"] = "Order Placed"
	bad[1] = call{"type": "identify", "userId": bad[1].user(), "traits": map[string]any{"plan": "pro"}}
	bad[2]["event"], bad[2]["properties"] = "Application Installed", map[string]any{"version": map[string]any{"major": 1}}
	bad[3]["properties"] = map[string]any{"blob": strings.Repeat("x", 33_000)} // the SDKs' own check of 32 KB misses it
	return good, bad, map[queue.Reason]uint64{queue.NotLifecycle: 2, queue.Invalid: 1, queue.Oversize: 1}
}

// checkLetters waits until the queue is drained and compares the letters.
func (d *daemon) checkLetters(want map[queue.Reason]uint64) {
	d.t.Helper()
	got := d.awaitDrained().Dead.ByReason
	maps.DeleteFunc(got, func(_ queue.Reason, n uint64) bool { return n == 0 })
	if !maps.Equal(got, want) {
		d.t.Errorf("dead letters %v, want %v", got, want)
	}
}
