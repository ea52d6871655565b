package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// batchOf returns a batch of n times item, with more members before the items.
func batchOf(members, item string, n int) string {
	return `{` + members + `"batch":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
}

// TestNoRequestTakesMemoryBeyondItsBound sends what small requests, or small
// parts of them, could make large, many at a time.
func TestNoRequestTakesMemoryBeyondItsBound(t *testing.T) {
	scale := hostileScale(t)
	const good = `{"event":"Application Opened","userId":"u"}`
	shared := `"context":{"x":"` + strings.Repeat("c", 31_000) + `"},`
	zipped := func(body []byte) string { return string(squeeze(t, body)) }
	post := func(n int, path, header, body string) func(*testing.T, *siege) {
		return func(_ *testing.T, s *siege) {
			together(n, func(int) { s.postRaw(path, header, body) })
		}
	}
	var results []attackResult
	for _, attack := range []struct {
		name string
		run  func(*testing.T, *siege)
	}{
		{"40 batches of 54 KB, one large context for all items", post(40, "/v1/batch", "", batchOf(shared, good, 540))},
		{"40 batches of 33 KB, one large context for bad items", post(40, "/v1/batch", "", batchOf(shared, `{}`, 540))},
		{"200 batches of 60 KB, nothing but empty objects", post(200, "/v1/batch", "", batchOf("", `{}`, 20_000))},
		{"40 batches of 1 MB, nothing but empty objects", post(40, "/v1/batch", "", batchOf("", `{}`, 340_000))},
		{"40 batches of 1 MB, nothing but zeros", post(40, "/v1/batch", "", batchOf("", `0`, 500_000))},
		{"40 batches of 1 MB, deeply nested", post(40, "/v1/batch", "", batchOf("", strings.Repeat(`{"a":`, 9_000)+"1"+strings.Repeat("}", 9_000), 16))},
		{"40 batches of 1 MB, every item with every mistake", post(40, "/v1/batch", "", batchOf("",
			`{"event":1,"userId":[],"anonymousId":{},"messageId":1,"timestamp":1,"properties":1,"context":1,"integrations":1}`, 9_000))},
		{"64 gzip bombs of 64 MiB", post(64, "/v1/batch", "Content-Encoding: gzip\r\n", zipped(bytes.Repeat([]byte("{},"), 22<<20)))},
		{"64 gzip bombs in one event", post(64, "/v1/track", "Content-Encoding: gzip\r\n", zipped(bytes.Repeat([]byte(" "), 64<<20)))},
		{"900 lines that do not end", beginLines},
		{"900 bodies that do not end", beginBodies(`POST /v1/track HTTP/1.1` + "\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("x", 59_999))},
		{"900 large batches that do not end", beginBodies(`POST /v1/batch HTTP/1.1` + "\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("x", 900_000))},
		{"900 headers that do not end", beginBodies("POST /v1/track HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 15_000))},
		{"200 clients that send bad lines and read no reply", deafClients},
	} {
		t.Run(attack.name, func(t *testing.T) {
			s := newSiege(t, scale, 0)
			attack.run(t, s)
			results = append(results, s.withstood(t))
		})
	}
	printAttacks(t, results)
}

// beginLines opens many connections to the socket and begins a long line on
// each.
func beginLines(_ *testing.T, s *siege) {
	line := strings.Repeat("x", 65_000)
	together(900, func(int) {
		conn, err := net.Dial("unix", s.path("events.sock"))
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(3 * time.Second))
		io.WriteString(conn, line)
		io.Copy(io.Discard, conn) // until the deadline, or until the daemon hangs up
	})
}

// beginBodies opens many connections and sends the same beginning of a request
// on each.
func beginBodies(beginning string) func(*testing.T, *siege) {
	return func(_ *testing.T, s *siege) {
		together(900, func(int) {
			conn, err := net.Dial("unix", s.path("http.sock"))
			if err != nil {
				return
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(3 * time.Second))
			io.WriteString(conn, beginning)
			io.Copy(io.Discard, conn)
		})
	}
}

// deafClients send lines that are bad in many ways, and never read what is said
// of them.
func deafClients(_ *testing.T, s *siege) {
	lines := bytes.Repeat(fmt.Appendf(nil, `{"event":"%s","userId":[],"timestamp":1,"properties":1}`+"\n", strings.Repeat("\u00e9", 100)), 2_000)
	together(200, func(int) {
		conn, err := net.Dial("unix", s.path("events.sock"))
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(3 * time.Second))
		conn.Write(lines)
	})
}
