package sandbox

import (
	"cmp"
	"context"
	"io"
	"math"
	"net"
	"net/http"
	"strconv"
	"time"
)

// answer is what becomes of a call.
type answer struct {
	status int
	header map[string]string
	body   string
	end    End

	accepted []event
	dropped  int // events answered 2xx and thrown away
}

// apply waits out the delay and returns what becomes of c. A client that
// leaves meanwhile gets no answer, and its events are only accepted if they were
// before.
func (do Action) apply(ctx context.Context, c *call) answer {
	var stored answer
	if do.Store {
		stored = c.documentedAnswer()
	}
	if !pause(ctx, do.Delay) {
		return answer{end: Hang, accepted: stored.accepted, dropped: stored.dropped}
	}
	if do.documented() {
		if do.Store {
			return stored
		}
		return c.documentedAnswer()
	}
	a := answer{
		status:   cmp.Or(do.Status, http.StatusOK),
		header:   do.headers(time.Now()),
		body:     do.Body,
		end:      do.End,
		accepted: stored.accepted,
		dropped:  stored.dropped,
	}
	if a.body == "" {
		a.body = do.defaultBody(a.status)
	}
	if a.end == Whole && a.status < 300 && !do.Store {
		a.dropped = len(c.events)
	}
	return a
}

// pause waits for d and reports whether it got there before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// headers returns Header with Retry-After in it.
func (do Action) headers(now time.Time) map[string]string {
	switch {
	case do.RetryAfter > 0:
		seconds := int(math.Ceil(do.RetryAfter.Seconds()))
		return do.with("Retry-After", strconv.Itoa(seconds))
	case do.RetryAt > 0:
		return do.with("Retry-After", now.Add(do.RetryAt).UTC().Format(http.TimeFormat))
	default:
		return do.Header
	}
}

// with returns Header and one more.
func (do Action) with(key, value string) map[string]string {
	header := map[string]string{key: value}
	for k, v := range do.Header {
		header[k] = v
	}
	return header
}

// defaultBody is the body of an answer for which none was given. One that is
// to be cut off needs some.
func (do Action) defaultBody(status int) string {
	switch {
	case status == http.StatusOK, do.End == Cut, do.End == CutReset:
		return "{}"
	case status == http.StatusBadRequest, status == http.StatusUnprocessableEntity:
		return errorBody("the sandbox was told to refuse this")
	default:
		return ""
	}
}

// send writes the answer, or fails to in the way it should.
func (a answer) send(w http.ResponseWriter, r *http.Request) {
	switch a.end {
	case Close:
		panic(http.ErrAbortHandler) // net/http closes the connection
	case Reset:
		reset(w)
	case Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case Cut:
		a.write(w, len(a.body)/2)
		panic(http.ErrAbortHandler)
	case CutReset:
		a.write(w, len(a.body)/2)
		reset(w)
	default:
		a.write(w, len(a.body))
	}
}

// write sends headers that announce the whole body, and the first upTo bytes
// of it.
func (a answer) write(w http.ResponseWriter, upTo int) {
	h := w.Header()
	if a.body != "" {
		h.Set("Content-Type", "application/json")
	}
	for key, value := range a.header {
		h.Set(key, value)
	}
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body[:upTo]) // an error means that the client has left
	if upTo < len(a.body) {
		http.NewResponseController(w).Flush()
	}
}

// reset ends the connection with a TCP RST. Where that cannot be had, under
// HTTP/2 or on another kind of connection, it is closed.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if secure, ok := conn.(interface{ NetConn() net.Conn }); ok { // TLS would announce the end first
		conn = secure.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0) // close then discards and resets
	}
	conn.Close()
}
