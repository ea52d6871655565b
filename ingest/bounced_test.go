package ingest

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"trackd/internal/listen"
	"trackd/queue"
)

// exchange sends text as it is over a connection of its own and returns all
// that is answered.
func exchange(t *testing.T, network, address, text string, hangUp bool) string {
	t.Helper()
	nc, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(nc, text); err != nil {
		t.Fatal(err)
	}
	if hangUp {
		nc.(interface{ CloseWrite() error }).CloseWrite()
	}
	answer, _ := io.ReadAll(nc) // a reset is as good an end as any
	return string(answer)
}

// Whatever a client does wrong, so that nothing of it is kept, the operator sees
// who does it, what it is and when it was.
func TestEveryKindOfBouncedRequestIsSeenByTheOperator(t *testing.T) {
	const body = "Content-Length: 44\r\n\r\n" + opened
	head := func(line, host string, more ...string) string {
		return line + " HTTP/1.1\r\nHost: " + host + "\r\nUser-Agent: app/1.0 (test)\r\nConnection: close\r\n" + strings.Join(append(more, ""), "\r\n")
	}
	const key = "Authorization: Basic azE6" // k1:
	track := func(more ...string) string { return head("POST /v1/track", "localhost", append(more, key)...) }
	full, broken := queue.ErrFull, io.ErrUnexpectedEOF
	for _, c := range []struct {
		name, text string
		hangUp     bool
		queue      error // what Append answers
		reason     string
		status     int
		sample     string // a part of it
	}{
		{"an unknown path", head("POST /v1/b", "localhost", key) + body, false, nil, codeNotFound, 404, "POST /v1/b: trackd serves"},
		{"the Track API", head("POST /api/v1/customers/ann@example.com/events", "localhost", key) + body, false, nil, codeNotFound, 404, "POST /api/v1/customers/...: this is a path of Customer.io's Track API"},
		{"a wrong method", head("GET /v1/track", "localhost", key) + "\r\n", false, nil, codeMethod, 405, "GET /v1/track"},
		{"no key", head("POST /v1/track", "localhost") + body, false, nil, codeUnauthorized, 401, "missing or wrong"},
		{"a wrong key", head("POST /v1/batch", "localhost", "Authorization: Basic eDo=") + body, false, nil, codeUnauthorized, 401, "POST /v1/batch"},
		{"a foreign host", head("POST /v1/track", "evil.example:80", key) + body, false, nil, codeForeignHost, 403, `evil.example:80`},
		{"a web page", track("Sec-Fetch-Site: cross-site") + body, false, nil, codeCrossOrigin, 403, "web pages"},
		{"a web page of a host that resolves here", head("POST /v1/track", "evil.example", "Origin: http://evil.example", key) + body, false, nil, codeForeignHost, 403, `evil.example`},
		{"an encoding not known here", track("Content-Encoding: br") + body, false, nil, codeEncoding, 415, `"br"`},
		{"gzip in name only", track("Content-Encoding: gzip") + body, false, nil, "malformed", 400, "gzip: invalid header"},
		{"a batch too large", head("POST /v1/batch", "localhost", key) + "Content-Length: 5000000\r\n\r\n", false, nil, "oversize", 413, "larger than"},
		{"a body too large for one who asks first", track("Expect: 100-continue") + "Content-Length: 5000000\r\n\r\n", false, nil, "oversize", 413, "larger than"},
		{"broken chunks", track("Transfer-Encoding: chunked") + "\r\nxyz\r\n", false, nil, "malformed", 400, "cannot be read"},
		{"a body cut by hang-up", track() + "Content-Length: 100\r\n\r\n" + opened, true, nil, codeUnfinished, 408, "hung up"},
		{"gzip cut by hang-up", track("Content-Encoding: gzip") + "Content-Length: 100\r\n\r\n" + zipped(t, opened)[:30], true, nil, codeUnfinished, 408, "hung up"},
		{"a full queue", track() + body, false, full, codeQueueFull, 503, "the queue is full"},
		{"a broken queue", track() + body, false, broken, codeUnavailable, 503, "may or may not"},
		{"no room for dead letters", track() + "Content-Length: 1\r\n\r\nx", false, queue.ErrRejectsFull, reasonRejectsFull, 400, "not kept as dead letters"},
		{"no HTTP", "EHLO localhost\r\n\r\n", false, nil, codeBadRequest, 400, "400 Bad Request"},
		{"TLS", "\x16\x03\x01\x00\x05hello\r\n\r\n", false, nil, codeBadRequest, 400, "400 Bad Request"},
		{"a head too large", track("X: "+strings.Repeat("x", 64<<10)) + body, false, nil, codeBadRequest, 431, "431"},
		{"an expectation", track("Expect: miracle") + body, false, nil, codeBadRequest, 417, "417"},
		{"an encoding of transfer", track("Transfer-Encoding: zip") + "\r\n", false, nil, codeBadRequest, 501, "501"},
		{"no Host", "POST /v1/track HTTP/1.1\r\n" + body, false, nil, codeBadRequest, 400, "missing required Host"},
		{"a head that ends in the middle", "POST /v1/tra", true, nil, codeBadRequest, 400, "400"},
		{"lines for a full queue", "LINES" + opened + "\n", true, full, codeQueueFull, 0, "send line 1"},
		{"lines for a broken queue", "LINES" + opened + "\n", true, broken, codeUnavailable, 0, "may or may not"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			q := &shelf{after: c.queue}
			s := open(t, q, func(o *Options) { o.Rules.Key = "k1" })
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			lines, path := unixListener(t)
			stop := serve(t, s, Listeners{HTTP: []net.Listener{tcp}, Lines: []net.Listener{lines}})
			var answer string
			if text, ok := strings.CutPrefix(c.text, "LINES"); ok {
				exchange(t, "unix", path, text, c.hangUp)
			} else {
				answer = exchange(t, "tcp", tcp.Addr().String(), c.text, c.hangUp)
			}
			stop()
			if c.status > 0 && (!strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", c.status)) || !strings.Contains(answer, `"meta":{"errors":[`)) {
				t.Errorf("answer %q, want %d in JSON", answer, c.status)
			}
			all := s.Bounced()
			if len(all) != 1 || all[0].Reason != c.reason || all[0].Count != 1 || !strings.Contains(all[0].Sample, c.sample) || time.Since(all[0].Last) > time.Minute {
				t.Fatalf("told %+v, want one %s with %q in it, just now", all, c.reason, c.sample)
			}
			if strings.Contains(c.text, "User-Agent") && c.reason != codeBadRequest && c.reason != reasonRejectsFull && all[0].Client != "app/1.0 (test)" {
				t.Errorf("client %q, want the user agent", all[0].Client)
			}
			if c.reason == codeBadRequest && all[0].Client != "127.0.0.1" {
				t.Errorf("client %q, want its address", all[0].Client)
			}
			if n := testutil.ToFloat64(s.metrics.bounced[c.reason]); n != 1 {
				t.Errorf("%v counted, want 1", n)
			}
			q.checkKept(t, len(q.events), len(q.rejects))
		})
	}
}

