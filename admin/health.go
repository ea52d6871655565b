package admin

import (
	"context"
	"net/http"
	"time"
)

// verdict is the answer of a health page.
type verdict struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`
}

// healthy judges whether the process makes progress. That the status could be
// gathered is half of it.
func (s *Server) healthy(ctx context.Context, _ Status) verdict {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.opts.Alive(ctx); err != nil {
		return verdict{Reason: "no progress: " + err.Error()}
	}
	return verdict{OK: true, Reason: "making progress"}
}

// ready judges whether an event brought now would be kept.
func ready(_ context.Context, s Status) verdict {
	switch {
	case !s.Closed.IsZero():
		return verdict{Reason: "draining: an operator closed the doors at " + s.Closed.UTC().Format(time.RFC3339) + "; restart trackd to open them"}
	case s.Queue.Full != "":
		return verdict{Reason: "events are refused: " + s.Queue.Full}
	}
	return verdict{OK: true, Reason: "events are accepted"}
}

// delivering judges whether events leave.
func delivering(_ context.Context, s Status) verdict {
	if s.Line.State != "open" {
		return verdict{Reason: "the line is " + s.Line.State + ": " + s.Line.Why}
	}
	return verdict{OK: true, Reason: "the line is open"}
}

// answer serves one judgement of the status.
func (s *Server) answer(judge func(context.Context, Status) verdict) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		status, err := s.Status(r.Context())
		v := verdict{Reason: "no progress"}
		if err != nil {
			v.Reason = "the queue does not say how it is: " + err.Error()
		} else {
			v = judge(r.Context(), status)
		}
		code := http.StatusOK
		if !v.OK {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, v)
	}
}
