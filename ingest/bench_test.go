package ingest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"trackd/event"
)

// typical is an event as SDKs send it, of about 430 bytes.
const typical = `{"type":"track","event":"Application Opened","messageId":"01J9ZQ3V7Q4D8T2M6K5N1R0XYZ","timestamp":"2026-01-02T03:04:05.678Z","userId":"user-184467","anonymousId":"6f1c2a52-8b1e-4f3a-9c55-0d3c7a1b2e4f","properties":{"version":"4.17.2","build":"41720","from_background":true,"url":"app://home"},"context":{"device":{"token":"d3b07384d113edec49eaa6238ad5ff00","type":"ios"},"library":{"name":"cdp","version":"1.0"},"os":{"version":"19"}}}`

// tape is a connection that plays a stream and swallows replies.
type tape struct {
	net.Conn
	*bytes.Reader
}

func (t tape) Read(p []byte) (int, error)       { return t.Reader.Read(p) }
func (tape) Write(p []byte) (int, error)        { return len(p), nil }
func (tape) Close() error                       { return nil }
func (tape) SetReadDeadline(time.Time) error    { return nil }
func (tape) SetWriteDeadline(t time.Time) error { return nil }

// processorTime returns the seconds of processor that this process has used,
// clients of a benchmark included. It says more than a clock when the machine
// is shared.
func processorTime(b *testing.B) float64 {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano()).Seconds()
}

// BenchmarkSocket is 4 clients with 256 events in flight each, and a queue that
// costs nothing.
func BenchmarkSocket(b *testing.B) {
	const clients, window = 4, 256
	q := &void{}
	ln, path := unixListener(b)
	stop := serve(b, open(b, q), Listeners{Lines: []net.Listener{ln}})
	text := []byte(strings.Repeat(typical+"\n", window/4))

	var todo atomic.Int64
	var done sync.WaitGroup
	b.SetBytes(int64(len(typical)))
	b.ReportAllocs()
	todo.Store(int64(b.N))
	began := processorTime(b)
	b.ResetTimer()
	for range clients {
		c := dialUnix(b, path)
		done.Go(func() {
			sent, acked := uint64(0), uint64(0)
			for todo.Add(-window/4) > -window/4 {
				if _, err := c.Write(text); err != nil {
					b.Error(err)
					return
				}
				for sent += window / 4; sent-acked > window-window/4; {
					r, _ := c.next()
					acked = *r.Accepted
				}
			}
			c.hangUp()
			c.rest()
		})
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(q.taken.Load())/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((processorTime(b)-began)/float64(q.taken.Load())*1e9, "cpu-ns/event")
	stop()
}

// BenchmarkParse is what of the above is package event's.
func BenchmarkParse(b *testing.B) {
	raw := []byte(typical)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (event.Parser{}).Parse(raw, time.Now()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkHTTP is 64 connections with one event per request. Its floor is a
// handler that reads the body and says {}.
func BenchmarkHTTP(b *testing.B) {
	handler := open(b, &void{}).Handler()
	floor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.ReadAll(r.Body)
		w.Write([]byte("{}"))
	})
	b.Run("trackd", func(b *testing.B) { benchHTTP(b, handler) })
	b.Run("floor", func(b *testing.B) { benchHTTP(b, floor) })
}

func benchHTTP(b *testing.B, h http.Handler) {
	const clients = 64
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadTimeout: time.Minute}
	go srv.Serve(ln)
	defer srv.Close()
	text := []byte("POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: " +
		strconv.Itoa(len(typical)) + "\r\n\r\n" + typical)
	var todo atomic.Int64
	var done sync.WaitGroup
	b.ReportAllocs()
	todo.Store(int64(b.N))
	began := processorTime(b)
	b.ResetTimer()
	for range clients {
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer nc.Close()
		done.Go(func() {
			buf := make([]byte, 4096)
			for todo.Add(-1) >= 0 {
				if _, err := nc.Write(text); err != nil {
					b.Error(err)
					return
				}
				if n, err := nc.Read(buf); err != nil || !bytes.HasPrefix(buf[:n], []byte("HTTP/1.1 200")) {
					b.Errorf("answer %q: %v", buf[:n], err)
					return
				}
			}
		})
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric((processorTime(b)-began)/float64(b.N)*1e9, "cpu-ns/event")
}
