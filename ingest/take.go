package ingest

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"trackd/event"
	"trackd/queue"
)

// takeOne takes the one event of a request. A bad one is kept as a reject, as a
// bad line is, and its sender is told.
func (s *Server) takeOne(w http.ResponseWriter, r *http.Request, parser event.Parser) *answer {
	p := s.posts.Get().(*post)
	defer s.putPost(p)
	if a := s.readBody(w, r, p, event.MaxInputBytes); a != nil {
		if a.code == string(event.Oversize) && len(p.body) > 0 { // its beginning is there
			s.keepRejected(p, &event.Error{Code: event.Oversize, Problems: []event.Problem{{
				Found:   fmt.Sprintf("more than %d bytes", event.MaxInputBytes),
				Allowed: fmt.Sprintf("at most %d bytes", event.MaxInputBytes),
			}}})
			a.kept = true
		}
		return a
	}
	b := s.newBatch(len(p.body))
	defer s.putBatch(b)
	if why := b.add(parser, p.body, time.Now()); why != nil {
		p.body = parser.Typed(p.body)
		s.keepRejected(p, why)
		return bad(why)
	}
	if a := notTaken(s.commit(s.cut, sourceHTTP, b)); a != nil {
		return a
	}
	writeJSON(w, http.StatusOK, []byte("{}"))
	return nil
}

// keepRejected makes a dead letter of a body that is bad as a whole. Whatever
// comes of that, its sender is to be told what is wrong with the body.
func (s *Server) keepRejected(p *post, why *event.Error) {
	s.excluded.note(why)
	b := s.newBatch(0)
	defer s.putBatch(b)
	b.reject(p.body, why, false)
	s.commit(s.cut, sourceHTTP, b)
}

// takeBatch takes many events, in chunks of bounded memory. Room for all that
// are good is reserved before the first of several chunks is committed, so that
// they are taken whole or not at all. Bad ones are kept as rejects, and do not
// stand in the way of the others.
func (s *Server) takeBatch(w http.ResponseWriter, r *http.Request, parser event.Parser) *answer {
	if r.ContentLength > event.MaxBatchBytes {
		return bodyTooLarge(event.MaxBatchBytes)
	}
	p := s.posts.Get().(*post)
	defer s.putPost(p)
	if a := s.readBody(w, r, p, event.MaxBatchBytes); a != nil {
		return a
	}
	items, err := event.OpenBatch(p.body)
	if err != nil {
		why := asRejection(err)
		s.keepRejected(p, why)
		return bad(why)
	}

	var room *queue.Reservation
	defer func() { room.Release() }()
	reply := batchReply{Errors: []fault{}}
	for now := time.Now(); items.Left() > 0; {
		b, first := s.newBatch(int(min(items.MaxBodies(), maxItemBytes))), items.Left() == items.Len()
		s.fillChunk(b, items, parser, now, p, &reply)
		if first && items.Left() > 0 {
			if room, err = s.reserve(items, parser, now); err != nil {
				s.putBatch(b)
				return notTaken(s.refuseAll(items.Len(), err))
			}
		}
		b.Room = room
		res := s.commit(s.cut, sourceHTTP, b)
		s.putBatch(b)
		if a := notTaken(res); a != nil {
			s.metrics.count(sourceHTTP, result{counts: counts{refused: uint64(items.Left())}, reason: res.reason})
			return a
		}
		reply.add(res.counts)
	}
	writeJSON(w, http.StatusOK, appendJSON(nil, reply))
	return nil
}

// fillChunk moves items to b until there are no more or b is full, and adds what
// is wrong with bad ones to reply.
func (s *Server) fillChunk(b *batch, items *event.Batch, parser event.Parser, now time.Time, p *post, reply *batchReply) {
	whole := items.MaxBodies() <= maxItemBytes // then all fit into the arena
	for items.Left() > 0 && !b.full && (whole || b.size() == 0 || len(b.arena.free) >= event.MaxInputBytes) {
		at := items.Len() - items.Left()
		item, _ := items.Next()
		why := item.Err
		if why == nil {
			why = b.add(parser, item.Raw, now)
		}
		if why == nil {
			continue
		}
		s.excluded.note(why)
		b.reject(item.Raw, why, item.Merged)

		// Tell as much as there is memory for until the client has read it.
		fault := fault{Index: at, Code: string(why.Code), Message: why.Error()}
		reply.text += int64(2*len(fault.Message)) + 128
		if !reply.cut && len(reply.Errors) < maxFaults && (reply.text < freeBytes || p.replies.tryRaise(reply.text)) {
			reply.Errors = append(reply.Errors, fault)
		} else {
			reply.cut = true
		}
	}
}

// reserve sets room aside for all events of a batch: as much as they need at
// most, or, where there is not as much, what they need indeed.
func (s *Server) reserve(items *event.Batch, parser event.Parser, now time.Time) (*queue.Reservation, error) {
	room, err := s.opts.Queue.Reserve(s.cut, maxCost(items))
	if !errors.Is(err, queue.ErrFull) {
		return room, err
	}
	cost, left, arena := int64(0), items.Left(), make([]byte, event.MaxBytes)
	items.Rewind()
	for item, ok := items.Next(); ok; item, ok = items.Next() {
		if item.Err != nil {
			continue
		}
		if parsed, err := parser.ParseInto(arena, item.Raw, now); err == nil {
			cost += queue.Cost(parsed.Event)
		}
	}
	for items.Rewind(); items.Left() > left; {
		items.Next()
	}
	return s.opts.Queue.Reserve(s.cut, cost)
}

// maxCost bounds what the events of a batch cost in all, as [queue.Cost] grows
// evenly with the length of a body and of the id and the name within it.
func maxCost(items *event.Batch) int64 {
	empty := queue.Cost(event.Event{})
	perKiB := queue.Cost(event.Event{Body: make([]byte, 1<<10)}) - empty
	return (2*items.MaxBodies()>>10+1)*perKiB + int64(items.Len())*empty
}
