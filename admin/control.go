package admin

import (
	"context"
	"net/http"
	"time"

	"trackd/internal/status"
)

// Control acts on the daemon as a whole. Errors are told to the operator as
// they are.
type Control interface {
	// Pause stops sending, also over restarts, until Resume. The reason may be
	// empty.
	Pause(reason string) error
	Resume() error

	// StopIntake takes no events from now on and returns when everything that
	// was read is answered. Sending goes on. There is no way back but a restart.
	StopIntake(ctx context.Context) error

	// IntakeStopped is when StopIntake was first called; zero: never.
	IntakeStopped() time.Time

	// Reload reads the configuration again, puts it into force or refuses it
	// whole, and tells which. Its error is that of ctx.
	Reload(ctx context.Context) (status.Reload, error)

	// LastReload is what the last Reload told; zero: there was none.
	LastReload() status.Reload
}

// done is the answer to an order that was carried out.
type done struct {
	OK bool `json:"ok"`
}

func answerOrder(w http.ResponseWriter, err error) {
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, failure{err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, done{OK: true})
}

func (s *Server) pause(w http.ResponseWriter, r *http.Request) {
	answerOrder(w, s.opts.Control.Pause(r.PostFormValue("reason")))
}

func (s *Server) resume(w http.ResponseWriter, _ *http.Request) {
	answerOrder(w, s.opts.Control.Resume())
}

// drain stops the intake. That the queue runs empty then is seen in the status.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	answerOrder(w, s.opts.Control.StopIntake(r.Context()))
}

// reload answers how it ended; that the configuration was refused is an answer.
func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	result, err := s.opts.Control.Reload(r.Context())
	if err != nil {
		answerOrder(w, err)
		return
	}
	writeJSON(w, http.StatusOK, result)
}
