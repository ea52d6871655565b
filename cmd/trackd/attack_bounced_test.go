package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// seen is what an operator sees of what clients got wrong, by reason.
type seen struct {
	bounced map[string]uint64 // turned back, nothing of it is kept
	dead    map[string]uint64 // kept as dead letters
	samples map[string]string // of what was turned back
	closed  map[string]uint64 // idle connections closed for others, by listener
}

func (d *process) seen() seen {
	d.tb.Helper()
	ops := unixClient(d.path("admin.sock"))
	defer ops.CloseIdleConnections()
	resp, err := ops.Get("http://trackd/status")
	if err != nil {
		d.tb.Fatal(err)
	}
	defer resp.Body.Close()
	var report struct {
		Clients struct {
			Bounced []struct {
				Reason, Sample string
				Count          uint64
			}
			Connections []struct {
				Listener   string
				ClosedIdle uint64 `json:"closed_idle"`
			}
		}
		DeadLetters struct {
			ByReason map[string]uint64 `json:"by_reason"`
		} `json:"dead_letters"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		d.tb.Fatal(err)
	}
	s := seen{bounced: map[string]uint64{}, dead: report.DeadLetters.ByReason, samples: map[string]string{}, closed: map[string]uint64{}}
	for _, b := range report.Clients.Bounced {
		s.bounced[b.Reason], s.samples[b.Reason] = b.Count, b.Sample
	}
	for _, c := range report.Clients.Connections {
		if c.ClosedIdle > 0 {
			s.closed[c.Listener] = c.ClosedIdle
		}
	}
	return s
}

// TestWhateverBouncesIsSeen sends what apps send when they are set up wrong, one
// of each kind, to a daemon that takes, to one that is full and to one without
// room for dead letters. The operator sees each in the status and in the
// metrics: as a dead letter, or counted by reason with a sample.
func TestWhateverBouncesIsSeen(t *testing.T) {
	_, url := newSandbox(t)
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	taking := newProcess(t, url)
	if err := os.WriteFile(taking.path("key"), []byte("right"), 0o600); err != nil {
		t.Fatal(err)
	}
	taking.env = append(taking.env, "TRACKD_INGEST_HTTP="+ports[0], "TRACKD_INGEST_KEY_FILE="+taking.path("key"))
	full := newProcess(t, url)
	full.env = append(full.env, "TRACKD_QUEUE_MIN_FREE_BYTES=1000000GiB")
	noDead := newProcess(t, url)
	noDead.env = append(noDead.env, "TRACKD_QUEUE_DEAD_MAX_BYTES=0")
	for _, d := range []*process{taking, full, noDead} {
		d.start()
	}
	taking.awaitReady()
	noDead.awaitReady()
	until(t, "the full daemon to answer", func() bool {
		conn, err := net.Dial("unix", full.path("admin.sock"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})

	const good = `{"event":"Application Opened","userId":"ann"}`
	const key = "Authorization: Basic cmlnaHQ6\r\n" // right:
	large := `{"event":"Application Opened","userId":"ann","properties":{"a":"` + strings.Repeat("x", 40_000) + `"}}`
	request := func(line, headers, body string) string {
		return fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", line, headers, len(body), body)
	}
	post := func(headers, body string) string { return request("POST /v1/track", headers, body) }
	squeezed := string(squeeze(t, []byte(good)))
	bomb := string(squeeze(t, bytes.Repeat([]byte(" "), 8<<20)))
	for _, kind := range []struct {
		name   string
		to     *process
		socket string // what sends is written to it as it is, and closed for writing
		send   string
		want   string // the reason, "dead " before it if it is that of a dead letter
	}{
		{"an unknown path", taking, "tcp", request("POST /v2/track", key, good), "not_found"},
		{"a path of the older API", taking, "tcp", request("PUT /api/v1/customers/5", key, "{}"), "not_found"},
		{"a GET", taking, "tcp", request("GET /v1/track", key, ""), "method_not_allowed"},
		{"no key", taking, "tcp", post("", good), "unauthorized"},
		{"a wrong key", taking, "tcp", post("Authorization: Basic d3Jvbmc6\r\n", good), "unauthorized"},
		{"another host's name", taking, "tcp", strings.Replace(post(key, good), "Host: localhost", "Host: rebound.example", 1), "foreign_host"},
		{"a page of another origin", taking, "tcp", post(key+"Sec-Fetch-Site: cross-site\r\n", good), "cross_origin"},
		{"an unknown encoding", taking, "tcp", post(key+"Content-Encoding: br\r\n", good), "unsupported_encoding"},
		{"no HTTP", taking, "tcp", good + "\r\n\r\n", "bad_request"},
		{"TLS", taking, "tcp", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "bad_request"},
		{"a gzip that is cut", taking, "tcp", post(key+"Content-Encoding: gzip\r\n", squeezed[:30]), "malformed"},
		{"a gzip that is none", taking, "tcp", post(key+"Content-Encoding: gzip\r\n", good), "malformed"},
		{"a batch of 5 MiB", taking, "tcp", request("POST /v1/batch", key, strings.Repeat(" ", 5<<20)), "oversize"},
		{"a batch that inflates to 8 MiB", taking, "tcp", request("POST /v1/batch", key+"Content-Encoding: gzip\r\n", bomb), "oversize"},
		{"a body that breaks off", taking, "tcp", strings.Replace(post(key, good), "Content-Length: 45", "Content-Length: 99", 1), "unfinished"},
		{"an event that is no JSON", taking, "tcp", post(key, "event=opened"), "dead malformed"},
		{"an event without an id", taking, "tcp", post(key, `{"event":"Application Opened"}`), "dead invalid"},
		{"an event that is not wanted", taking, "tcp", post(key, `{"event":"Order Completed","userId":"ann"}`), "dead not_lifecycle"},
		{"another call", taking, "tcp", request("POST /v1/identify", key, `{"userId":"ann"}`), "dead not_lifecycle"},
		{"an event of 40 KB", taking, "tcp", post(key, large), "dead oversize"},
		{"a batch that is none", taking, "tcp", request("POST /v1/batch", key, "[]"), "dead malformed"},
		{"a bad item of a batch", taking, "tcp", request("POST /v1/batch", key, `{"batch":[{"event":1},`+good+`]}`), "dead invalid"},
		{"a bad line", taking, "events.sock", "event=opened\n", "dead malformed"},
		{"a line while the queue is full", full, "events.sock", good + "\n", "queue_full"},
		{"a request while the queue is full", full, "http.sock", post("", good), "queue_full"},
		{"a batch while the queue is full", full, "http.sock", request("POST /v1/batch", "", `{"batch":[`+good+`]}`), "queue_full"},
		{"a bad line without room for dead letters", noDead, "events.sock", "event=opened\n", "rejects_full"},
		{"a bad event without room for dead letters", noDead, "http.sock", post("", "event=opened"), "rejects_full"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			before := kind.to.seen()
			network, address := "unix", kind.to.path(kind.socket)
			if kind.socket == "tcp" {
				network, address = "tcp", ports[0]
			}
			conn, err := net.Dial(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			go func() {
				io.WriteString(conn, kind.send)
				conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			answer, _ := io.ReadAll(conn) // a reset after the answer is one way to refuse the rest
			reason, kept := strings.CutPrefix(kind.want, "dead ")
			var after seen
			for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				after = kind.to.seen()
				if kept && after.dead[reason] > before.dead[reason] || !kept && after.bounced[reason] > before.bounced[reason] {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is not seen: bounced %v, then %v; dead %v, then %v; answered %.300q",
						kind.want, before.bounced, after.bounced, before.dead, after.dead, answer)
				}
			}
			if !kept && after.samples[reason] == "" {
				t.Errorf("%s is counted without a sample", reason)
			}
			if kept && !maps.Equal(after.bounced, before.bounced) {
				t.Errorf("what is kept counts as turned back too: %v, then %v", before.bounced, after.bounced)
			}
		})
	}
}
