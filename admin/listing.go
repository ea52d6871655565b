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

// DeadLetters yields the dead letters that match. An error ends it.
func (c *Client) DeadLetters(ctx context.Context, f queue.Filter) iter.Seq2[DeadLetter, error] {
	return list[DeadLetter](ctx, c, "/dead", f)
}

// Queued yields the queued events that match. An error ends it.
func (c *Client) Queued(ctx context.Context, f queue.Filter) iter.Seq2[QueuedEvent, error] {
	return list[QueuedEvent](ctx, c, "/queue", f)
}

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
