package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"trackd/event"
)

// newHandler returns the HTTP handler, which keeps out browsers on other sites'
// behalf.
func (s *Server) newHandler() http.Handler {
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.bounce(w, r, &answer{status: http.StatusForbidden, code: codeCrossOrigin, message: "web pages of other origins may not call trackd"})
	}))
	return guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a := s.route(w, r); a != nil && a.kept {
			a.write(w)
		} else if a != nil {
			s.bounce(w, r, a)
		}
	}))
}

// serverHandler returns the handler of a listener, whose connections are each an
// httpConn. On TCP, which browsers reach, requests may name no foreign host.
func (s *Server) serverHandler(tcp bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(connKey{}).(*httpConn).handled.Store(true)
		if !tcp || s.opts.Hosts.Allow(r.Host) {
			s.handler.ServeHTTP(w, r)
			return
		}
		s.bounce(w, r, &answer{status: http.StatusForbidden, code: codeForeignHost, message: fmt.Sprintf(
			"the request names the host %.80q: allowed are loopback names, literal addresses and the names in ingest.hosts", r.Host)})
	})
}

// bounce answers a request of which nothing is kept.
func (s *Server) bounce(w http.ResponseWriter, r *http.Request, a *answer) {
	s.bounced.note(a.code, func() (client, sample string) {
		return r.UserAgent(), r.Method + " " + samplePath(r.URL.Path) + ": " + a.message
	})
	a.write(w)
}

// route serves r. It returns nil when r was answered.
func (s *Server) route(w http.ResponseWriter, r *http.Request) *answer {
	rules := s.rules.Load()
	call, known := callOf(r.URL.Path)
	switch {
	case ofTurnedAway(r):
		a := busy(codeTooMany, fmt.Sprintf("all %d connections are in use; try again later", s.opts.HTTPConns.Max()))
		a.hangUp = true
		return a
	case !known:
		return notFound(r.URL.Path)
	case r.Method != http.MethodPost:
		return &answer{
			status: http.StatusMethodNotAllowed, header: [2]string{"Allow", http.MethodPost}, code: codeMethod,
			message: "only POST is served here",
		}
	case !rules.admit(r) && r.Header.Get("Authorization") != "": // else the key may be in the body
		return unauthorized()
	case call == "batch":
		return s.takeBatch(w, r, rules.Parser)
	}
	endpoint, _ := event.ParseType(call) // callOf knows these
	return s.takeOne(w, r, rules.Parser.At(endpoint))
}

// ofTurnedAway reports whether the connection of r found no place.
func ofTurnedAway(r *http.Request) bool {
	c, ok := r.Context().Value(connKey{}).(*httpConn)
	return ok && c.place.TurnedAway()
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

// admit reports whether r bears the key as the user name of Basic auth, if one is
// asked for.
func (r *ruleset) admit(req *http.Request) bool {
	user, _, _ := req.BasicAuth()
	return !r.keyed || r.isKey(user)
}

// isKey reports whether text is the key, in a time that does not tell how much
// of it is right.
func (r *ruleset) isKey(text string) bool {
	sum := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(sum[:], r.keySum[:]) == 1
}
