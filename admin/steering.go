package admin

import (
	"net/http"
)

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
	answerOrder(w, s.opts.Steering.Pause(r.PostFormValue("reason")))
}

func (s *Server) resume(w http.ResponseWriter, _ *http.Request) {
	answerOrder(w, s.opts.Steering.Resume())
}

// drain closes the doors. That the queue runs empty then is seen in the
// status.
func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	answerOrder(w, s.opts.Steering.CloseDoors(r.Context()))
}
