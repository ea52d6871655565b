package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// client is how a server is loaded: over so many connections, each with so many
// events unanswered at most.
type client struct {
	network       string // unix: one JSON object a line; tcp: HTTP, one event a request
	conns, flight int
	size          int // of an event
}

func posting(conns int) client                 { return client{"tcp", conns, 1, typical} }
func streaming(conns, flight, size int) client { return client{"unix", conns, flight, size} }

// args are those of playClient.
func (c client) args(s *server, length time.Duration) []string {
	address := s.http
	if c.network == "unix" {
		address = s.socket
	}
	return []string{c.network, address, strconv.Itoa(c.conns), strconv.Itoa(c.flight), strconv.Itoa(c.size), length.String()}
}

// connected is what a client prints to standard error before it sends.
const connected = "connected"

// playClient sends events until the time is over or the server ends.
//
//	client NETWORK ADDRESS CONNS FLIGHT SIZE TIME
func playClient(ctx context.Context, args []string) error {
	var c client
	var address string
	var length time.Duration
	if err := scan(args, &c.network, &address, &c.conns, &c.flight, &c.size, &length); err != nil {
		return err
	}
	connections := make([]*connection, c.conns)
	for i := range connections {
		conn, err := net.Dial(c.network, address)
		if err != nil {
			return err
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		connections[i] = &connection{conn: conn, flight: uint64(c.flight),
			events: newWorkload(c.conns, i, c.size, appendLine), readAnswer: func(uint64) (uint64, error) { return readReply(answers) }}
		if c.network == "tcp" {
			connections[i].events = newWorkload(c.conns, i, c.size, appendRequest)
			connections[i].readAnswer = func(answered uint64) (uint64, error) { return answered + 1, readResponse(answers) }
		}
	}
	fmt.Fprintln(os.Stderr, connected)
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var group errgroup.Group
	begin := time.Now()
	for _, c := range connections {
		group.Go(func() error { return unlessGone(c.sendUntil(ctx)) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	took := time.Since(begin)
	events, bytes := 0, 0.0
	var times []time.Duration
	for _, c := range connections {
		events += int(c.answered)
		bytes += float64(c.answered) * float64(len(c.events.text)) / float64(len(c.events.ends))
		times = append(times, c.times...)
	}
	return timed(events, times, took).with(figures{megabytes: bytes / 1e6 / took.Seconds()}).print()
}

// connection is one connection of a client. It speaks HTTP/1.1 by hand: the
// client must cost less than the server.
type connection struct {
	conn           net.Conn
	events         workload
	flight         uint64                                // unanswered at most
	sent, answered uint64                                // events
	readAnswer     func(answered uint64) (uint64, error) // how many are answered now

	writes []write // not answered whole, oldest first
	times  []time.Duration
}

// write is one write and when it began.
type write struct {
	upTo uint64 // events sent with it
	at   time.Time
}

// sendUntil sends as many events as may be unanswered, reads an answer, and so on
// until ctx ends. Then it reads the answers that it has not got: what the server
// works for, counts.
func (c *connection) sendUntil(ctx context.Context) error {
	for ctx.Err() == nil {
		for c.sent < c.answered+c.flight {
			text, n := c.events.pieces(c.sent, c.answered+c.flight-c.sent)
			c.sent += n
			c.writes = append(c.writes, write{c.sent, time.Now()})
			if _, err := c.conn.Write(text); err != nil {
				return err
			}
		}
		if err := c.awaitAnswer(); err != nil {
			return err
		}
	}
	for c.answered < c.sent {
		if err := c.awaitAnswer(); err != nil {
			return fmt.Errorf("%d events sent, %d answered: %w", c.sent, c.answered, err)
		}
	}
	return nil
}

// awaitAnswer reads the next answer and times the writes that it completes.
func (c *connection) awaitAnswer() error {
	answered, err := c.readAnswer(c.answered)
	if err != nil {
		return err
	}
	c.answered = answered
	done := 0
	for ; done < len(c.writes) && c.writes[done].upTo <= answered; done++ {
		c.times = append(c.times, time.Since(c.writes[done].at))
	}
	c.writes = slices.Delete(c.writes, 0, done)
	return nil
}

// errStopping means that the server ends before the client, and says so.
var errStopping = errors.New("the server is stopping")

// readReply reads a reply of the socket: how many events are answered in all.
func readReply(answers *bufio.Reader) (uint64, error) {
	line, err := answers.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if bytes.HasPrefix(line, []byte(`{"code":"stopping"`)) {
		return 0, errStopping
	}
	value, ok := bytes.CutPrefix(line, []byte(`{"accepted":`))
	if !ok {
		return 0, fmt.Errorf("answered %q", line)
	}
	return leadingNumber(value), nil
}

// readResponse reads all of an HTTP response, which must be a 200 with a
// Content-Length.
func readResponse(answers *bufio.Reader) error {
	length := -1
	for first := true; ; first = false {
		line, err := answers.ReadSlice('\n')
		switch value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); {
		case err != nil:
			return err
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")):
			return fmt.Errorf("answered %q", line)
		case found:
			length = int(leadingNumber(value))
		case len(line) > 2: // another header
		case length < 0:
			return errors.New("answered without a Content-Length")
		default:
			_, err = answers.Discard(length)
			return err
		}
	}
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
// are only there to load something else, and stop with it.
func unlessGone(err error) error {
	if errors.Is(err, errStopping) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		return nil
	}
	return err
}
