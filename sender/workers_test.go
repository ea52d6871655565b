package sender

import (
	"cmp"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trackd/event"
	"trackd/queue"
)

// firstOf is a transport that answers its first request in its own way and
// every other with 200.
type firstOf struct {
	status int // 0: an error
	body   string
	mu     sync.Mutex
	came   int
}

func (f *firstOf) RoundTrip(*http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	status, body := 200, "{}"
	if f.came++; f.came == 1 {
		status, body = f.status, f.body
	}
	if status == 0 {
		return nil, errors.New("gone")
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// idleScheduler is a scheduler that nobody runs: a test does what its loop does.
func idleScheduler(t testing.TB, transport http.RoundTripper, workers int) *scheduler {
	t.Helper()
	snd, err := New(Options{
		Settings: Settings{Key: "key"}, URL: "http://site.test", Workers: workers, Transport: cmp.Or(transport, http.RoundTripper(&firstOf{})),
		Queue: struct{ Queue }{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return newScheduler(snd)
}

func leasedItem(n uint64) *item {
	return &item{address: at(n), delivery: &queue.Delivery{Address: at(n), Event: event.Event{Body: []byte("{}")}}}
}

// Nobody reads the reports meanwhile: what the worker does next it decides
// alone.
func TestAWorkerThatMetTroubleTriesNothingMore(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int // 0: an error
		body   string
		goes   bool // on
	}{
		{"delivered", 200, "{}", true},
		{"the event is bad", 400, "{}", true},
		{"wrong key", 401, "", false},
		{"a portal", 200, "<html>", false},
		{"throttled", 429, "", false},
		{"out of order", 503, "", false},
		{"no answer", 0, "", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			far := &firstOf{status: c.status, body: c.body}
			s := idleScheduler(t, far, 2)
			s.jobs.put(job{item: leasedItem(1)})
			s.jobs.put(job{item: leasedItem(2)})
			go s.worker(t.Context())
			synctest.Wait()
			if want := map[bool]int{true: 2, false: 1}[c.goes]; far.came != want {
				t.Errorf("%s: %d requests, want %d", c.name, far.came, want)
			}
			if back := s.jobs.takeBack(); len(back) != map[bool]int{true: 0, false: 1}[c.goes] {
				t.Errorf("%s: %d jobs can be taken back", c.name, len(back))
			}
			// A probe is tried all the same.
			before := far.came
			s.jobs.put(job{item: leasedItem(3), probe: true})
			synctest.Wait()
			if far.came != before+1 {
				t.Errorf("%s: a probe was not tried", c.name)
			}
			s.jobs.close()
		})
	}
}

func TestWhatWorkersWaitForGoesOnceTroubleIsUnderstood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &firstOf{status: 503}
		s := idleScheduler(t, far, 2)
		for n := range uint64(3) {
			s.jobs.put(job{item: leasedItem(n)})
		}
		for range 2 {
			go s.worker(t.Context())
		}
		synctest.Wait()
		came := far.came
		if came > 2 {
			t.Fatalf("%d requests before the first answer was understood", came)
		}
		s.jobs.understood(1, true)
		synctest.Wait()
		if far.came != came {
			t.Errorf("a job was tried while they are held")
		}
		s.jobs.understood(0, false)
		synctest.Wait()
		if far.came != 3 {
			t.Errorf("%d requests after all was understood, want 3", far.came)
		}
		s.jobs.close()
	})
}

// asksForSilence is a transport that answers every request 429.
type asksForSilence struct{ asked int }

func (a *asksForSilence) RoundTrip(*http.Request) (*http.Response, error) {
	a.asked++
	return &http.Response{StatusCode: 429, Body: http.NoBody, Header: http.Header{"Retry-After": {"60"}}}, nil
}

func TestNothingIsTriedBetweenTroubleAndItsReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &asksForSilence{}
		s := idleScheduler(t, far, 1)
		go s.worker(t.Context())
		defer s.jobs.close()
		s.launch(leasedItem(1), fromOldest, false)
		synctest.Wait() // the worker has reported trouble

		s.step(time.Now()) // the scheduler comes round because of something else
		s.launch(leasedItem(2), fromOldest, false)
		synctest.Wait()
		if far.asked != 1 {
			t.Fatalf("%d requests before the first answer was understood, want 1", far.asked)
		}
		s.reported(<-s.reports)
		s.step(time.Now())
		synctest.Wait()
		if far.asked != 1 || len(s.window.ready) != 1 || len(s.outcomes) != 1 {
			t.Errorf("%d requests, %d held, %d outcomes, want one each", far.asked, len(s.window.ready), len(s.outcomes))
		}
		time.Sleep(time.Minute)
		s.step(time.Now())
		synctest.Wait()
		if far.asked == 1 {
			t.Error("nothing is tried after the silence")
		}
	})
}