// Those that take their time are seen as well.
func TestClientsThatDawdleAreSeenByTheOperator(t *testing.T) {
	overHTTP(t, &shelf{}, func(t *testing.T, ln *pipes, s *Server) {
		c := ln.dial(t)
		c.send("POST /v1/track HTTP/1.1\r\nHost: ")
		time.Sleep(time.Minute)
		if all := s.Bounced(); len(all) != 1 || all[0].Reason != codeUnfinished || !strings.Contains(all[0].Sample, "head of a request") {
			t.Errorf("told %+v, want the unfinished head", all)
		}
		c = ln.dial(t)
		if got := c.ask(); got != 200 {
			t.Errorf("a good request: %d", got)
		}
		c.Close()
		ln.dial(t).Close() // a look whether the port is open
		synctest.Wait()
		if all := s.Bounced(); len(all) != 1 || all[0].Count != 1 {
			t.Errorf("told %+v, want no more", all)
		}
	})
	overPipes(t, &shelf{}, func(t *testing.T, ln *pipes, s *Server) {
		c := ln.dial(t)
		c.send(opened[:9])
		c.rest()
		if all := s.Bounced(); len(all) != 1 || all[0].Reason != codeUnfinished || !strings.Contains(all[0].Sample, "line 1") {
			t.Errorf("told %+v, want the unfinished line", all)
		}
		time.Sleep(time.Second)
		for range 2 {
			c := ln.dial(t)
			c.send(opened[:9])
		}
		synctest.Wait()
		ln.dial(t).rest()
		if all := s.Bounced(); len(all) != 2 || all[0].Reason != codeTooMany {
			t.Errorf("told %+v, want a connection turned away", all)
		}
	}, socketPlaces(2))
}

