package sandbox

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// serve starts a stand-in on a TCP port of this machine.
func serve(t testing.TB, options Options) (*Server, *client) {
	t.Helper()
	s, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, &client{t: t, base: server.URL, http: server.Client()}
}

// client is a caller of the stand-in with a net/http client.
type client struct {
	t    testing.TB
	base string
	http *http.Client
}

// reply is what came back: an answer whose body may have ended in err, or err
// alone.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// do sends one request and reads the answer.
func (c *client) do(r *http.Request) reply {
	resp, err := c.http.Do(r)
	if err != nil {
		return reply{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{status: resp.StatusCode, header: resp.Header, body: string(body), err: err}
}

// request builds a request to the stand-in.
func (c *client) request(method, path, body string) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// post sends body to path as trackd would: strict, with a key.
func (c *client) post(path, body string) reply {
	c.t.Helper()
	r := c.request("POST", path, body)
	r.SetBasicAuth("key", "")
	r.Header.Set("X-Strict-Mode", "1")
	return c.do(r)
}

// opened returns a valid call with that messageId.
func opened(id string) string {
	return fmt.Sprintf(`{"messageId":%q,"type":"track","event":"Application Opened","userId":"u1"}`, id)
}

func TestTheAPIAnswersAsDocumented(t *testing.T) {
	const (
		strict, permissive = true, false
		good               = `{"messageId":"m1","type":"track","event":"Application Opened","userId":"u1"}`
		bad                = `{"messageId":"m2","type":"track","event":"Application Opened"}`
		noID               = `{"meta":{"errors":["userId, anonymousId or groupId must be a non-empty string"]}}`
	)
	large := `{"x":"` + strings.Repeat("a", 32_000) + `"}`
	tests := []struct {
		name         string
		path         string
		strict       bool
		key          string
		body         string
		status       int
		reply        string
		stored, lost uint64
	}{
		{"a good event", "/v1/track", strict, "key", good, 200, `{}`, 1, 0},
		{"a good event, permissive", "/v1/track", permissive, "key", good, 200, `{}`, 1, 0},
		{"a bad event", "/v1/track", strict, "key", bad, 400, noID, 0, 0},
		{"a bad event, permissive", "/v1/track", permissive, "key", bad, 200, `{}`, 0, 1},
		{"a wrong key", "/v1/track", strict, "other", good, 401, ``, 0, 0},
		{"a wrong key, permissive", "/v1/track", permissive, "other", good, 200, `{}`, 0, 1},
		{"no key", "/v1/track", strict, "", good, 401, ``, 0, 0},
		{"a wrong key and a bad event", "/v1/track", strict, "other", bad, 401, ``, 0, 0},
		{"no JSON", "/v1/track", strict, "key", `nope`, 400, `{"meta":{"errors":["the body must be one JSON value: invalid character 'o' in literal null (expecting 'u') at byte 1"]}}`, 0, 0},
		{"too large", "/v1/track", strict, "key", large, 400, `{"meta":{"errors":["the event has 32008 bytes, allowed are 32000"]}}`, 0, 0},
		{"too large, permissive", "/v1/track", permissive, "key", large, 200, `{}`, 0, 1},

		{"a batch", "/v1/batch", strict, "key", `{"batch":[` + good + `,` + good + `],"sentAt":"x"}`, 200, `{}`, 2, 0},
		{"a batch with a bad event", "/v1/batch", strict, "key", `{"batch":[` + good + `,` + bad + `]}`, 400, strings.Replace(noID, `"userId`, `"batch[1]: userId`, 1), 0, 0},
		{"a batch with a bad event, permissive", "/v1/batch", permissive, "key", `{"batch":[` + good + `,` + bad + `]}`, 200, `{}`, 1, 1},
		{"a batch with a wrong key, permissive", "/v1/batch", permissive, "other", `{"batch":[` + good + `,` + good + `]}`, 200, `{}`, 0, 2},
		{"an empty batch", "/v1/batch", strict, "key", `{"batch":[]}`, 400, `{"meta":{"errors":["the body must be an object in which batch lists at least one event"]}}`, 0, 0},
		{"no batch", "/v1/batch", strict, "key", `[]`, 400, `{"meta":{"errors":["the body must be an object in which batch lists at least one event"]}}`, 0, 0},
		{"a batch that is no JSON", "/v1/batch", strict, "key", `{"batch":[}`, 400, `{"meta":{"errors":["the body must be one JSON value: invalid character '}' at start of value at byte 10"]}}`, 0, 0},
		{"a batch that is too large", "/v1/batch", strict, "key", `{"batch":[` + good + strings.Repeat(`,`+good, 500_000/len(good)) + `]}`, 400, `{"meta":{"errors":["the batch has more than 500000 bytes"]}}`, 0, 0},

		{"a batch to the other path", "/v1/import", strict, "key", `{"batch":[` + good + `,` + good + `]}`, 200, `{}`, 2, 0},
		{"a batch of every call", "/v1/batch", strict, "key", `{"batch":[{"type":"identify","userId":"u1"},{"type":"track","event":"x","groupId":"g1"},{"type":"page","userId":"u1"},{"type":"screen","userId":"u1"},{"type":"group","groupId":"g1"},{"type":"alias","userId":"u1","previousId":"a1"}]}`, 200, `{}`, 6, 0},
		{"a batch in which a type is missing", "/v1/batch", strict, "key", `{"batch":[{"userId":"u1"}]}`, 400, `{"meta":{"errors":["batch[0]: the event must have type"]}}`, 0, 0},

		{"identify", "/v1/identify", strict, "key", `{"type":"identify","userId":"u1","traits":{"email":"u1@example.com"}}`, 200, `{}`, 1, 0},
		{"page", "/v1/page", strict, "key", `{"type":"page","anonymousId":"a1"}`, 200, `{}`, 1, 0},
		{"screen", "/v1/screen", strict, "key", `{"type":"screen","userId":"u1","name":null}`, 200, `{}`, 1, 0},
		{"group", "/v1/group", strict, "key", `{"type":"group","groupId":"g1"}`, 200, `{}`, 1, 0},
		{"alias", "/v1/alias", strict, "key", `{"type":"alias","userId":"u1","previousId":"a1"}`, 200, `{}`, 1, 0},
		{"a call that does not state its type", "/v1/identify", strict, "key", `{"userId":"u1"}`, 200, `{}`, 1, 0},
		{"a call at the endpoint of another", "/v1/identify", strict, "key", good, 400, `{"meta":{"errors":["type must be \"identify\""]}}`, 0, 0},
		{"no endpoint", "/v1/b", strict, "key", good, 404, "404 page not found\n", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c := serve(t, Options{Key: "key"})
			r := c.request("POST", tt.path, tt.body)
			if tt.strict {
				r.Header.Set("X-Strict-Mode", "1")
			}
			if tt.key != "" {
				r.SetBasicAuth(tt.key, "")
			}
			got := c.do(r)
			if got.err != nil || got.status != tt.status || got.body != tt.reply {
				t.Errorf("got %d %q (error %v), want %d %q", got.status, got.body, got.err, tt.status, tt.reply)
			}
			if r := s.Received(); r.Accepted != tt.stored || r.Dropped != tt.lost {
				t.Errorf("accepted %d, dropped %d, want %d and %d", r.Accepted, r.Dropped, tt.stored, tt.lost)
			}
		})
	}
}

func TestAnyKeyIsRightWhenNoneIsAskedFor(t *testing.T) {
	_, c := serve(t, Options{})
	if got := c.post("/v1/track", opened("m1")); got.status != 200 {
		t.Errorf("any key: got %d, want 200", got.status)
	}
	r := c.request("POST", "/v1/track", opened("m1"))
	r.Header.Set("X-Strict-Mode", "1")
	if got := c.do(r); got.status != 401 {
		t.Errorf("no key: got %d, want 401", got.status)
	}
}

func TestACallThatEndsEarlyIsNotCounted(t *testing.T) {
	s, c := serve(t, Options{})
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400 ") {
		t.Errorf("got %q, want a 400", answer)
	}
	if got := s.Received().Calls; got != 0 {
		t.Errorf("got %d calls, want 0", got)
	}
}

