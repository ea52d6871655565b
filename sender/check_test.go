package sender

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

func TestTheAnswerToAnEmptyEventProvesTheKeyOrNot(t *testing.T) {
	for _, c := range []struct {
		a    answer
		ok   bool
		want string
	}{
		{answer{status: 400, kind: bodyObject}, true, "accepted"},
		{answer{status: 422, kind: bodyObject}, true, "accepted"},
		{answer{status: 401, kind: bodyObject}, false, "not accepted"},
		{answer{status: 403}, false, "not accepted"},
		{answer{status: 200, kind: bodyObject}, false, "should have been refused"},
		{answer{status: 200, kind: bodyOther}, false, "not how the events API answers"},
		{answer{status: 400, kind: bodyOther}, false, "not how the events API answers"},
		{answer{status: 404}, false, "not how the events API answers"},
		{answer{status: 302}, false, "not how the events API answers"},
		{answer{status: 429}, false, "in trouble"},
		{answer{status: 503}, false, "in trouble"},
		{answer{err: &proxyError{407}}, false, "wants credentials"},
		{answer{err: &proxyError{403}}, false, "does not let us through"},
		{answer{err: syscall.ECONNREFUSED}, false, "nothing listens there"},
	} {
		if got, ok := proves(c.a); ok != c.ok || !strings.Contains(got, c.want) {
			t.Errorf("%+v: got %q, %t", c.a, got, ok)
		}
	}
}

func TestCheckAsksAsTheSenderDoes(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if key, _, _ := r.BasicAuth(); key != "sesame" || r.URL.Path != "/v1/track" || r.Header.Get("X-Strict-Mode") != "1" || string(body) != "{}" {
			t.Errorf("asked %s with %v and %s", r.URL, r.Header, body)
		}
		w.WriteHeader(400)
		io.WriteString(w, `{"meta":{"errors":["sesame"]}}`)
	}))
	defer s.Close()
	o := Options{Settings: Settings{Key: "sesame"}, URL: s.URL + "/v1"}
	got, err := Check(t.Context(), o)
	if err != nil || got.Status != 400 || !got.Accepted || got.Text != `{"meta":{"errors":["[redacted]"]}}` {
		t.Errorf("got %+v, %v", got, err)
	}
	s.Close()
	if got, err := Check(t.Context(), o); err != nil || got.Err == nil || got.Accepted {
		t.Errorf("nobody there: %+v, %v", got, err)
	}
	o.URL = "nowhere"
	if _, err := Check(t.Context(), o); err == nil {
		t.Error("a url that is none was asked")
	}
}
