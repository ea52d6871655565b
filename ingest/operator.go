package ingest

import (
	"errors"
	"time"

	"trackd/event"
	"trackd/queue"
)

// Take takes one event that an operator imports or replays: judged, committed
// and counted as one that comes over HTTP, but without a key. A bad one is an
// [*event.Error] and is not kept, since the operator has it and is told. Any
// other error means that nothing can be taken now.
func (s *Server) Take(raw []byte) error {
	ev, err := s.rules.Load().Parser.Parse(raw, time.Now())
	if err != nil {
		return asRejection(err)
	}
	if a := notTaken(s.commit(s.cut, sourceHTTP, queue.Batch{Events: []event.Event{ev}})); a != nil {
		return errors.New(a.message)
	}
	return nil
}
