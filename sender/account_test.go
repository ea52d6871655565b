package sender_test

import (
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// excess is what an account does with requests over its limit.
type excess string

const (
	answers429 excess = "429"
	asksToWait excess = "429, Retry-After: 3"
	drops      excess = "200 and dropped"
)

// account is a destination that many hosts share. It takes 1,000 requests a
// second and up to 3,000 at once, which is the documented 3,000 in 3 s, and
// answers after 20 to 60 ms.
type account struct {
	over excess

	mu      sync.Mutex // guards all below
	down    bool       // answers 503
	bucket  *rate.Limiter
	offered []time.Time // every request
	hosts   []tally
	open    int // events not yet answered 200
}

// tally is what one host got rid of.
type tally struct {
	kept, lost, throttled int
	first, last           time.Time // answers 200
}

func newAccount(f fleet) *account {
	return &account{
		over:   f.over,
		bucket: rate.NewLimiter(1000, 3000),
		hosts:  make([]tally, f.hosts),
		open:   f.hosts * f.backlog,
	}
}

// roundTripper is a function that answers requests.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// host returns the way of host i to the account.
func (a *account) host(i int) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Body.Close()
		time.Sleep(20*time.Millisecond + rand.N(40*time.Millisecond))
		resp := &http.Response{StatusCode: a.answer(i, time.Now()), Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}
		if resp.StatusCode == http.StatusTooManyRequests && a.over == asksToWait {
			resp.Header.Set("Retry-After", "3")
		}
		return resp, nil
	})
}

// answer returns the status for one request of host i.
func (a *account) answer(i int, now time.Time) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.offered = append(a.offered, now)
	host := &a.hosts[i]
	switch {
	case a.down:
		return http.StatusServiceUnavailable
	case a.bucket.AllowN(now, 1):
		host.kept++
	case a.over == drops:
		host.lost++
	default:
		host.throttled++
		return http.StatusTooManyRequests
	}
	if host.first.IsZero() {
		host.first = now
	}
	host.last = now
	a.open--
	return http.StatusOK
}

// recover ends the outage and returns when.
func (a *account) recover() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.down = false
	return time.Now()
}

// left returns how many events were not answered 200 yet.
func (a *account) left() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open
}

// measure sums up what happened since begun, with the recovery at up.
func (a *account) measure(f fleet, begun, up time.Time) drain {
	a.mu.Lock()
	defer a.mu.Unlock()
	events := float64(f.hosts * f.backlog)
	d := drain{fleet: f, ideal: time.Duration(max(0, events-3000) / 1000 * float64(time.Second))}
	var fromUp, fromOpen []float64
	var throttled, lost int
	for _, h := range a.hosts {
		d.took = max(d.took, h.last.Sub(up))
		fromUp = append(fromUp, float64(f.backlog)/h.last.Sub(up).Seconds())
		fromOpen = append(fromOpen, float64(f.backlog)/h.last.Sub(h.first).Seconds())
		throttled += h.throttled
		lost += h.lost
	}
	calm := begun.Add(up.Sub(begun) / 2)
	probes, requests := 0, 0
	for _, at := range a.offered {
		switch {
		case !at.Before(up):
			requests++
		case at.After(calm):
			probes++
		}
	}
	d.probes = int(float64(probes) / up.Sub(calm).Minutes())
	d.offered = float64(requests) / events
	d.mean = float64(requests) / d.took.Seconds()
	d.busiest = busiest(a.offered, up)
	d.throttled = float64(throttled) / float64(requests)
	d.lost = float64(lost) / events
	d.fromUp, d.fromOpen = jain(fromUp), jain(fromOpen)
	return d
}

// busiest returns the most of times, which are in order, that lie within one
// second, not before from.
func busiest(times []time.Time, from time.Time) (most int) {
	first := 0
	for i, at := range times {
		for times[first].Before(from) && first < i || at.Sub(times[first]) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// jain returns Jain's fairness index of shares: 1 when all are equal, 1/n when
// one has everything.
func jain(shares []float64) float64 {
	var sum, squares float64
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	return sum * sum / (float64(len(shares)) * squares)
}
