// Package sandbox is a stand-in for Customer.io's Data Pipelines API, with
// trouble on demand. An app developer runs it on a laptop in place of the real
// thing; the demo, the crash tests and the soak run against it.
//
// It answers POST /v1/{identify,track,page,screen,group,alias} as the API
// documents it: with X-Strict-Mode: 1 a wrong key is 401 and a bad event 400
// with {"meta":{"errors":[…]}}; without it everything is 200 {} and what was bad
// is dropped. POST /v1/batch, and /v1/import alike, take {"batch":[…]} of such
// calls, each with its type; where the API is silent, a strict batch with a bad
// item is refused whole. An event may have 32,000 bytes, a batch 500,000.
//
// It counts what it accepted by messageId, so that a missing event and one
// that came twice can be told, and it remembers the latest calls for reading:
// a page at / shows them to a browser, GET /sandbox/received to a program. GET
// /sandbox/expect waits for events, for tests of an app that sends some.
//
// It imports nothing else of this module and judges by its own schema.json,
// so that agreement between the two means something. It keeps everything in
// memory and is not made to face the internet.
//
// # Trouble
//
// A [Trouble] is a list of rules; the first that applies to a call decides
// what becomes of it. Where no rule applies, the answer is the documented one. A
// rule usually names a preset:
//
//	well          the documented answer; spares what later rules would hit
//	down          the connection is closed without an answer
//	slow          the documented answer, after 2 s
//	hang          no answer until the client gives up
//	reset         the connection is reset before an answer
//	reset_midway  the connection is reset amid a 200
//	cut           a 200 is cut off amid its body
//	answer_lost   the event is accepted, then the connection is reset
//	unauthorized  401, as for a wrong key
//	forbidden     403
//	not_found     404
//	throttled     429 without Retry-After
//	retry_after   429 with Retry-After: 2
//	retry_at      429 with Retry-After as a date 2 s ahead
//	unavailable   503
//	flaky         503 for 3 calls in 10
//	refuse        400 with a JSON body, as for a bad event
//	poison        500
//	proxy_ok      200 with a proxy's HTML page
//	proxy_bad     400 with a proxy's HTML page
//	redirect      302 to a sign-in page
//	busy          429 for what exceeds 3,000 calls in 3 s
//	lossy         200 for what exceeds 3,000 calls in 3 s, and drops it
//
// and may narrow or change it:
//
//	curl -X PUT localhost:8500/sandbox/trouble -d '{"preset":"down","for":"30s"}'
//	curl -X PUT localhost:8500/sandbox/trouble -d '{"preset":"slow","do":{"delay":"5s"},"rate":0.1}'
//	curl -X PUT localhost:8500/sandbox/trouble -d '{"preset":"refuse","match":{"event":"Application Crashed"}}'
//	curl -X PUT localhost:8500/sandbox/trouble -d '[{"do":{"status":502},"count":3},{"preset":"hang","after":"10s"}]'
//	curl -X DELETE localhost:8500/sandbox/trouble
//
// A [Script] is a sequence of troubles, each at its time.
//
// Reading order: sandbox.go (the server), call.go (what a call is and how the
// API documents its answer), schema.go and decode.go (what is valid), counters.go
// (what arrived), trouble.go, presets.go and rules.go (what goes wrong, and for
// whom), answer.go (how it goes wrong), control.go (/sandbox/…), page.go (/),
// script.go.
package sandbox

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options configure a Server. The zero value is ready to use.
type Options struct {
	// Key is the API key that callers must give as the user name of basic
	// auth; the password is not looked at. Default "": any non-empty one.
	Key string

	// Trouble is what goes wrong from the start. Default: nothing.
	Trouble Trouble

	// Remember is how many of the latest calls are kept for reading, at most
	// 32,000 bytes of each. Default 0: 1,000. Negative: none.
	Remember int

	// Seed makes Rule.Rate hit the same calls in every run. Default 0, which is
	// a seed like any other.
	Seed uint64

	// Print gets a line for each event of each call: time, type, name or id,
	// and the answer's status. Default: nothing is printed.
	Print io.Writer

	// Log gets a message when the trouble changes. Default: it is not told.
	Log *slog.Logger
}

// Server is the stand-in, an http.Handler. It starts no goroutine and all its
// methods are safe for concurrent use. Time-outs are those of the http.Server
// it runs in; a call that hangs ends with the request's context.
type Server struct {
	key      string
	log      *slog.Logger
	mux      *http.ServeMux
	counters *counters
	rules    *ruleSet

	printMu sync.Mutex
	print   io.Writer // guarded by printMu; nil: nothing is printed
}

