package ingest

import (
	"net/http/httptest"
	"strings"
	"testing"

	"trackd/event"
)

// Every call, through everything it can come through.
func TestEveryCallPassesWhereAllAreAccepted(t *testing.T) {
	calls := map[event.Type]string{
		event.TypeTrack:    `{"event":"Order Completed","userId":"u"}`,
		event.TypeIdentify: `{"userId":"u","traits":{"plan":"pro"}}`,
		event.TypePage:     `{"anonymousId":"a","name":""}`,
		event.TypeScreen:   `{"userId":"u","name":"Main"}`,
		event.TypeGroup:    `{"groupId":"g"}`,
		event.TypeAlias:    `{"userId":"u","previousId":"a"}`,
	}
	typed := func(call event.Type) string {
		return strings.Replace(calls[call], "{", `{"type":"`+call.String()+`",`, 1)
	}
	q := &shelf{}
	all := func(o *Options) { o.Rules.Parser.Accept = event.All }
	check := func(through string, call event.Type) {
		t.Helper()
		events, rejects := q.kept()
		if len(events) != 1 || len(rejects) != 0 || events[0].Type != call || !strings.Contains(string(events[0].Body), `"type":"`+call.String()+`"`) {
			t.Errorf("%v through %s: got %+v and %+v", call, through, events, rejects)
		}
		q.events, q.rejects = nil, nil
	}
	for _, call := range event.Types() {
		for _, body := range []string{calls[call], typed(call)} {
			w := httptest.NewRecorder()
			open(t, q, all).Handler().ServeHTTP(w, request("POST", "/v1/"+call.String(), body))
			check("its endpoint", call)
		}
		for _, path := range []string{"/v1/batch", "/v1/import/"} {
			w := httptest.NewRecorder()
			open(t, q, all).Handler().ServeHTTP(w, request("POST", path, `{"batch":[`+typed(call)+`]}`))
			check(path, call)
		}
		overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
			c := ln.dial(t)
			c.send(typed(call) + "\n")
			c.await("1/0/0")
			c.hangUp()
			c.rest()
		}, all)
		check("the socket", call)
		if err := open(t, q, all).Take([]byte(typed(call))); err != nil {
			t.Errorf("%v from an operator: %v", call, err)
		}
		check("an operator", call)
	}
}

func TestACallThatContradictsItsEndpointIsBadWhateverIsAccepted(t *testing.T) {
	for _, accept := range []event.Accept{event.Lifecycle, event.Track, event.All} {
		q := &shelf{}
		s := open(t, q, func(o *Options) { o.Rules.Parser.Accept = accept })
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, request("POST", "/v1/page", `{"type":"screen","userId":"u"}`))
		if w.Code != 400 || !strings.Contains(w.Body.String(), "as the endpoint says") {
			t.Errorf("accept %v: %d %s, want 400 and why", accept, w.Code, w.Body)
		}
		q.checkKept(t, 0, 1)
	}
}
