package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// playHTTP posts one event after another on each of some connections, until
// the time is over or the server ends.
//
//	http ADDRESS CONNS TIME
func playHTTP(ctx context.Context, args []string) error {
	var conns int
	var length time.Duration
	if err := scan(args[1:], &conns, &length); err != nil {
		return err
	}
	posters := make([]*poster, conns)
	for i := range posters {
		conn, err := net.Dial("tcp", args[0])
		if err != nil {
			return err
		}
		defer conn.Close()
		posters[i] = newPoster(conn, requestTape(conns, i))
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var group errgroup.Group
	begin := time.Now()
	for _, p := range posters {
		group.Go(func() error { return p.postUntil(ctx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(begin)
	var times []time.Duration
	for _, p := range posters {
		times = append(times, p.times...)
	}
	return timed(len(times), times, took).print()
}

// poster is one connection. It speaks HTTP/1.1 by hand: the client must cost
// less than the server.
type poster struct {
	conn  net.Conn
	tape  tape
	buf   []byte // of one answer
	times []time.Duration
}

func newPoster(conn net.Conn, t tape) *poster {
	return &poster{conn: conn, tape: t, buf: make([]byte, 4<<10), times: slices.Grow[[]time.Duration](nil, 1<<12)}
}

// postUntil posts until ctx ends. A server that goes first is the end too.
func (p *poster) postUntil(ctx context.Context) error {
	for n := uint64(0); ctx.Err() == nil; n++ {
		begin := time.Now()
		if err := p.post(n); err != nil {
			return unlessGone(err)
		}
		p.times = append(p.times, time.Since(begin))
	}
	return nil
}

// post posts the n-th event and reads the answer.
func (p *poster) post(n uint64) error {
	request, _ := p.tape.pieces(n, 1)
	if _, err := p.conn.Write(request); err != nil {
		return err
	}
	for have := 0; ; {
		n, err := p.conn.Read(p.buf[have:])
		have += n
		if whole, bad := isWhole(p.buf[:have]); whole || bad != nil {
			return bad
		}
		if err != nil {
			return err
		}
	}
}

// isWhole reports whether answer is all of a 200 with a Content-Length.
func isWhole(answer []byte) (bool, error) {
	head, body, found := bytes.Cut(answer, []byte("\r\n\r\n"))
	if !found {
		return false, nil
	}
	_, value, found := bytes.Cut(head, []byte("Content-Length: "))
	if !found || !bytes.HasPrefix(head, []byte("HTTP/1.1 200")) {
		return false, fmt.Errorf("answered %q", answer)
	}
	return len(body) >= int(leadingNumber(value)), nil
}

// leadingNumber reads the digits that text begins with.
func leadingNumber(text []byte) (n uint64) {
	for _, c := range text {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + uint64(c-'0')
	}
	return n
}

// unlessGone drops an error that says that the server has ended: some clients
// are only there to press on something else, and stop with it.
func unlessGone(err error) error {
	if errors.Is(err, errStopping) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}
