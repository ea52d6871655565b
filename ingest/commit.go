package ingest

import (
	"context"
	"errors"
	"log/slog"

	"trackd/event"
	"trackd/queue"
)

// source is the kind of listener that something came through.
type source string

// The sources, as metrics and logs name them.
const (
	sourceSocket source = "socket"
	sourceHTTP   source = "http"
)

// Codes of replies besides those of package event.
const (
	codeQueueFull   = "queue_full"           // nothing of it was kept
	codeUnavailable = "unavailable"          // the queue failed: unknown whether it was kept
	codeUnfinished  = "unfinished"           // the rest of a line or body did not come
	codeBusy        = "busy"                 // too many large bodies at once
	codeStopping    = "stopping"             // trackd ends and reads no more
	codeIdleClosed  = "idle_closed"          // closed to make room for another client
	codeTooMany     = "too_many_connections" // there is no place left
)

// Reasons for refusal that have no code of their own in replies: the reject is
// told with the code of its fault.
const (
	reasonRejectsFull = "rejects_full"
	reasonExcluded    = "excluded" // by the accept setting, and there are samples enough
)

// counts is what became of a number of events.
type counts struct{ accepted, rejected, refused uint64 }

// add returns the sum of c and d.
func (c counts) add(d counts) counts {
	return counts{c.accepted + d.accepted, c.rejected + d.rejected, c.refused + d.refused}
}

// result is what one Append meant.
type result struct {
	counts
	code     string // "" when the queue goes on taking, else why it does not
	reason   string // label of the refused that are not excluded, "" when there are none
	excluded uint64 // of the refused, those that the accept setting excludes
}

// resultOf decides what an Append of so many events and rejects, samples of what
// is excluded among these, means that ended with err. Only what the queue
// vouches for counts as accepted or rejected.
func resultOf(events, rejects, samples int, err error) result {
	e, r, x := uint64(events), uint64(rejects), uint64(samples)
	rejectsFull, samplesFull := errors.Is(err, queue.ErrRejectsFull), errors.Is(err, queue.ErrSamplesFull)
	switch {
	case err == nil:
		return result{counts: counts{accepted: e, rejected: r}}
	case errors.Is(err, queue.ErrFull):
		return result{counts: counts{refused: e + r}, code: codeQueueFull, reason: codeQueueFull}
	case !rejectsFull && !samplesFull: // it may have been stored, but nobody can say so
		return result{counts: counts{refused: e + r}, code: codeUnavailable, reason: codeUnavailable}
	}
	res := result{counts: counts{accepted: e, rejected: r}} // the events are durable
	if rejectsFull {
		res.rejected -= r - x
		res.refused += r - x
		res.reason = reasonRejectsFull
	}
	if samplesFull {
		res.rejected -= x
		res.refused += x
		res.excluded = x
	}
	return res
}

// commit makes b durable, counts what became of it, and raises or ends alarms.
// An empty b is not worth a commit.
func (s *Server) commit(ctx context.Context, from source, b *batch) result {
	if b.size() == 0 {
		return result{}
	}
	samples := 0
	for _, r := range b.Rejects {
		if r.Reason == queue.NotLifecycle {
			samples++
		}
	}
	err := s.opts.Queue.Append(ctx, b.Batch)
	res := resultOf(len(b.Events), len(b.Rejects), samples, err)
	s.metrics.count(from, res)
	s.ring(res, err)
	if res.accepted > 0 {
		if b.replaced > 0 {
			s.metrics.surrogates.Add(float64(b.replaced))
		}
		if s.opts.Log.Enabled(ctx, slog.LevelDebug) {
			s.traceTaken(ctx, from, b.Events)
		}
	}
	return res
}

// refuseAll counts n events for which no room could be reserved because of err.
func (s *Server) refuseAll(n int, err error) result {
	res := resultOf(n, 0, 0, err)
	s.metrics.count(sourceHTTP, res)
	s.ring(res, err)
	return res
}

// ring raises the alarm that res calls for and ends those it disproves.
func (s *Server) ring(res result, err error) {
	switch {
	case res.code == codeQueueFull:
		s.full.raise(res.refused, err)
	case res.code == codeUnavailable:
		if s.cut.Err() == nil { // else it is we who gave up
			s.unavailable.raise(res.refused, err)
		}
	default:
		s.full.end()
		s.unavailable.end()
		if res.reason == reasonRejectsFull {
			s.rejectsFull.raise(res.refused, err)
			s.bounced.note(reasonRejectsFull, func() (string, string) { return "", "bad events are answered, and not kept as dead letters" })
		} else if res.rejected > 0 {
			s.rejectsFull.end()
		}
	}
}

// traceTaken begins the trail that debug logs lay from taken to delivered.
func (s *Server) traceTaken(ctx context.Context, from source, events []event.Event) {
	for _, ev := range events {
		s.opts.Log.LogAttrs(ctx, slog.LevelDebug, "event taken",
			slog.String("message_id", ev.ID), slog.String("event", ev.Name), slog.String("source", string(from)))
	}
}

// asRejection returns err as the typed error it is by the contract of package
// event.
func asRejection(err error) *event.Error {
	if rejection, ok := errors.AsType[*event.Error](err); ok {
		return rejection
	}
	return &event.Error{
		Code:     event.Malformed,
		Problems: []event.Problem{{Found: err.Error(), Allowed: "one JSON object"}},
	}
}
