package sender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"trackd/event"
)

// answer is what one request brought back.
type answer struct {
	status     int   // 0 if no answer came
	err        error // why no answer came, or why its body was cut off
	kind       bodyKind
	text       string        // the beginning of the body, verbatim; kept only if it may matter
	retryAfter time.Duration // what the destination asked for; 0 if nothing
}

// bodyKind is all that judge asks of a body.
type bodyKind uint8

const (
	bodyNone   bodyKind = iota // nothing but white space
	bodyObject                 // one JSON object
	bodyOther                  // anything else, or too much of it
	bodyCut                    // ended by an error
)

const (
	maxAnswer = 64 << 10 // read of a body; with more the connection is closed
	maxText   = 4 << 10  // kept of a body
	maxError  = 300      // kept of an error's text
)

// detail is what a dead letter keeps of a.
func (a answer) detail() string {
	if a.text != "" {
		return a.text
	}
	return a.summary()
}

// summary is a in a few words, without anything of the body: that may repeat
// what we sent.
func (a answer) summary() string {
	switch {
	case a.status == 0 && a.err != nil:
		return a.err.Error()
	case a.err != nil:
		return fmt.Sprintf("HTTP %d, then %v", a.status, a.err)
	}
	return strings.TrimSpace(fmt.Sprintf("HTTP %d %s", a.status, http.StatusText(a.status)))
}

// attempt POSTs body once, to the endpoint of kind. buf is the caller's, for
// reading the answer.
func (c *client) attempt(ctx context.Context, kind event.Type, body, buf []byte) answer {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	creds := c.creds.Load()
	resp, err := c.transport.RoundTrip(creds.request(ctx, kind, body))
	if err != nil {
		return answer{err: clean(err, creds)}
	}
	defer resp.Body.Close()
	return read(resp, creds, buf)
}

// request returns a copy of the one request there is for this endpoint, to send
// body with it. Its header is shared by all and must not be changed.
func (c *credentials) request(ctx context.Context, kind event.Type, body []byte) *http.Request {
	req := c.blanks[kind].WithContext(ctx)
	req.ContentLength = int64(len(body))
	// In these very types: net/http sends header and body of what it knows to be
	// in memory in one piece.
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	return req
}

// read takes a bounded part of the answer in, to its end if that is near, so
// that the connection can be used again.
func read(resp *http.Response, creds *credentials, buf []byte) answer {
	a := answer{status: resp.StatusCode, retryAfter: retryAfter(resp.Header, time.Now())}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		a.kind = bodyOther // its body is the connection itself
		return a
	}
	content, err := readBody(resp.Body, buf)
	switch {
	case err != nil:
		a.kind, a.err = bodyCut, clean(err, creds)
	case len(content) > maxAnswer:
		a.kind = bodyOther
	default:
		a.kind = kindOf(content)
	}
	if a.kind != bodyNone && (a.status/100 != 2) {
		a.text = creds.redact(string(content[:min(len(content), maxText)]))
	}
	return a
}

// readBody reads up to one byte more than maxAnswer, into buf while that
// suffices.
func readBody(body io.Reader, buf []byte) ([]byte, error) {
	content := buf[:0]
	for len(content) <= maxAnswer {
		if len(content) == cap(content) {
			content = append(content, 0)[:len(content)]
		}
		n, err := body.Read(content[len(content):cap(content)])
		content = content[:len(content)+n]
		if err == io.EOF {
			return content, nil
		}
		if err != nil {
			return content, err
		}
	}
	return content, nil
}

func kindOf(content []byte) bodyKind {
	content = bytes.TrimSpace(content)
	switch {
	case len(content) == 0:
		return bodyNone
	case content[0] == '{' && json.Valid(content):
		return bodyObject
	}
	return bodyOther
}

// retryAfter reads the header in both its forms (RFC 9110, section 10.2.3). A
// date is taken relative to the answer's own Date, since our clock may be off.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	if secs, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(secs, uint64(longestAsk/time.Second))) * time.Second
	}
	until, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	if date, err := http.ParseTime(h.Get("Date")); err == nil {
		now = date
	}
	return min(max(until.Sub(now), 0), longestAsk)
}

// clean makes err fit to be shown: without URL or key, bounded.
func clean(err error, creds *credentials) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &cleanError{text: creds.redact(bounded(err.Error())), err: err}
}

func bounded(s string) string {
	if len(s) > maxError {
		s = strings.ToValidUTF8(s[:maxError], "") + "…"
	}
	return s
}

// cleanError says text and still is err to errors.Is and errors.As.
type cleanError struct {
	text string
	err  error
}

func (e *cleanError) Error() string { return e.text }
func (e *cleanError) Unwrap() error { return e.err }
