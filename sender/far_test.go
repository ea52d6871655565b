package sender_test

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"trackd/sender"
)

// far is a destination without a network, for what takes many requests: it
// answers by messageId, after a time.
type far struct {
	took time.Duration // until an answer comes

	mu     sync.Mutex // guards all below
	answer func(id string) trouble
	came   []arrival
}

// arrival is one request that reached a far.
type arrival struct {
	at     time.Time
	id     string
	passed bool
}

// trouble is what comes back instead of a delivery: a status, or for 0 nothing.
type trouble struct {
	name   string
	status int
	hang   bool
}

var (
	none      = trouble{"none", 200, false}
	fails500  = trouble{"500", 500, false}
	blocks403 = trouble{"403", 403, false}
	resetting = trouble{"reset", 0, false}
	timingOut = trouble{"time-out", 0, true}
	says429   = trouble{"429", 429, false}
	says401   = trouble{"401", 401, false}
)

// eachTrouble are those that an event or a destination may have alike.
var eachTrouble = []trouble{fails500, blocks403, resetting, timingOut}

// bad answers those whose id begins with "bad" with t and passes the others.
func bad(t trouble) func(string) trouble {
	return func(id string) trouble {
		if strings.HasPrefix(id, "bad") {
			return t
		}
		return none
	}
}

func all(t trouble) func(string) trouble { return func(string) trouble { return t } }

func (f *far) set(answer func(string) trouble) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// RoundTrip implements http.RoundTripper.
func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, _ := io.ReadAll(r.Body)
	r.Body.Close()
	id := strings.TrimSuffix(strings.TrimPrefix(string(raw), `{"messageId":"`), `"}`)
	f.mu.Lock()
	t := f.answer(id)
	f.came = append(f.came, arrival{time.Now(), id, t.status == 200})
	f.mu.Unlock()
	if t.hang {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	time.Sleep(f.took)
	if t.status == 0 {
		return nil, &netError{syscall.ECONNRESET}
	}
	return &http.Response{StatusCode: t.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
}

type netError struct{ error }

func (e *netError) Unwrap() error { return e.error }

// requests counts those since from.
func (f *far) requests(from time.Time) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.came {
		if !a.at.Before(from) {
			n++
		}
	}
	return n
}

// passes returns when events were delivered, in order.
func (f *far) passes() (at []time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.came {
		if a.passed {
			at = append(at, a.at)
		}
	}
	return at
}

// toFar runs a sender with default settings from q to f.
func toFar(t testing.TB, q sender.Queue, f *far, change ...func(*sender.Options)) *running {
	t.Helper()
	o := sender.Options{Settings: sender.Settings{Key: "key"}, URL: "http://far.test/v1", Queue: q, Transport: f}
	for _, c := range change {
		c(&o)
	}
	return begin(t, o)
}
