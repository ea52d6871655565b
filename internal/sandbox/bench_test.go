package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// realistic returns a call as a mobile SDK makes it.
func realistic(id int64) string {
	return fmt.Sprintf(`{"messageId":"01J8ZQ5M3W2X4Y6Z%010d","timestamp":"2026-11-22T00:00:00.123Z","type":"track","event":"Application Opened","userId":"user-12345","anonymousId":"2c9c7f4e-7d0b-4e6f-9a3d-000000000001","properties":{"from_background":false,"version":"2.1.0","build":"421","url":"app://promo"},"context":{"app":{"name":"Example","version":"2.1.0","build":"421"},"device":{"id":"d1","model":"Phone","type":"ios","token":"ff00"},"os":{"name":"iOS","version":"17.1"}}}`, id)
}

func BenchmarkProblems(b *testing.B) {
	body := []byte(realistic(1))
	b.ReportAllocs()
	for b.Loop() {
		if problems := Problems(body); problems != nil {
			b.Fatal(problems)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkTrack is the happy path without the network.
func BenchmarkTrack(b *testing.B) {
	s, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	var id atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r := httptest.NewRequest("POST", "/v1/track", strings.NewReader(realistic(id.Add(1))))
			r.SetBasicAuth("key", "")
			r.Header.Set("X-Strict-Mode", "1")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != 200 {
				b.Fatal(w.Code, w.Body)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkTrackOverTCP is the same with net/http on both ends, on the same
// processors; its floor is a handler that only reads and answers.
func BenchmarkTrackOverTCP(b *testing.B) {
	s, err := New(Options{})
	if err != nil {
		b.Fatal(err)
	}
	floor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "{}")
	})
	for name, handler := range map[string]http.Handler{"sandbox": s, "floor": floor} {
		b.Run(name, func(b *testing.B) { benchmarkTCP(b, handler) })
	}
}

func benchmarkTCP(b *testing.B, handler http.Handler) {
	server := httptest.NewServer(handler)
	defer server.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	var id atomic.Int64
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, _ := http.NewRequest("POST", server.URL+"/v1/track", strings.NewReader(realistic(id.Add(1))))
			r.SetBasicAuth("key", "")
			r.Header.Set("X-Strict-Mode", "1")
			resp, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 {
				b.Errorf("got %d", resp.StatusCode)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
