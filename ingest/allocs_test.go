//go:build !race

// The race detector allocates, too, and makes pools forget at random.

package ingest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

// An event costs its ID, which it keeps. All else is of a batch, or of a
// connection.
func TestAnEventOverTheSocketCostsOneAllocation(t *testing.T) {
	const n, runs = 5_000, 10
	stream := []byte(strings.Repeat(typical+"\n", n))
	q := &void{}
	s := open(t, q)
	got := testing.AllocsPerRun(runs, func() {
		s.serveConn(context.Background(), placed(t, s, tape{Reader: bytes.NewReader(stream)}))
	}) / n
	if taken := q.taken.Load(); taken != (runs+1)*n {
		t.Fatalf("%d events taken, want %d", taken, (runs+1)*n)
	}
	t.Logf("%.3f allocations per event", got)
	if got > 1.05 {
		t.Errorf("%.3f allocations per event, want at most 1.05", got)
	}
}

// rewound is the body of a request that is sent again and again.
type rewound struct{ *strings.Reader }

func (rewound) Close() error { return nil }

// paper is a response that is written on again.
type paper struct {
	header http.Header
	status int
}

func (p *paper) Header() http.Header            { return p.header }
func (p *paper) Write(text []byte) (int, error) { return len(text), nil }
func (p *paper) WriteHeader(status int)         { p.status = status }

func TestAnEventOverHTTPCostsFewAllocations(t *testing.T) {
	q := &void{}
	handler := open(t, q).Handler()
	body := rewound{strings.NewReader(typical)}
	req, err := http.NewRequest(http.MethodPost, "http://x/v1/track", body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(len(typical))
	answer := &paper{header: http.Header{}}
	got := testing.AllocsPerRun(1_000, func() {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		clear(answer.header)
		if handler.ServeHTTP(answer, req); answer.status != http.StatusOK {
			t.Fatalf("status %d", answer.status)
		}
	})
	if taken := q.taken.Load(); taken != 1_001 {
		t.Fatalf("%d events taken, want 1001", taken)
	}
	t.Logf("%v allocations per event", got)
	if got > 4 {
		t.Errorf("%v allocations per event, want at most 4", got)
	}
}
