package admin

import (
	"context"
	"net/http"
	"time"

	"trackd/internal/status"
)

// health is the answer of a health page.
type health struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`
}

// healthy judges whether the process makes progress. That the status could be
// gathered is half of it.
func (s *Server) healthy(ctx context.Context, _ status.Report) health {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	if err := s.opts.Alive(ctx); err != nil {
		return health{Reason: "no progress: " + err.Error()}
	}
	return health{OK: true, Reason: "making progress"}
}

// ready judges whether an event brought now would be kept.
func ready(_ context.Context, s status.Report) health {
	switch {
	case !s.Closed.IsZero():
		return health{Reason: "draining: an operator stopped the intake at " + s.Closed.UTC().Format(time.RFC3339) + "; restart trackd to start it again"}
	case s.Queue.Full != "":
		return health{Reason: "events are refused: " + s.Queue.Full}
	}
	return health{OK: true, Reason: "events are accepted"}
}

// delivering judges whether events leave as they should.
func delivering(_ context.Context, s status.Report) health {
	if s.Upstream.State != status.Open {
		return health{Reason: "the upstream is " + string(s.Upstream.State) + ": " + s.Upstream.Why}
	}
	return health{OK: true, Reason: "the upstream is open"}
}

// answer serves one judgement of the status.
func (s *Server) answer(judge func(context.Context, status.Report) health) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		report, err := s.Status(r.Context())
		h := health{}
		if err != nil {
			h.Reason = "queue statistics are unavailable: " + err.Error()
		} else {
			h = judge(r.Context(), report)
		}
		code := http.StatusOK
		if !h.OK {
			code = http.StatusServiceUnavailable
		}
		writeJSON(w, code, h)
	}
}
