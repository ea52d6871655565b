package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is what a client measured.
type load struct {
	Events uint64
	Rate   float64 // events per second
	P50    float64 // seconds from request to answer
	P99    float64
	P999   float64
}

func (l load) print() error { return json.NewEncoder(os.Stdout).Encode(l) }

// sample is an event of about 430 bytes, as an SDK sends it, with a messageId
// of its own.
func sample(dst []byte, client, n int) []byte {
	return fmt.Appendf(dst, `{"type":"track","event":"Application Opened","messageId":"bench-%04d-%012d","userId":"user-%08d",`+
		`"anonymousId":"9f2c51d4-6a0e-4d1b-8b1e-%012d","timestamp":"2026-01-15T10:30:%02d.%03dZ",`+
		`"properties":{"from_background":false,"version":"2.14.%d","build":"%d"},"context":{"app":{"name":"Shop","version":"2.14.0"},`+
		`"device":{"id":"b5a1","model":"Pixel 8","token":"f00d%08x","type":"android"},"locale":"de-DE","os":{"name":"Android","version":"14"}}}`,
		client, n, n*7919%100_000_000, n, n/1000%60, n%1000, n%40, 4000+n%500, uint32(n*2654435761))
}

// playHTTP posts one event after another on each of conns connections.
//
//	http ADDRESS CONNS TIME
func playHTTP(ctx context.Context, args []string) error {
	conns, length, err := twoNumbers(args[1], args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	times := make([][]time.Duration, conns)
	begin := time.Now()
	var group errgroup.Group
	for i := range conns {
		group.Go(func() (err error) { times[i], err = postUntil(ctx, args[0], i); return err })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return summarise(slices.Concat(times...), time.Since(begin)).print()
}

func twoNumbers(count, length string) (int, time.Duration, error) {
	n, err := strconv.Atoi(count)
	if err != nil {
		return 0, 0, err
	}
	d, err := time.ParseDuration(length)
	return n, d, err
}

// postUntil speaks HTTP/1.1 by hand: the client must cost less than the server.
func postUntil(ctx context.Context, address string, client int) (times []time.Duration, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	var body, request []byte
	for n := 0; ctx.Err() == nil; n++ {
		body = sample(body[:0], client, n)
		request = fmt.Appendf(request[:0], "POST /v1/track HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
		begin := time.Now()
		if _, err := conn.Write(append(request, body...)); err != nil {
			return nil, err
		}
		if err := readAnswer(answers); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	return times, nil
}

// readAnswer reads one 200 with a Content-Length.
func readAnswer(r *bufio.Reader) error {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200")):
			return fmt.Errorf("answered %q", line)
		case len(line) == 2:
			_, err := r.Discard(length)
			return err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
}

func summarise(times []time.Duration, length time.Duration) load {
	slices.Sort(times)
	at := func(q float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return times[int(q*float64(len(times)-1))].Seconds()
	}
	return load{Events: uint64(len(times)), Rate: float64(len(times)) / length.Seconds(), P50: at(0.5), P99: at(0.99), P999: at(0.999)}
}

// playLines streams events over a Unix socket, each client with a bounded
// number in flight.
//
//	lines SOCKET CLIENTS INFLIGHT TIME
func playLines(ctx context.Context, args []string) error {
	clients, length, err := twoNumbers(args[1], args[3])
	if err != nil {
		return err
	}
	flight, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var total atomic.Uint64
	begin := time.Now()
	var group errgroup.Group
	for i := range clients {
		group.Go(func() error { return streamUntil(ctx, args[0], i, flight, &total) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return load{Events: total.Load(), Rate: float64(total.Load()) / time.Since(begin).Seconds()}.print()
}

// streamUntil keeps up to flight events unanswered. Events are made ahead, so
// that the client does little else than write and read.
func streamUntil(ctx context.Context, socket string, client, flight int, total *atomic.Uint64) error {
	raw, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	conn := raw.(*net.UnixConn)
	defer conn.Close()
	answers := bufio.NewReader(conn)
	ring := make([][]byte, 64*flight)
	for i := range ring {
		ring[i] = append(sample(nil, client, i), '\n')
	}
	sent, answered := uint64(0), uint64(0)
	var out []byte
	for ctx.Err() == nil {
		out = out[:0]
		for ; sent < answered+uint64(flight); sent++ {
			out = append(out, ring[sent%uint64(len(ring))]...)
		}
		_, err := conn.Write(out)
		now := answered
		if err == nil {
			now, err = accepted(answers)
		}
		if errors.Is(err, errStopping) || errors.Is(err, syscall.EPIPE) {
			break // the server went first: what it answered counts
		}
		if err != nil {
			return err
		}
		answered = now
	}
	total.Add(answered)
	return nil
}

// errStopping means that the server ends before the client: the way in is only
// there to press on the way out.
var errStopping = errors.New("the server is stopping")

// accepted reads the next cumulative reply.
func accepted(r *bufio.Reader) (uint64, error) {
	line, err := r.ReadSlice('\n')
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
	end := bytes.IndexAny(value, ",}")
	if end < 0 {
		return 0, fmt.Errorf("answered %q", line)
	}
	return strconv.ParseUint(string(value[:end]), 10, 64)
}

// playPost is the floor of the drain: workers that POST prepared bodies.
//
//	post URL WORKERS COUNT
func playPost(ctx context.Context, args []string) error {
	workers, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	bodies := make([][]byte, count)
	for i := range bodies {
		bodies[i] = sample(nil, 0, i)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	var next atomic.Int64
	begin := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error {
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				if err := postOne(ctx, client, args[0], bodies[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return load{Events: uint64(count), Rate: float64(count) / time.Since(begin).Seconds()}.print()
}

func postOne(ctx context.Context, client *http.Client, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth("bench", "")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("answered %s", resp.Status)
	}
	return err
}
