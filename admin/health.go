package admin

import (
	"net/http"
	"time"
)

// verdict is the answer of a health page.
type verdict struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`
}

// healthy needs no more than the status that was gathered to ask it.
func healthy(Status) verdict { return verdict{OK: true, Reason: "making progress"} }

// ready judges whether an event brought now would be kept.
func ready(s Status) verdict {
	switch {
	case !s.Closed.IsZero():
		return verdict{Reason: "draining: an operator closed the doors at " + s.Closed.UTC().Format(time.RFC3339) + "; restart trackd to open them"}
	case s.Queue.Full != "":
		return verdict{Reason: "events are refused: " + s.Queue.Full}
	}
	return verdict{OK: true, Reason: "events are accepted"}
}

// delivering judges whether events leave.
func delivering(s Status) verdict {
	if s.Line.State != "open" {
		return verdict{Reason: "the line is " + s.Line.State + ": " + s.Line.Why}
	}
	return verdict{OK: true, Reason: "the line is open"}
}

// answer serves one judgement of the status.
func (s *Server) answer(judge func(Status) verdict) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status, err := s.Status(r.Context())
		v := verdict{Reason: "no progress"}
		if err != nil {
			v.Reason = "the queue does not say how it is: " + err.Error()
		} else {
			v = judge(status)
		}
		code := http.StatusOK
		if !v.OK {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, v)
	}
}