func TestABounceIsLoggedWhenItBeginsAndWhenItIsOverAndForgottenAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, logged := journal(slog.LevelInfo)
		s := open(t, &shelf{}, func(o *Options) { o.Log = log })
		bounce := func(reason string) {
			s.bounced.note(reason, func() (string, string) { return "app\x1b[2J\xff" + strings.Repeat("x", 100), "POST /v1/\n" })
		}
		for range 10 { // a pause shorter than it takes to be over
			bounce(codeNotFound)
			bounce(codeQueueFull) // logged by its alarm
			time.Sleep(4 * time.Minute)
		}
		if got := s.Bounced(); len(got) != 2 || got[0].Count != 10 || got[0].Last.Sub(got[0].Since) != 36*time.Minute {
			t.Errorf("told %+v, want both, 10 times within 36 minutes", got)
		}
		time.Sleep(55 * time.Minute)
		if got := s.Bounced(); len(got) != 2 {
			t.Errorf("told %+v after 59 minutes, want both", got)
		}
		time.Sleep(2 * time.Minute)
		if got := s.Bounced(); len(got) != 0 {
			t.Errorf("told %+v after more than an hour", got)
		}
		bounce(codeNotFound)
		if got := s.Bounced(); len(got) != 1 || got[0].Count != 1 {
			t.Errorf("told %+v, want a new beginning", got)
		}
		client := `app\x1b[2J\xff` + strings.Repeat("x", 72) + "..."
		want := strings.ReplaceAll(`level=WARN msg="requests are turned back, nothing of them is kept" reason=not_found client=CLIENT sample="POST /v1/\\n"
level=INFO msg="requests are no longer turned back" reason=not_found count=10 after=36m0s
level=WARN msg="requests are turned back, nothing of them is kept" reason=not_found client=CLIENT sample="POST /v1/\\n"
`, "CLIENT", client)
		if got := logged(); got != want {
			t.Errorf("logged:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestTheSampleOfAPathNamesNoPerson(t *testing.T) {
	for path, want := range map[string]string{
		"": "", "/": "/", "/v1/track": "/v1/track", "/v1/track/": "/v1/track/", "/a/b/c": "/a/b/c",
		"/api/v1/customers/ann@example.com": "/api/v1/customers/...", "/api/v1/customers/5/events": "/api/v1/customers/...",
		"//x": "//x", "no slash": "no slash",
	} {
		if got := samplePath(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// Names that are configured are hosts as well; on a Unix socket, which no
// browser reaches, any name is.
func TestConfiguredHostsAreAllowedAndUnixSocketsTakeAny(t *testing.T) {
	s := open(t, &shelf{}, func(o *Options) { o.Hosts = listen.NewHosts([]string{"Track.Internal"}, nil) })
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unix, path := unixListener(t)
	serve(t, s, Listeners{HTTP: []net.Listener{tcp, unix}})
	for _, c := range []struct {
		network, address, host string
		want                   int
	}{
		{"tcp", tcp.Addr().String(), "track.internal.:8484", http.StatusOK},
		{"tcp", tcp.Addr().String(), "other.internal", http.StatusForbidden},
		{"unix", path, "anything.example", http.StatusOK},
	} {
		answer := exchange(t, c.network, c.address, "POST /v1/track HTTP/1.1\r\nConnection: close\r\nHost: "+c.host+
			"\r\nContent-Length: 44\r\n\r\n"+opened, false)
		if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", c.want)) {
			t.Errorf("%s %s: %q, want %d", c.network, c.host, answer, c.want)
		}
	}
}
