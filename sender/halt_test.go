package sender

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
)

// asksForSilence is a transport that answers every request 429.
type asksForSilence struct{ asked int }

func (a *asksForSilence) RoundTrip(*http.Request) (*http.Response, error) {
	a.asked++
	return &http.Response{StatusCode: 429, Body: http.NoBody, Header: http.Header{"Retry-After": {"60"}}}, nil
}

func TestNothingIsTriedBetweenTroubleAndItsReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &asksForSilence{}
		snd, err := New(Options{Settings: Settings{Key: "key"}, URL: "http://site.test/v1", Queue: struct{ Queue }{}, Transport: far, Workers: 1})
		if err != nil {
			t.Fatal(err)
		}
		s := newScheduler(snd)
		go s.worker(t.Context())
		defer close(s.jobs)
		launch := func(n uint64) { s.launch(queue.Delivery{Address: queue.Address{Lo: n}}, false) }
		launch(1)
		synctest.Wait() // the worker has reported trouble

		s.step(time.Now()) // the scheduler comes round because of something else
		launch(2)
		synctest.Wait()
		if far.asked != 1 {
			t.Fatalf("%d requests before the first answer was heeded, want 1", far.asked)
		}
		s.reported(<-s.reports) // both
		launch(3)
		synctest.Wait()
		if far.asked != 1 {
			t.Errorf("%d requests although silence was asked for, want 1", far.asked)
		}
		if len(s.held) != 1 || len(s.outcomes) != 1 {
			t.Errorf("%d held, %d outcomes, want one each", len(s.held), len(s.outcomes))
		}
		s.reported(<-s.reports)

		time.Sleep(time.Minute)
		s.step(time.Now())
		synctest.Wait()
		if far.asked == 1 {
			t.Error("nothing is tried after the silence")
		}
	})
}
