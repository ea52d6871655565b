package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"
)

// TestIdleConnectionsTakeNothingFromOthers opens 900 connections to a daemon
// that may have 300 descriptors, and leaves them alone.
func TestIdleConnectionsTakeNothingFromOthers(t *testing.T) {
	scale := hostileScale(t)
	var results []attackResult
	for _, attack := range []struct {
		name    string
		sockets []string
	}{
		{"900 idle connections on 300 descriptors: events", []string{"events.sock"}},
		{"900 idle connections on 300 descriptors: http", []string{"http.sock"}},
		{"900 idle connections on 300 descriptors: admin", []string{"admin.sock"}},
		{"900 idle connections on 300 descriptors: all", []string{"events.sock", "http.sock", "admin.sock"}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			s := newSiege(t, scale, 300)
			for i := range 900 {
				if conn, err := net.DialTimeout("unix", s.path(attack.sockets[i%len(attack.sockets)]), time.Second); err == nil {
					defer conn.Close()
				}
			}
			s.settled()
			s.settled()
			results = append(results, s.withstood(t))
		})
	}
	printAttacks(t, results)
}

// TestRubbishLeavesRoomForWhatIsGood sends what is not worth keeping, faster
// than anything good.
func TestRubbishLeavesRoomForWhatIsGood(t *testing.T) {
	scale := hostileScale(t)
	const deadBytes, slack = 16 << 20, 48 << 20
	var results []attackResult
	for _, attack := range []struct {
		name string
		run  func(*siege)
	}{
		{"a million lines of one byte", func(s *siege) { s.sendLines(bytes.Repeat([]byte("0\n"), 1_000_000)) }},
		{"a million empty objects in batches", func(s *siege) {
			for range 25 {
				s.postRaw("/v1/batch", "", batchOf("", `{}`, 40_000))
			}
		}},
		{fmt.Sprintf("%d MiB of random bytes on the socket", 64*scale), func(s *siege) {
			for range s.scale {
				s.sendLines(randomBytes(64 << 20))
			}
		}},
		{fmt.Sprintf("%d MiB of different events that are not wanted", 64*scale), func(s *siege) {
			for i := range s.scale {
				var lines bytes.Buffer
				for j := 0; lines.Len() < 64<<20; j++ {
					fmt.Fprintf(&lines, `{"event":"Order %d-%d","userId":"u%d","properties":{"a":"%s"}}`+"\n", i, j, j, strings.Repeat("x", j%500))
				}
				s.sendLines(lines.Bytes())
			}
		}},
		{"20,000 requests that are no HTTP", func(s *siege) {
			junk := randomBytes(1000)
			together(20, func(int) {
				for range 1000 {
					if conn, err := net.Dial("unix", s.path("http.sock")); err == nil {
						conn.SetDeadline(time.Now().Add(patience))
						conn.Write(append(junk, "\r\n\r\n"...))
						io.Copy(io.Discard, conn)
						conn.Close()
					}
				}
			})
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			s := newSiege(t, scale, 0, "TRACKD_QUEUE_MAX_BYTES=512MiB", "TRACKD_QUEUE_DEAD_MAX_BYTES=16MiB")
			attack.run(s)
			result := s.withstood(t)
			if result.disk > deadBytes+slack {
				t.Errorf("the disk holds %s more, want no more than %s of dead letters and %s to write them", size(result.disk), size(deadBytes), size(slack))
			}
			results = append(results, result)
		})
	}
	printAttacks(t, results)
}

// sendLines sends everything over the socket and reads all replies.
func (s *siege) sendLines(lines []byte) {
	conn, err := net.Dial("unix", s.path("events.sock"))
	if err != nil {
		s.tb.Error(err)
		return
	}
	defer conn.Close()
	go func() {
		conn.Write(lines)
		conn.(*net.UnixConn).CloseWrite()
	}()
	io.Copy(io.Discard, conn)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}
