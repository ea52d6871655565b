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

	"golang.org/x/sync/errgroup"

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

// found is what one bounded look at the letters brought. Those from the door
// are kept apart: replaying one discards it.
type found struct {
	letters, atDoor []queue.Address
	last            queue.Address
	more            bool
}

func (s *Server) find(ctx context.Context, filter queue.Filter) (found, error) {
	asked := filter.Limit
	if filter.Limit == 0 || filter.Limit > amendChunk {
		filter.Limit = amendChunk
	}
	var f found
	for l, err := range s.opts.Letters.DeadLetters(ctx, filter) {
		if err != nil {
			return f, err
		}
		if l.AtDoor {
			f.atDoor = append(f.atDoor, l.Address)
		} else {
			f.letters = append(f.letters, l.Address)
		}
		f.last = l.Address
	}
	n := len(f.letters) + len(f.atDoor)
	f.more = n == filter.Limit && n != asked
	return f, nil
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

// amend serves act on the letters that match, at most amendChunk of them.
func (s *Server) amend(act func(context.Context, found) (int, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		filter, err := orderedFilter(r)
		if err != nil {
			writeJSON(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		// A client that hangs up still wants what it asked for: half a chunk is
		// harder to understand than a whole one.
		ctx := context.WithoutCancel(r.Context())
		f, err := s.find(ctx, filter)
		n := 0
		if err == nil {
			n, err = act(ctx, f)
		}
		if err != nil {
			writeJSON(w, http.StatusInternalServerError, failure{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, Amended{Matched: len(f.letters) + len(f.atDoor), Changed: n, Last: f.last.String(), More: f.more})
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

func (s *Server) replay(ctx context.Context, f found) (int, error) {
	again, err := some(ctx, f.letters, s.opts.Letters.Replay)
	if err != nil {
		return 0, err
	}
	anew, err := some(ctx, f.atDoor, func(ctx context.Context, filter queue.Filter) (int, error) {
		return s.opts.Letters.Replace(ctx, filter, s.takeAnew)
	})
	s.metrics.replayed.Add(float64(again + anew))
	s.metrics.discarded.Add(float64(anew))
	return again + anew, err
}

// takeAnew has rejected input taken as ingest would take it now, and returns
// the addresses of what passed. What does not pass stays as it is.
func (s *Server) takeAnew(ctx context.Context, letters []queue.DeadLetter) ([]queue.Address, error) {
	errs := make([]error, len(letters))
	var group errgroup.Group
	group.SetLimit(importers)
	for i, l := range letters {
		group.Go(func() error { errs[i] = s.opts.Import(ctx, l.Event.Body); return nil })
	}
	_ = group.Wait() // each error is that of its letter
	var taken []queue.Address
	var failed error
	for i, err := range errs {
		if _, bad := errors.AsType[*BadEventError](err); err == nil {
			taken = append(taken, letters[i].Address)
		} else if !bad {
			failed = errors.Join(failed, err)
		}
	}
	return taken, failed
}

func (s *Server) discard(ctx context.Context, f found) (int, error) {
	old, err := some(ctx, f.letters, s.opts.Letters.Discard)
	if err != nil {
		return 0, err
	}
	door, err := some(ctx, f.atDoor, s.opts.Letters.Discard)
	s.metrics.discarded.Add(float64(old + door))
	return old + door, err
}

func some(ctx context.Context, at []queue.Address, act func(context.Context, queue.Filter) (int, error)) (int, error) {
	if len(at) == 0 {
		return 0, nil
	}
	return act(ctx, Exactly(at...))
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
	writeJSON(w, http.StatusOK, s.takeAll(r.Context(), order.Events))
}

func (s *Server) takeAll(ctx context.Context, events [][]byte) Imported {
	errs := make([]error, len(events))
	var group errgroup.Group
	group.SetLimit(importers)
	for i, raw := range events {
		group.Go(func() error { errs[i] = s.opts.Import(ctx, raw); return nil })
	}
	_ = group.Wait() // each error is that of its event
	result := Imported{Bad: []BadImport{}}
	for i, err := range errs {
		if bad, ok := errors.AsType[*BadEventError](err); ok {
			result.Bad = append(result.Bad, BadImport{Index: i, BadEventError: *bad})
		} else if err != nil {
			result.NotTaken++
			result.Why = err.Error()
		} else {
			result.Taken++
		}
	}
	return result
}
