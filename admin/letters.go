package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"mime"
	"net/http"
	"slices"

	"golang.org/x/sync/errgroup"

	"trackd/event"
	"trackd/queue"
)

const (
	// amendChunk bounds the letters one call replays or discards: what was done
	// is known often, and an operator may stop in between.
	amendChunk = 500

	// importChunk bounds the events of one call, importBytes what it may take,
	// base64 included.
	importChunk = 500
	importBytes = 64 << 20

	// importers is how many events are taken at once, so that they share
	// commits.
	importers = 64
)

// listLetters streams the dead letters that match.
func (s *Server) listLetters(w http.ResponseWriter, r *http.Request) {
	stream(w, r, s.opts.Letters.DeadLetters, deadLetterOf)
}

// listQueued streams the queued events that match.
func (s *Server) listQueued(w http.ResponseWriter, r *http.Request) {
	stream(w, r, s.opts.Queue.Queued, queuedEventOf)
}

// stream answers with one line for each item. An error amid the stream is a
// line too: {"error":…}.
func stream[T, Line any](w http.ResponseWriter, r *http.Request,
	list func(context.Context, queue.Filter) iter.Seq2[T, error], line func(T) Line) {
	filter, err := filterOf(r.URL.Query())
	if err != nil {
		writeJSON(w, http.StatusBadRequest, failure{err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	for item, err := range list(r.Context(), filter) {
		if err != nil {
			_ = EncodeLine(w, failure{err.Error()})
			return
		}
		if EncodeLine(w, line(item)) != nil {
			return // nobody reads any more
		}
	}
}

// countLetters answers how many letters match.
func (s *Server) countLetters(w http.ResponseWriter, r *http.Request) {
	filter, err := filterOf(r.URL.Query())
	if err != nil {
		writeJSON(w, http.StatusBadRequest, failure{err.Error()})
		return
	}
	counted := Counted{ByReason: map[queue.Reason]int{}}
	for l, err := range s.opts.Letters.DeadLetters(r.Context(), filter) {
		if err != nil {
			writeJSON(w, http.StatusInternalServerError, failure{err.Error()})
			return
		}
		counted.Count++
		counted.ByReason[l.Reason]++
	}
	writeJSON(w, http.StatusOK, counted)
}

// chunk is what one bounded look at the dead letters found. Those rejected at
// ingest are kept apart: replaying one takes it as a new event and discards it.
type chunk struct {
	accepted, rejected []queue.Address
	last               queue.Address
	more               bool
}

func (s *Server) find(ctx context.Context, filter queue.Filter) (chunk, error) {
	asked := filter.Limit
	if filter.Limit == 0 || filter.Limit > amendChunk {
		filter.Limit = amendChunk
	}
	var c chunk
	for l, err := range s.opts.Letters.DeadLetters(ctx, filter) {
		if err != nil {
			return c, err
		}
		if l.AtDoor {
			c.rejected = append(c.rejected, l.Address)
		} else {
			c.accepted = append(c.accepted, l.Address)
		}
		c.last = l.Address
	}
	n := len(c.accepted) + len(c.rejected)
	c.more = n == filter.Limit && n != asked
	return c, nil
}

// Exactly selects these addresses, which are in order and at least one, and
// nothing else. The search begins where they do and ends when all are found.
func Exactly(at ...queue.Address) queue.Filter {
	return queue.Filter{At: at, After: before(at[0]), Limit: len(at)}
}

// before is the address before a.
func before(a queue.Address) queue.Address {
	switch {
	case a.Lo > 0:
		return queue.Address{Hi: a.Hi, Lo: a.Lo - 1}
	case a.Hi > 0:
		return queue.Address{Hi: a.Hi - 1, Lo: math.MaxUint64}
	}
	return a
}

// amend serves act on the dead letters that match, at most amendChunk of them.
// act returns how many it changed, also with an error: half of an order is
// answered as what it is.
func (s *Server) amend(act func(context.Context, chunk) (int, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		filter, err := orderedFilter(r)
		if err != nil {
			writeJSON(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		// A client that hangs up still wants what it asked for: half a chunk is
		// harder to understand than a whole one.
		ctx := context.WithoutCancel(r.Context())
		c, err := s.find(ctx, filter)
		if err != nil {
			writeJSON(w, http.StatusInternalServerError, failure{err.Error()})
			return
		}
		did := Amended{Matched: len(c.accepted) + len(c.rejected), Last: c.last.String(), More: c.more}
		if did.Changed, err = act(ctx, c); err != nil {
			did.Failed = err.Error()
		}
		writeJSON(w, http.StatusOK, did)
	}
}

// orderedFilter reads the filter of an order from its body, and wants it
// nowhere else: one that is overlooked would select everything.
func orderedFilter(r *http.Request) (queue.Filter, error) {
	const form = "application/x-www-form-urlencoded"
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.URL.RawQuery != "" || kind != form {
		return queue.Filter{}, errors.New("the filter is wanted in the body, as " + form)
	}
	if err := r.ParseForm(); err != nil {
		return queue.Filter{}, err
	}
	return filterOf(r.PostForm)
}

// replay has accepted events queued again, then rejected input taken anew.
func (s *Server) replay(ctx context.Context, c chunk) (changed int, err error) {
	if len(c.accepted) > 0 {
		changed, err = s.opts.Letters.Replay(ctx, Exactly(c.accepted...))
		s.metrics.replayed.Add(float64(changed))
	}
	if err != nil || len(c.rejected) == 0 {
		return changed, err
	}
	anew, err := s.opts.Letters.Replace(ctx, Exactly(c.rejected...), s.takeAnew)
	s.metrics.replayed.Add(float64(anew))
	s.metrics.discarded.Add(float64(anew))
	return changed + anew, err
}

// takeAnew has rejected input taken as ingest would take it now, and returns
// the addresses of what passed. What does not pass stays as it is.
func (s *Server) takeAnew(_ context.Context, letters []queue.DeadLetter) (taken []queue.Address, failed error) {
	inputs := make([][]byte, len(letters))
	for i, l := range letters {
		inputs[i] = l.Event.Body
	}
	for i, err := range s.takeAll(inputs) {
		if _, bad := errors.AsType[*event.Error](err); err == nil {
			taken = append(taken, letters[i].Address)
		} else if !bad {
			failed = err
		}
	}
	return taken, failed
}

// discard throws dead letters away.
func (s *Server) discard(ctx context.Context, c chunk) (int, error) {
	all := slices.SortedFunc(slices.Values(slices.Concat(c.accepted, c.rejected)), queue.Address.Compare)
	if len(all) == 0 {
		return 0, nil
	}
	n, err := s.opts.Letters.Discard(ctx, Exactly(all...))
	s.metrics.discarded.Add(float64(n))
	return n, err
}

// takeImport has events taken, each for itself.
func (s *Server) takeImport(w http.ResponseWriter, r *http.Request) {
	var order importOrder
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, importBytes)).Decode(&order); err != nil {
		writeJSON(w, http.StatusBadRequest, failure{"import: " + err.Error()})
		return
	}
	if n := len(order.Events); n > importChunk {
		writeJSON(w, http.StatusBadRequest, failure{fmt.Sprintf("import: %d events in one call, allowed %d", n, importChunk)})
		return
	}
	result := Imported{Bad: []BadImport{}}
	for i, err := range s.takeAll(order.Events) {
		if bad, ok := errors.AsType[*event.Error](err); ok {
			result.Bad = append(result.Bad, BadImport{Index: i, Code: bad.Code, Message: bad.Error()})
		} else if err != nil {
			result.NotTaken++
			result.Why = err.Error()
		} else {
			result.Taken++
		}
	}
	writeJSON(w, http.StatusOK, result)
}

// takeAll has inputs taken, several at a time, and returns the error of each.
func (s *Server) takeAll(inputs [][]byte) []error {
	errs := make([]error, len(inputs))
	var group errgroup.Group
	group.SetLimit(importers)
	for i, raw := range inputs {
		group.Go(func() error { errs[i] = s.opts.Take(raw); return nil })
	}
	_ = group.Wait() // each error is that of its input
	return errs
}