// New returns a Server. The error names what is wrong with options.Trouble.
func New(options Options) (*Server, error) {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.Remember == 0 {
		options.Remember = 1000
	}
	s := &Server{
		key:      options.Key,
		log:      options.Log,
		mux:      http.NewServeMux(),
		counters: newCounters(max(options.Remember, 0)),
		rules:    newRuleSet(options.Seed),
		print:    options.Print,
	}
	if err := s.rules.set(options.Trouble, time.Now()); err != nil {
		return nil, err
	}
	if _, err := compiledSchemas(); err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

// routes lists every path there is; all others are 404.
func (s *Server) routes() {
	for _, callType := range callTypes() {
		s.mux.HandleFunc("POST /v1/"+callType, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, callType) })
	}
	for _, path := range []string{"/v1/batch", "/v1/import"} {
		s.mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, "") })
	}
	s.mux.HandleFunc("GET /sandbox/received", s.showReceived)
	s.mux.HandleFunc("DELETE /sandbox/received", s.forgetReceived)
	s.mux.HandleFunc("GET /sandbox/trouble", s.showTrouble)
	s.mux.HandleFunc("PUT /sandbox/trouble", s.putTrouble)
	s.mux.HandleFunc("DELETE /sandbox/trouble", s.endTrouble)
	s.mux.HandleFunc("GET /sandbox/expect", s.expect)
	s.mux.HandleFunc("GET /sandbox/style.css", showStyle)
	s.mux.HandleFunc("GET /{$}", s.showHome)
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// SetTrouble replaces the trouble from the next call on; nil ends it. Calls
// already in trouble stay there. The error lists everything wrong with t, and
// then nothing was changed. What t refers to must not be changed afterwards.
func (s *Server) SetTrouble(t Trouble) error {
	if err := s.rules.set(t, time.Now()); err != nil {
		return err
	}
	s.log.Info("trouble changed", "rules", t.names())
	return nil
}

// Trouble returns what SetTrouble was last given. It must not be changed.
func (s *Server) Trouble() Trouble { return s.rules.trouble() }

// Received returns the counts so far.
func (s *Server) Received() Received { return s.counters.received() }

// IDs returns how often each messageId was accepted. The map is the caller's.
func (s *Server) IDs() map[string]uint32 { return s.counters.copyIDs() }

// Recent returns at most n of the latest calls, the latest first.
func (s *Server) Recent(n int) []Call { return s.counters.recent(n) }

// Forget sets all counts to zero and forgets all calls.
func (s *Server) Forget() { s.counters.forget() }

// serve reads a call of type callType, or a batch where that is "", lets the
// trouble decide, and answers. Everything is counted before the answer leaves,
// so that whoever has the answer finds it counted.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, callType string) {
	c, err := s.readCall(r, callType)
	if err != nil { // not a whole call, so it is not counted
		answer{status: http.StatusBadRequest, body: errorBody(err.Error())}.send(w, r)
		return
	}
	a := s.rules.decide(c).apply(r.Context(), c)
	s.counters.count(c, a)
	s.printCall(c, a)
	a.send(w, r)
}

// printCall prints a line for each event of c. Names and ids are quoted where
// they hold what a terminal might obey.
func (s *Server) printCall(c *call, a answer) {
	if s.print == nil {
		return
	}
	outcome := string(a.end)
	if a.end == Whole {
		outcome = strconv.Itoa(a.status)
	}
	var lines []byte
	for _, e := range c.events {
		what := "-"
		if said := cmp.Or(e.name, e.userID, e.anonymousID, e.groupID); said != "" {
			what = strconv.Quote(said)
		}
		lines = fmt.Appendf(lines, "%s  %-8s  %s  %s", c.at.Format("15:04:05.000"), cmp.Or(printable(e.callType), "-"), what, outcome)
		if len(e.problems) > 0 {
			lines = fmt.Appendf(lines, "  %s", strings.Join(e.problems, "; "))
		}
		lines = append(lines, '\n')
	}
	s.printMu.Lock()
	defer s.printMu.Unlock()
	_, _ = s.print.Write(lines) // an error means that nobody reads
}

// printable quotes text unless it is plain.
func printable(text string) string {
	if quoted := strconv.Quote(text); quoted[1:len(quoted)-1] != text {
		return quoted
	}
	return text
}
