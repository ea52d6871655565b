package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

// playLines streams events over a Unix socket, each client with a bounded
// number in flight, until the time is over or the server ends.
//
//	lines SOCKET CLIENTS INFLIGHT TIME SIZE
func playLines(ctx context.Context, args []string) error {
	var clients, flight, size int
	var length time.Duration
	if err := scan(args[1:], &clients, &flight, &length, &size); err != nil {
		return err
	}
	streamers := make([]*streamer, clients)
	for i := range streamers {
		conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: args[0], Net: "unix"})
		if err != nil {
			return err
		}
		defer conn.Close()
		streamers[i] = &streamer{conn: conn, answers: bufio.NewReader(conn), tape: lineTape(clients, i, size), flight: uint64(flight)}
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var group errgroup.Group
	begin := time.Now()
	for _, s := range streamers {
		group.Go(func() error { return s.streamUntil(ctx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return streamed(streamers, time.Since(begin)).print()
}

// streamed are the figures of all streamers.
func streamed(streamers []*streamer, took time.Duration) figures {
	events, sent := 0, 0.0
	var times []time.Duration
	for _, s := range streamers {
		events += int(s.answered)
		sent += float64(s.answered) * float64(len(s.tape.text)) / float64(len(s.tape.ends))
		times = append(times, s.times...)
	}
	return timed(events, times, took).with(figures{megabytes: sent / 1e6 / took.Seconds()})
}

// streamer is one client.
type streamer struct {
	conn           *net.UnixConn
	answers        *bufio.Reader
	tape           tape
	flight         uint64 // unanswered at most
	sent, answered uint64 // events

	writes []write // not answered whole, oldest first
	times  []time.Duration
}

// write is one write and when it began.
type write struct {
	upTo uint64 // events sent with it
	at   time.Time
}

// streamUntil fills the window, reads an answer, and so on until ctx ends. Then
// it reads the answers that it has not got: what the server works for, counts.
func (s *streamer) streamUntil(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.fillWindow()
		if err == nil {
			err = s.readAnswer()
		}
		if err != nil {
			return unlessGone(err)
		}
	}
	if err := s.conn.CloseWrite(); err != nil {
		return unlessGone(err)
	}
	for s.answered < s.sent {
		if err := s.readAnswer(); err != nil {
			return fmt.Errorf("%d events sent, %d answered: %w", s.sent, s.answered, err)
		}
	}
	return nil
}

func (s *streamer) fillWindow() error {
	for s.sent < s.answered+s.flight {
		text, n := s.tape.pieces(s.sent, s.answered+s.flight-s.sent)
		s.sent += n
		s.writes = append(s.writes, write{s.sent, time.Now()})
		if _, err := s.conn.Write(text); err != nil {
			return err
		}
	}
	return nil
}

// readAnswer reads the next reply and times the writes that it answers.
func (s *streamer) readAnswer() (err error) {
	if s.answered, err = s.accepted(); err != nil {
		return err
	}
	done := 0
	for ; done < len(s.writes) && s.writes[done].upTo <= s.answered; done++ {
		s.times = append(s.times, time.Since(s.writes[done].at))
	}
	s.writes = slices.Delete(s.writes, 0, done)
	return nil
}

// errStopping means that the server ends before the client, and says so.
var errStopping = errors.New("the server is stopping")

// accepted reads a cumulative reply. On an error nothing has changed.
func (s *streamer) accepted() (uint64, error) {
	line, err := s.answers.ReadSlice('\n')
	if err != nil {
		return s.answered, err
	}
	if bytes.HasPrefix(line, []byte(`{"code":"stopping"`)) {
		return s.answered, errStopping
	}
	value, ok := bytes.CutPrefix(line, []byte(`{"accepted":`))
	if !ok {
		return s.answered, fmt.Errorf("answered %q", line)
	}
	return leadingNumber(value), nil
}
