package ingest

import (
	"bytes"
	"net/http"
	"time"

	"trackd/event"
)

// takeOne takes the one event of a request. A bad one is kept as a reject, as a
// bad line is, and its sender is told.
func (s *Server) takeOne(w http.ResponseWriter, r *http.Request, parser event.Parser) *answer {
	p := s.posts.Get().(*post)
	defer s.putPost(p)
	if a := s.readBody(w, r, p, event.MaxInputBytes); a != nil {
		return a
	}
	p.arena.reserve(len(p.body))
	ev, err := p.arena.parse(parser, p.body, time.Now())
	if err != nil {
		rejection := asRejection(err)
		s.keepRejected(p, rejection)
		return bad(rejection)
	}
	p.batch.Events = append(p.batch.Events, ev)
	if a := notTaken(s.commit(s.cut, sourceHTTP, p.batch)); a != nil {
		return a
	}
	writeJSON(w, http.StatusOK, []byte("{}"))
	return nil
}

// keepRejected makes a dead letter of a body that is bad as a whole. Whatever
// comes of that, its sender is to be told what is wrong with the body.
func (s *Server) keepRejected(p *post, why *event.Error) {
	s.excluded.note(why)
	p.batch.Rejects = append(p.batch.Rejects, reject(p.body, why))
	s.commit(s.cut, sourceHTTP, p.batch)
}

// takeBatch takes many events. Bad ones are kept as rejects: SDKs send batches
// behind the back of the code that would have to know.
func (s *Server) takeBatch(w http.ResponseWriter, r *http.Request, parser event.Parser) *answer {
	p := s.posts.Get().(*post)
	defer s.putPost(p)
	if a := s.readBody(w, r, p, event.MaxBatchBytes); a != nil {
		return a
	}
	batch, err := event.OpenBatch(p.body)
	if err != nil {
		rejection := asRejection(err)
		s.keepRejected(p, rejection)
		return bad(rejection)
	}
	now := time.Now()
	var faults []fault
	for item, ok := batch.Next(); ok; item, ok = batch.Next() {
		ev, rejection := p.judge(parser, item, now)
		if rejection == nil {
			p.batch.Events = append(p.batch.Events, ev)
			continue
		}
		s.excluded.note(rejection)
		raw := item.Raw
		if item.Merged {
			raw = bytes.Clone(raw)
		}
		p.batch.Rejects = append(p.batch.Rejects, reject(raw, rejection))
		if len(faults) < maxFaults {
			at := batch.Len() - batch.Left() - 1
			faults = append(faults, fault{Index: at, Code: string(rejection.Code), Message: rejection.Error()})
		}
	}
	res := s.commit(s.cut, sourceHTTP, p.batch)
	if a := notTaken(res); a != nil {
		return a
	}
	writeJSON(w, http.StatusOK, appendJSON(nil, batchReply{
		Accepted: res.accepted, Rejected: res.rejected, Refused: res.refused, Errors: faults,
	}))
	return nil
}

// judge parses one item of a batch.
func (p *post) judge(parser event.Parser, item event.Item, now time.Time) (event.Event, *event.Error) {
	if item.Err != nil {
		return event.Event{}, item.Err
	}
	p.arena.reserve(len(item.Raw))
	ev, err := p.arena.parse(parser, item.Raw, now)
	if err != nil {
		return event.Event{}, asRejection(err)
	}
	return ev, nil
}
