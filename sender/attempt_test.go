package sender

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"trackd/event"
)

func TestARequestIsWhatTheDestinationAsksFor(t *testing.T) {
	const body = `{"type":"track","event":"Application Opened","x":" \u00e9 "}`
	var got *http.Request
	var sent string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		got, sent = r, string(raw)
		io.WriteString(w, "{}")
	}))
	defer s.Close()
	c := dialled(t, s.URL+"/v1/", func(o *Options) { o.Version = "1.2.3" })
	if v, r := judge(c.attempt(t.Context(), event.TypeTrack, []byte(body), nil)); v != delivered {
		t.Fatalf("judged %d %s", v, r)
	}
	if got.Method != "POST" || got.URL.Path != "/v1/track" || sent != body || got.ContentLength != int64(len(body)) {
		t.Errorf("%s %s of %d bytes: %s", got.Method, got.URL, got.ContentLength, sent)
	}
	for name, want := range map[string]string{
		"X-Strict-Mode":   "1",
		"Content-Type":    "application/json",
		"User-Agent":      "trackd/1.2.3",
		"Idempotency-Key": "",
	} {
		if value := got.Header.Get(name); value != want {
			t.Errorf("%s: %q, want %q", name, value, want)
		}
	}
	if user, password, ok := got.BasicAuth(); user != "sesame" || password != "" || !ok {
		t.Errorf("Basic auth is %q:%q", user, password)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the redirect was followed, with the key")
	}))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusPermanentRedirect))
	defer s.Close()
	a := dialled(t, s.URL, nil).attempt(t.Context(), event.TypeTrack, []byte("{}"), nil)
	if v, r := judge(a); v != deny || r != resultRedirect {
		t.Errorf("judged %d %s", v, r)
	}
}

// failing is a transport that answers everything with err.
type failing struct{ err error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.err }

func TestTheKeyNeverShows(t *testing.T) {
	t.Run("in an error", func(t *testing.T) {
		broken := &url.Error{Op: "Post", URL: "http://sesame@host/v1", Err: errors.New("sent c2VzYW1lOg== of sesame")}
		c, err := newClient(Options{Settings: Settings{Key: "sesame"}, URL: "http://host", Transport: failing{broken}, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		got := c.attempt(t.Context(), event.TypeTrack, nil, nil).summary()
		if want := "sent [redacted] of [redacted]"; got != want {
			t.Errorf("summary = %q, want %q", got, want)
		}
	})
	t.Run("in what the far side says", func(t *testing.T) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(400)
			io.WriteString(w, `{"you sent":"`+r.Header.Get("Authorization")+`"}`)
		}))
		defer s.Close()
		got := dialled(t, s.URL, nil).attempt(t.Context(), event.TypeTrack, []byte("{}"), nil).detail()
		if want := `{"you sent":"Basic [redacted]"}`; got != want {
			t.Errorf("detail = %q, want %q", got, want)
		}
	})
	t.Run("in a problem with options", func(t *testing.T) {
		_, err := New(Options{URL: "http://sesame:x@host", Settings: Settings{Key: "ses ame"}})
		if err == nil || strings.Contains(err.Error(), "ses") {
			t.Errorf("error = %v, want one without the key", err)
		}
	})
}

func TestWhatIsKeptOfAnAnswerIsBounded(t *testing.T) {
	for name, c := range map[string]struct{ size, want int }{
		"small":  {100, 100},
		"large":  {maxAnswer, maxText},
		"larger": {10 * maxAnswer, maxText},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(400)
				io.WriteString(w, strings.Repeat("x", c.size))
			}))
			defer s.Close()
			a := dialled(t, s.URL, nil).attempt(t.Context(), event.TypeTrack, []byte("{}"), make([]byte, 16))
			if len(a.text) != c.want || a.kind != bodyOther {
				t.Errorf("kept %d bytes of kind %d, want %d", len(a.text), a.kind, c.want)
			}
		})
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name, value, date string
		want              time.Duration
	}{
		{"absent", "", "", 0},
		{"seconds", "7", "", 7 * time.Second},
		{"zero", "0", "", 0},
		{"too many seconds", "18446744073709551615", "", longestAsk},
		{"date by our clock", "Sun, 01 Mar 2026 12:01:00 GMT", "", time.Minute},
		{"date by its clock", "Sun, 01 Mar 2026 15:01:00 GMT", "Sun, 01 Mar 2026 15:00:30 GMT", 30 * time.Second},
		{"far date", "Sun, 01 Mar 2037 12:01:00 GMT", "", longestAsk},
		{"past date", "Sun, 01 Mar 2015 12:01:00 GMT", "", 0},
		{"negative", "-1", "", 0},
		{"fraction", "1.5", "", 0},
		{"words", "later", "", 0},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.value)
		h.Set("Date", c.date)
		if got := retryAfter(h, now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