func TestManyCallersAreAllCounted(t *testing.T) {
	s, c := serve(t, Options{Remember: 10})
	var wg sync.WaitGroup
	for caller := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if got := c.post("/v1/track", opened(fmt.Sprintf("%d-%d", caller%4, i))); got.status != 200 {
					t.Errorf("got %d %v, want 200", got.status, got.err)
				}
				s.Received()
			}
		})
	}
	wg.Wait()
	got := s.Received()
	if got.Accepted != 400 || got.Unique != 200 || got.Duplicates != 200 {
		t.Errorf("got %d accepted, %d unique, %d duplicates, want 400, 200, 200", got.Accepted, got.Unique, got.Duplicates)
	}
}

func TestNewSaysWhatIsWrongWithItsTrouble(t *testing.T) {
	_, err := New(Options{Trouble: Trouble{{Preset: "down", Rate: 3}}})
	want := `rule 1: "rate" must lie between 0 and 1, found 3`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestThePackageDocumentationListsEveryPreset(t *testing.T) {
	source, err := os.ReadFile("sandbox.go")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, p := range Presets() {
		fmt.Fprintf(&want, "//\t%-13s %s\n", p.Name, p.Says)
	}
	_, after, _ := strings.Cut(string(source), "names a preset:\n//\n")
	got, _, _ := strings.Cut(after, "//\n")
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("presets in the package documentation (-want +got):\n%s", diff)
	}
}

func Example() {
	stand, err := New(Options{Key: "secret"})
	if err != nil {
		fmt.Println(err)
		return
	}
	server := httptest.NewServer(stand)
	defer server.Close()

	send := func() {
		body := strings.NewReader(`{"messageId":"m1","type":"track","event":"Application Opened","userId":"u1"}`)
		r, _ := http.NewRequestWithContext(context.Background(), "POST", server.URL+"/v1/track", body)
		r.SetBasicAuth("secret", "")
		r.Header.Set("X-Strict-Mode", "1")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			fmt.Println("no answer")
			return
		}
		defer resp.Body.Close()
		fmt.Println(resp.Status)
	}

	send()
	stand.SetTrouble(Trouble{{Preset: "answer_lost", Count: 1}})
	send()
	send()

	got := stand.Received()
	fmt.Printf("%d accepted, %d different, %d repeated\n", got.Accepted, got.Unique, got.Duplicates)
	// Output:
	// 200 OK
	// no answer
	// 200 OK
	// 3 accepted, 1 different, 2 repeated
}
