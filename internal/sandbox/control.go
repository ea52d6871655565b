package sandbox

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxTroubleBytes = 64 << 10 // of a body of PUT /sandbox/trouble

	defaultExpectTimeout = 10 * time.Second
	maxExpectTimeout     = 10 * time.Minute
	expectLatest         = 5 // calls told when events did not come
)

// showReceived answers with the counts; with ?last=N also with the latest
// calls, with ?ids=1 with a line per messageId instead.
func (s *Server) showReceived(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("ids") == "1" {
		s.showIDs(w)
		return
	}
	var reply struct {
		Received
		Calls []Call `json:"latest,omitzero"`
	}
	if last := r.FormValue("last"); last != "" {
		n, err := strconv.Atoi(last)
		if err != nil || n < 0 {
			refuse(w, fmt.Errorf(`"last" must be a number of calls, found %q`, last))
			return
		}
		reply.Calls = s.Recent(n)
	}
	reply.Received = s.Received()
	show(w, reply)
}

// showIDs streams how often each messageId was accepted, as NDJSON in no order.
func (s *Server) showIDs(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc := jsontext.NewEncoder(w)
	var line struct {
		MessageID string `json:"message_id"`
		Count     uint32 `json:"count"`
	}
	for id, count := range s.IDs() {
		line.MessageID, line.Count = id, count
		if json.MarshalEncode(enc, line) != nil {
			return // the client left
		}
	}
}

// expect waits until ?count=N different messageIds were accepted, at most for
// ?timeout=10s, and answers 200 or 408 with the counts, at 408 with the latest
// calls too, so that the log of a failed test says what came instead.
func (s *Server) expect(w http.ResponseWriter, r *http.Request) {
	count, err := strconv.Atoi(r.FormValue("count"))
	if err != nil || count < 1 {
		refuse(w, fmt.Errorf(`"count" must be a number of events, at least 1, found %q`, r.FormValue("count")))
		return
	}
	timeout := defaultExpectTimeout
	if text := r.FormValue("timeout"); text != "" {
		timeout, err = time.ParseDuration(text)
		if err != nil || timeout < 0 || timeout > maxExpectTimeout {
			refuse(w, fmt.Errorf(`"timeout" must be a duration such as "10s", at most %v, found %q`, maxExpectTimeout, text))
			return
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	start := time.Now()
	reached, forget := s.counters.await(count)
	defer forget()
	status := http.StatusOK
	select {
	case <-reached:
	case <-ctx.Done():
		status = http.StatusRequestTimeout
	}

	var reply struct {
		Expected int    `json:"expected"`
		WaitedMS int64  `json:"waited_ms"`
		Received        // embedded: its members stand beside
		Calls    []Call `json:"latest,omitzero"`
	}
	reply.Expected, reply.WaitedMS, reply.Received = count, time.Since(start).Milliseconds(), s.Received()
	if status != http.StatusOK {
		reply.Calls = s.Recent(expectLatest)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	show(w, reply)
}

// forgetReceived starts the counts anew.
func (s *Server) forgetReceived(w http.ResponseWriter, _ *http.Request) {
	s.Forget()
	show(w, s.Received())
}

// showTrouble answers with the trouble, in the form that PUT takes.
func (s *Server) showTrouble(w http.ResponseWriter, _ *http.Request) { show(w, s.Trouble()) }

// putTrouble sets the trouble.
func (s *Server) putTrouble(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxTroubleBytes))
	if err != nil {
		refuse(w, fmt.Errorf("read trouble: %w", err))
		return
	}
	trouble, err := ParseTrouble(data)
	if err == nil {
		err = s.SetTrouble(trouble)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	show(w, s.Trouble())
}

// endTrouble makes all well.
func (s *Server) endTrouble(w http.ResponseWriter, _ *http.Request) {
	_ = s.SetTrouble(nil) // no trouble is never wrong
	show(w, s.Trouble())
}

// show answers with v, indented for people to read.
func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.MarshalWrite(w, v, jsontext.WithIndent("  "), json.Deterministic(true)); err == nil {
		io.WriteString(w, "\n")
	}
}

// refuse answers 400 with what is wrong, in plain words.
func refuse(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// showHome shows the page to a browser, and the help to everybody else.
func (s *Server) showHome(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.showPage(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, help, r.Host)
	for _, p := range Presets() {
		fmt.Fprintf(w, "  %-13s %s\n", p.Name, p.Says)
	}
}

// help is printed with the address it was asked at.
const help = `This is a stand-in for the Customer.io Data Pipelines API.

Send it events (basic auth, the key as user name; X-Strict-Mode: 1 to be told what is wrong):
  POST /v1/identify, /v1/track, /v1/page, /v1/screen, /v1/group, /v1/alias     one event
  POST /v1/batch, /v1/import                                                   {"batch":[…]}

See what arrived (or open http://%[1]s in a browser):
  curl http://%[1]s/sandbox/received           counts
  curl http://%[1]s/sandbox/received?last=5    and the latest calls
  curl http://%[1]s/sandbox/received?ids=1     how often each messageId was accepted
  curl -X DELETE http://%[1]s/sandbox/received

Wait until so many different messageIds have arrived (200), but no longer than that (408):
  curl -f "http://%[1]s/sandbox/expect?count=3&timeout=10s"

Make trouble:
  curl -X PUT http://%[1]s/sandbox/trouble -d '{"preset":"down","for":"30s"}'
  curl -X PUT http://%[1]s/sandbox/trouble -d '{"preset":"refuse","match":{"event":"Application Crashed"}}'
  curl -X PUT http://%[1]s/sandbox/trouble -d '[{"do":{"status":502},"count":3},{"preset":"slow","rate":0.1}]'
  curl http://%[1]s/sandbox/trouble
  curl -X DELETE http://%[1]s/sandbox/trouble

A rule may have: preset, match (type, event, message_id, user_id), after, for, over (calls, per), rate, count,
do (store, delay, status, header, retry_after, retry_at, body, end: close reset hang cut cut_reset).
The presets:
`
