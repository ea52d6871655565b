package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"

	"trackd/internal/listen"
)

// httpConn is a connection of the HTTP server, which answers some requests by
// itself: those whose head it cannot read. Such an answer is put in the shape of
// all others, and counted as bounced.
type httpConn struct {
	*listen.Conn
	server *Server

	begun   atomic.Bool // some of a request has arrived
	handled atomic.Bool // it has reached the handler, which answers
}

// httpListener makes each connection of a listener an httpConn.
type httpListener struct {
	net.Listener
	server *Server
}

func (l httpListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &httpConn{Conn: nc.(*listen.Conn), server: l.server}, nil
}

// next says that the request is answered, and the next one awaited.
func (c *httpConn) next() {
	c.begun.Store(false)
	c.handled.Store(false)
}

// Read notes that something came.
func (c *httpConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 && !c.begun.Load() {
		c.begun.Store(true)
	}
	return n, err
}

// Write writes an answer of a handler as it is, and puts one of net/http's own
// in our shape. Those come in one piece.
func (c *httpConn) Write(p []byte) (int, error) {
	status, text, own := ownAnswer(p)
	if c.handled.Load() || !own {
		return c.Conn.Write(p)
	}
	c.handled.Store(true)
	c.server.bounced.note(codeBadRequest, func() (string, string) { return "", text })
	body := appendJSON(nil, notice{Code: codeBadRequest, Message: text, Meta: &meta{Errors: []string{text}}})
	answer := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
	if _, err := c.Conn.Write(answer); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ownAnswer returns the status of an error that net/http has answered with, and
// what it says.
func ownAnswer(p []byte) (status int, text string, ok bool) {
	rest, ok := bytes.CutPrefix(p, []byte("HTTP/1.1 "))
	line, rest, found := bytes.Cut(rest, []byte("\r\n"))
	if !ok || !found || len(line) < 3 {
		return 0, "", false
	}
	status, err := strconv.Atoi(string(line[:3]))
	if err != nil || status < 400 {
		return 0, "", false
	}
	_, body, _ := bytes.Cut(rest, []byte("\r\n\r\n"))
	if len(body) == 0 || bytes.HasPrefix(body, line) { // most repeat the status and say more
		return status, max(string(line), string(body)), true
	}
	return status, fmt.Sprintf("%s: %s", line, body), true
}

// Close notes whether a request was begun that never became one.
func (c *httpConn) Close() error {
	if c.begun.Load() && !c.handled.Swap(true) && !c.TurnedAway() {
		c.server.bounced.note(codeUnfinished, func() (string, string) { return "", "the head of a request did not come to its end" })
	}
	return c.Conn.Close()
}

// rawBody is the body of a request as it arrives, and remembers why it ended.
type rawBody struct {
	io.Reader
	err error
}

func (b *rawBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.err = err
	}
	return n, err
}

// hungUp reports whether the body ended because its client went away.
func (b *rawBody) hungUp() bool {
	_, broken := errors.AsType[*net.OpError](b.err)
	return broken || errors.Is(b.err, io.ErrUnexpectedEOF)
}
