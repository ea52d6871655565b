package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"trackd/event"
)

// newHandler returns the HTTP handler, which keeps out browsers on other sites'
// behalf.
func (s *Server) newHandler() http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		denied := answer{status: http.StatusForbidden, code: codeCrossOrigin, message: "sourceHTTP pages of other origins may not call trackd"}
		denied.write(w)
	}))
	return guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := s.route(w, r); a != nil {
			if a.refuses {
				s.metrics.refused[a.code].Inc()
			}
			a.write(w)
		}
	}))
}

// route serves r. It returns nil when r was answered.
func (s *Server) route(w http.ResponseWriter, r *http.Request) *answer {
	rules := s.rules.Load()
	call, known := callOf(r.URL.Path)
	switch {
	case r.Context().Value(turnedAway{}) != nil:
		a := busy(codeTooMany, fmt.Sprintf("all %d connections are in use; try again later", rules.MaxHTTPConns))
		a.hangUp = true
		return a
	case !known:
		return notFound(r.URL.Path)
	case r.Method != http.MethodPost:
		return &answer{
			status: http.StatusMethodNotAllowed, header: [2]string{"Allow", http.MethodPost}, code: codeMethod,
			message: "only POST is served here",
		}
	case !rules.admit(r):
		return &answer{
			status: http.StatusUnauthorized, header: [2]string{"WWW-Authenticate", `Basic realm="trackd"`}, code: codeUnauthorized,
			message: "the ingest key is missing or wrong; send it as the user name of Basic auth",
		}
	case call == "track":
		return s.track(w, r, rules.Parser)
	case call == "batch":
		return s.batch(w, r, rules.Parser)
	}
	return s.otherCall(call)
}

// callOf returns the call that path names and whether the API has it.
func callOf(path string) (call string, known bool) {
	call, ok := strings.CutPrefix(strings.TrimSuffix(path, "/"), "/v1/")
	switch call {
	case "track", "batch", "identify", "page", "screen", "group", "alias":
		return call, ok
	case "import": // what some SDKs call the batch endpoint
		return "batch", ok
	}
	return "", false
}

// admit reports whether r bears the key, if one is asked for.
func (r *ruleset) admit(req *http.Request) bool {
	if !r.keyed {
		return true
	}
	user, _, _ := req.BasicAuth()
	sum := sha256.Sum256([]byte(user))
	return subtle.ConstantTimeCompare(sum[:], r.keySum[:]) == 1
}

// track takes one event. A bad one is not kept: its sender is told.
func (s *Server) track(w http.ResponseWriter, r *http.Request, parser event.Parser) *answer {
	p := s.posts.Get().(*post)
	defer s.putPost(p)
	if a := s.readBody(w, r, p, event.MaxDoorBytes); a != nil {
		return a
	}
	p.arena.reserve(len(p.body))
	ev, err := p.arena.parse(parser, p.body, time.Now())
	if err != nil {
		refusal := asRefusal(err)
		s.excluded.note(refusal)
		return bad(refusal)
	}
	p.batch.Events = append(p.batch.Events, ev)
	if a := notTaken(s.commit(s.cut, sourceHTTP, p.batch)); a != nil {
		return a
	}
	writeJSON(w, http.StatusOK, []byte("{}"))
	return nil
}

// batch takes many events. Bad ones are kept as rejects: SDKs send batches
// behind the back of the code that would have to know.
func (s *Server) batch(w http.ResponseWriter, r *http.Request, parser event.Parser) *answer {
	p := s.posts.Get().(*post)
	defer s.putPost(p)
	if a := s.readBody(w, r, p, event.MaxBatchBytes); a != nil {
		return a
	}
	items, err := parser.ParseBatch(p.body, time.Now())
	if err != nil {
		return bad(asRefusal(err))
	}
	faults := s.sortItems(p, items)
	res := s.commit(s.cut, sourceHTTP, p.batch)
	if a := notTaken(res); a != nil {
		return a
	}
	writeJSON(w, http.StatusOK, appendJSON(nil, batchReply{
		Accepted: res.accepted, Rejected: res.rejected, Refused: res.refused, Errors: faults,
	}))
	return nil
}

// sortItems puts items into the batch of p and returns what is wrong with the
// bad ones.
func (s *Server) sortItems(p *post, items []event.Item) (faults []fault) {
	for i, item := range items {
		if item.Err == nil {
			p.batch.Events = append(p.batch.Events, item.Event)
			continue
		}
		s.excluded.note(item.Err)
		p.batch.Rejects = append(p.batch.Rejects, reject(item.Raw, item.Err))
		if len(faults) < maxFaults {
			faults = append(faults, fault{Index: i, Code: string(item.Err.Code), Message: item.Err.Error()})
		}
	}
	return faults
}

// otherCall refuses a call that the destination has and trackd does not carry.
func (s *Server) otherCall(call string) *answer {
	refusal := &event.Error{Code: event.NotLifecycle, Problems: []event.Problem{{
		Field: "type", Found: strconv.Quote(call), Allowed: `"track", whatever the setting accept says`,
	}}}
	s.excluded.note(refusal)
	return bad(refusal)
}
