package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"

	"trackd/queue"
)

// Letters yields the letters that match. An error ends it.
func (c *Client) Letters(ctx context.Context, f queue.Filter) iter.Seq2[Letter, error] {
	return list[Letter](ctx, c, "/dead", f)
}

// Queued yields the waiting events that match. An error ends it.
func (c *Client) Queued(ctx context.Context, f queue.Filter) iter.Seq2[Waiting, error] {
	return list[Waiting](ctx, c, "/queue", f)
}

// LetterAt returns the letter at an address, or nil if there is none.
func (c *Client) LetterAt(ctx context.Context, at queue.Address) (*Letter, error) {
	for l, err := range c.Letters(ctx, from(at)) {
		if err != nil || l.Address != at.String() {
			return nil, err
		}
		return &l, nil
	}
	return nil, nil
}

// QueuedAt returns the waiting event at an address, or nil if there is none.
func (c *Client) QueuedAt(ctx context.Context, at queue.Address) (*Waiting, error) {
	for e, err := range c.Queued(ctx, from(at)) {
		if err != nil || e.Address != at.String() {
			return nil, err
		}
		return &e, nil
	}
	return nil, nil
}

// from selects the first at or after an address.
func from(at queue.Address) queue.Filter { return queue.Filter{After: before(at), Limit: 1} }

func list[Line any](ctx context.Context, c *Client, path string, f queue.Filter) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		var none Line
		ctx, cancel := context.WithCancel(ctx) // a reader that stops early ends the listing over there
		defer cancel()
		resp, err := c.do(ctx, http.MethodGet, path+"?"+formOf(f).Encode(), "", nil)
		if err != nil {
			yield(none, err)
			return
		}
		defer resp.Body.Close()
		if err := refusal(resp); err != nil {
			yield(none, err)
			return
		}
		for line, err := range lines[Line](resp.Body) {
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// lines decodes NDJSON. The line of a failure becomes the error it tells of.
func lines[Line any](r io.Reader) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		dec := json.NewDecoder(r)
		for {
			var raw json.RawMessage
			var line Line
			err := dec.Decode(&raw)
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				err = fmt.Errorf("the listing ended early: %w", err)
			case bytes.HasPrefix(raw, []byte(`{"error":`)):
				var f failure
				err = json.Unmarshal(raw, &f)
				if err == nil {
					err = errors.New(f.Error)
				}
			default:
				err = json.Unmarshal(raw, &line)
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}
