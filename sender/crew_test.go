package sender

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
)

// firstOf is a transport that answers its first request in its own way and
// every other with 200.
type firstOf struct {
	status int // 0: an error
	body   string
	came   int
}

func (f *firstOf) RoundTrip(*http.Request) (*http.Response, error) {
	status, body := 200, "{}"
	if f.came++; f.came == 1 {
		status, body = f.status, f.body
	}
	if status == 0 {
		return nil, errors.New("gone")
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// unmanned is a scheduler with two workers to come and nobody in its loop.
func unmanned(t testing.TB, transport http.RoundTripper) *scheduler {
	t.Helper()
	snd, err := New(Options{
		Settings: Settings{Key: "key"}, URL: "http://crew.test", Workers: 2, Transport: transport,
		Queue: struct{ Queue }{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return newScheduler(snd)
}

// Nobody reads the reports meanwhile: what the worker does next it decides
// alone.
func TestAWorkerThatMetTroubleTriesNothingButProbes(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  firstOf
		second verdict
	}{
		{"delivered", firstOf{status: 200, body: "{}"}, delivered},
		{"the event is bad", firstOf{status: 400, body: "{}"}, delivered},
		{"wrong key", firstOf{status: 401}, untried},
		{"a portal", firstOf{status: 200, body: "<html>"}, untried},
		{"throttled", firstOf{status: 429}, untried},
		{"out of order", firstOf{status: 503}, untried},
		{"no answer", firstOf{}, untried},
	} {
		s := unmanned(t, &c.first)
		for i := range uint64(3) {
			s.jobs <- job{delivery: queue.Delivery{Address: queue.Address{Lo: i}, Event: event.Event{Body: []byte("{}")}}, probe: i == 2}
		}
		close(s.jobs)
		s.worker(t.Context())
		first, second, probe := <-s.reports, <-s.reports, <-s.reports
		if first.verdict == untried || second.verdict != c.second || probe.verdict != delivered {
			t.Errorf("%s: verdicts %d, %d, and %d of the probe, want %d second and %d of the probe",
				c.name, first.verdict, second.verdict, probe.verdict, c.second, delivered)
		}
		tried := 3
		if c.second == untried {
			tried = 2
		}
		if c.first.came != tried {
			t.Errorf("%s: %d requests, want %d", c.name, c.first.came, tried)
		}
	}
}

// What is known of the line holds for jobs that no worker has come to yet, also
// when the report that told it is read.
func TestWhatIsLaunchedIsNotTriedOnALineThatIsNotOpen(t *testing.T) {
	ok, denied := firstOf{status: 200, body: "{}"}, firstOf{status: 401}
	for name, c := range map[string]struct {
		far   firstOf
		close func(*scheduler)
		want  verdict
	}{
		"open":     {ok, func(s *scheduler) { s.step(time.Now()) }, delivered},
		"paused":   {ok, func(s *scheduler) { s.Pause(); s.step(time.Now()) }, untried},
		"denied":   {denied, func(s *scheduler) { s.launch(queue.Delivery{}, false); s.reported(<-s.reports) }, untried},
		"stopping": {ok, func(s *scheduler) { s.stopping = true; s.step(time.Now()) }, untried},
	} {
		t.Run(name, func(t *testing.T) {
			s := unmanned(t, &c.far)
			var worker sync.WaitGroup
			worker.Go(func() { s.worker(t.Context()) })
			c.close(s)
			before := c.far.came
			s.launch(queue.Delivery{}, false)
			if r := <-s.reports; r.verdict != c.want {
				t.Errorf("verdict %d, want %d", r.verdict, c.want)
			}
			close(s.jobs)
			worker.Wait()
			if tried := c.far.came > before; tried != (c.want == delivered) {
				t.Errorf("tried: %t", tried)
			}
		})
	}
}
