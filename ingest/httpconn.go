package ingest

import (
	"bytes"
	"crypto/tls"
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
	net.Conn // place, or TLS over it
	place    *listen.Conn
	server   *Server

	begun   atomic.Bool // some of a request has arrived
	handled atomic.Bool // it has reached the handler, which answers
}

// httpListener makes each connection of a listener an httpConn.
type httpListener struct {
	net.Listener
	server *Server
	tls    *tls.Config // nil: it speaks none
}

func (l httpListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &httpConn{Conn: nc, place: nc.(*listen.Conn), server: l.server}
	if l.tls != nil {
		c.Conn = tls.Server(nc, l.tls) // shakes hands when it is first read
	}
	return c, nil
}

// next says that the request is answered, and the next one awaited.
func (c *httpConn) next() {
	c.begun.Store(false)
	c.handled.Store(false)
}

// Read notes that something came, or that a handshake failed.
func (c *httpConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if secured, ok := c.Conn.(*tls.Conn); ok && err != nil && !secured.ConnectionState().HandshakeComplete && !c.handled.Load() {
		c.noteHandshake(err)
	}
	if n > 0 && !c.begun.Load() {
		c.begun.Store(true)
	}
	return n, err
}

// noteHandshake tells of a TLS handshake that failed, and tells a client that
// speaks plain HTTP what is wrong.
func (c *httpConn) noteHandshake(err error) {
	if errors.Is(err, io.EOF) { // a look whether the port is open
		return
	}
	c.handled.Store(true)
	c.server.bounced.note(codeTLSHandshake, func() (string, string) { return c.place.Peer(), err.Error() })
	record, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok || record.Conn == nil {
		return
	}
	switch string(record.RecordHeader[:4]) {
	case "GET ", "POST", "PUT ", "HEAD", "OPTI":
		_, _ = c.place.Write(errorAnswer(http.StatusBadRequest, codeTLSHandshake, "this listener speaks TLS: use https")) // it may be gone
	}
}

// Write writes an answer of a handler as it is, and puts one of net/http's own
// in our shape. Those come in one piece.
func (c *httpConn) Write(p []byte) (int, error) {
	status, text, own := ownAnswer(p)
	if c.handled.Load() || !own {
		return c.Conn.Write(p)
	}
	c.handled.Store(true)
	c.server.bounced.note(codeBadRequest, func() (string, string) { return c.place.Peer(), text })
	if _, err := c.Conn.Write(errorAnswer(status, codeBadRequest, text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// errorAnswer returns an answer, head and body, that ends its connection.
func errorAnswer(status int, code, message string) []byte {
	body := appendJSON(nil, notice{Code: code, Message: message, Meta: &meta{Errors: []string{message}}})
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		status, http.StatusText(status), len(body), body)
}

// CloseWrite closes the writing half, for net/http to have an answer arrive
// before the connection is closed.
func (c *httpConn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
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
	if c.begun.Load() && !c.handled.Swap(true) && !c.place.TurnedAway() {
		c.server.bounced.note(codeUnfinished, func() (string, string) { return c.place.Peer(), "the head of a request did not come to its end" })
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
