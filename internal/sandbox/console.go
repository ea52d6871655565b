package sandbox

import (
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxTroubleBytes bounds what PUT /sandbox/trouble reads.
const maxTroubleBytes = 64 << 10

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

// show answers 200 with v, made for eyes.
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

// showHelp says what this is.
func (s *Server) showHelp(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, help, r.Host)
	for _, p := range Presets() {
		fmt.Fprintf(w, "  %-13s %s\n", p.Name, p.Says)
	}
}

// help is printed with the address it was asked at.
const help = `This is a stand-in for the Customer.io Data Pipelines API.

Send it events (basic auth, the key as user name; X-Strict-Mode: 1 to be told what is wrong):
  POST /v1/track     one event
  POST /v1/batch     {"batch":[…]}

See what arrived:
  curl http://%[1]s/sandbox/received           counts
  curl http://%[1]s/sandbox/received?last=5    and the latest calls
  curl http://%[1]s/sandbox/received?ids=1     how often each messageId was accepted
  curl -X DELETE http://%[1]s/sandbox/received

Make trouble:
  curl -X PUT http://%[1]s/sandbox/trouble -d '{"preset":"down","for":"30s"}'
  curl -X PUT http://%[1]s/sandbox/trouble -d '{"preset":"refuse","match":{"event":"Application Crashed"}}'
  curl -X PUT http://%[1]s/sandbox/trouble -d '[{"do":{"status":502},"count":3},{"preset":"slow","rate":0.1}]'
  curl http://%[1]s/sandbox/trouble
  curl -X DELETE http://%[1]s/sandbox/trouble

A rule may have: preset, match (event, message_id, user_id), after, for, over (calls, per), rate, count,
do (store, delay, status, header, retry_after, retry_at, body, end: close reset hang cut cut_reset).
The presets:
`
