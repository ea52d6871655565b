package sandbox

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// home returns what a browser gets at path.
func (c *client) home(path string) reply {
	c.t.Helper()
	r := c.request("GET", path, "")
	r.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	return c.do(r)
}

func TestThePageShowsWhatWasReceived(t *testing.T) {
	s, c := serve(t, Options{})
	if got := c.home("/"); got.status != 200 || !strings.Contains(got.body, "none yet") {
		t.Errorf("before any call: got %d %s", got.status, got.body)
	}
	c.post("/v1/track", opened("m1"))
	c.post("/v1/group", `{"groupId":"g7","traits":{"name":"Acme"}}`)
	c.post("/v1/page", `{"name":"Home"}`)
	if err := s.SetTrouble(Trouble{{Preset: "down"}}); err != nil {
		t.Fatal(err)
	}
	c.post("/v1/identify", `{"userId":"<script>alert(1)</script>"}`)
	c.post("/v1/batch", `{"batch":[`+strings.Repeat(`{},`, 29)+`{}]}`)

	got := c.home("/")
	for _, want := range []string{
		"Application Opened", "u1", "g7", "identify", "close", "Trouble in force: down", "and 10 more",
		"userId or anonymousId must be a non-empty string", "  &#34;messageId&#34;: &#34;m1&#34;,", "<dt>answered 200</dt><dd>2</dd>",
	} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %q in\n%s", want, got.body)
		}
	}
	if strings.Contains(got.body, "<script") {
		t.Errorf("a client's markup is on the page:\n%s", got.body)
	}
	if policy := got.header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'; style-src 'self'") {
		t.Errorf("got content policy %q", policy)
	}
	style := c.do(c.request("GET", "/sandbox/style.css", ""))
	if style.status != 200 || style.header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("style: got %d %v", style.status, style.header)
	}
	if recent := s.Recent(10); string(recent[4].Body) != opened("m1") {
		t.Errorf("the page changed what is remembered: %s", recent[4].Body)
	}
}

func TestThePageRefreshesItselfOnlyWhenAsked(t *testing.T) {
	_, c := serve(t, Options{})
	for path, want := range map[string]bool{"/": false, "/?refresh=2": true, "/?refresh=-1": false, "/?refresh=x": false} {
		got := c.home(path)
		if refreshes := strings.Contains(got.body, `http-equiv="refresh" content="2"`); refreshes != want {
			t.Errorf("%s: refreshes %t, want %t", path, refreshes, want)
		}
	}
}

func TestExpectWaitsForDifferentMessageIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := serveVirtually(t, Options{})
		go func() {
			for _, id := range []string{"m1", "m1", "m2", "m2", "m3"} {
				time.Sleep(time.Second)
				c.post("/v1/track", opened(id))
			}
		}()
		start := time.Now()
		got := c.do(c.request("GET", "/sandbox/expect?count=2", ""))
		if took := time.Since(start); got.status != 200 || took != 3*time.Second || !strings.Contains(got.body, `"waited_ms": 3000,`) {
			t.Errorf("got %d after %v: %s, want 200 after 3s", got.status, took, got.body)
		}
		got = c.do(c.request("GET", "/sandbox/expect?count=4", ""))
		if took := time.Since(start); got.status != 408 || took != 13*time.Second || !strings.Contains(got.body, `"unique": 3,`) {
			t.Errorf("got %d after %v: %s, want 408 after 13s", got.status, took, got.body)
		}
		if left := len(s.counters.waiting); left != 0 {
			t.Errorf("%d still wait", left)
		}
	})
}

func TestEachEventIsPrintedInOneLine(t *testing.T) {
	var printed bytes.Buffer
	_, c := serve(t, Options{Print: &printed, Trouble: Trouble{{Preset: "answer_lost", Match: Match{Type: "alias"}}}})
	c.post("/v1/track", opened("m1"))
	c.post("/v1/identify", `{"userId":"ann"}`)
	c.post("/v1/screen", `{"name":"a\u001b[2J\nb","anonymousId":"a1"}`)
	c.post("/v1/group", `{"groupId":""}`)
	c.post("/v1/alias", `{"userId":"ann","previousId":"a1"}`)
	c.post("/v1/batch", `{"batch":[{"type":"page","userId":"ann"},{"type":"x\u001b","timestamp":1}]}`)
	c.post("/v1/batch", `nope`)
	got := regexp.MustCompile(`(?m)^\d\d:\d\d:\d\d\.\d{3}  `).ReplaceAllString(printed.String(), "")
	want := `track     "Application Opened"  200
identify  "ann"  200
screen    "a\x1b[2J\nb"  200
group     -  400  groupId must not be empty
alias     "ann"  reset
page      "ann"  400
"x\x1b"   -  400  type must be one of [identify track page screen group alias]
batch     -  400  the body must be one JSON value: invalid character 'o' in literal null (expecting 'u') at byte 1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
