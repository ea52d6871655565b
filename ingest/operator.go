package ingest

import (
	"errors"
	"time"
)

// Take takes one event that an operator imports or replays: judged, committed
// and counted as one that comes over HTTP, but without a key. A bad one is an
// [*event.Error] and is not kept, since the operator has it and is told. Any
// other error means that nothing can be taken now.
func (s *Server) Take(raw []byte) error {
	b := s.newBatch(len(raw))
	defer s.putBatch(b)
	if why := b.add(s.rules.Load().Parser, raw, time.Now()); why != nil {
		return why
	}
	if a := notTaken(s.commit(s.cut, sourceHTTP, b)); a != nil {
		return errors.New(a.message)
	}
	return nil
}
