package sender_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"trackd/sender"
)

func TestAStallThatEndsLetsNoMoreOutThanTheBurst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		stalled := make(chan struct{})
		s.set(func(w http.ResponseWriter, r *http.Request, id string) int {
			<-stalled
			return passes(w, r, id)
		})
		snd := start(t, q, s, func(o *sender.Options) { o.Rate, o.Burst, o.Workers = 10, 4, 8 })
		q.add(ids("e", 100)...)
		time.Sleep(5 * time.Second)
		from := time.Now()
		close(stalled)
		time.Sleep(5 * time.Second)
		if n := s.within(from, from.Add(50*time.Millisecond)); n != 4 {
			t.Errorf("%d requests at once when the stall ended, want the burst of 4", n)
		}
		if n := s.within(from, from.Add(5*time.Second)); n < 52 || n > 54 {
			t.Errorf("%d requests in 5 s, want the burst and 10 a second", n)
		}
		snd.end(t)
	})
}

// answers is a transport that answers the nth request with the nth of them, and
// all later ones with the last.
type answers struct {
	next atomic.Int32
	all  []func() (*http.Response, error)
}

func (a *answers) RoundTrip(*http.Request) (*http.Response, error) {
	return a.all[min(int(a.next.Add(1)), len(a.all))-1]()
}

func status(code int) func() (*http.Response, error) {
	return func() (*http.Response, error) {
		return &http.Response{StatusCode: code, Body: http.NoBody, Header: http.Header{}}, nil
	}
}

func TestAProbeThatWasCancelledByOthersIsNotTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newMemQueue()
		cancelled := func() (*http.Response, error) { return nil, context.Canceled }
		snd := begin(t, sender.Options{
			Settings: sender.Settings{Key: "key"}, URL: "http://site.test/v1", Queue: q,
			Transport: &answers{all: []func() (*http.Response, error){status(401), cancelled, status(200)}},
		})
		q.add(ids("e", 3)...)
		time.Sleep(time.Minute)
		if got := snd.Upstream().State; got != sender.Open {
			t.Errorf("upstream is %s, want open", got)
		}
		snd.end(t)
		wantAccount(t, q, 3, 0)
	})
}
