package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// nowhere is a base URL at which nobody listens.
const nowhere = "http://127.0.0.1:1/v1"

// places returns where a server may listen: a socket in a directory of its own,
// and so many addresses.
func (t *turn) places(n int) (socket string, addresses []string, err error) {
	if addresses, err = freeAddresses(n); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(t.short, "")
	return filepath.Join(dir, "events.sock"), addresses, err
}

// serveTrackd starts the real daemon on the queue in dir, with its line to
// nowhere, so that what is measured is taking events.
func (t *turn) serveTrackd(dir string) (*server, error) {
	socket, addresses, err := t.places(2)
	if err != nil {
		return nil, err
	}
	s, err := t.start("trackd is ready", []string{
		"TRACKD_CONFIG=", "TRACKD_UPSTREAM_URL=" + nowhere, "TRACKD_UPSTREAM_API_KEY=bench", "TRACKD_QUEUE_DIR=" + dir,
		"TRACKD_INGEST_SOCKET=" + socket, "TRACKD_INGEST_HTTP=" + addresses[0],
		"TRACKD_ADMIN_SOCKET=" + filepath.Join(filepath.Dir(socket), "admin.sock"), "TRACKD_ADMIN_HTTP=" + addresses[1],
	}, t.binary, "serve")
	if err != nil {
		return nil, err
	}
	s.socket, s.http = socket, addresses[0]
	s.counts, s.name = "http://"+addresses[1]+"/metrics", "trackd_commit_duration_seconds_count"
	return s, nil
}

// serveFloor starts the floor of both doors.
func (t *turn) serveFloor(dir string) (*server, error) {
	socket, addresses, err := t.places(1)
	if err != nil {
		return nil, err
	}
	s, err := t.start("ready", nil, t.self, "role", "floor", dir, socket, addresses[0])
	if err != nil {
		return nil, err
	}
	s.socket, s.http = socket, addresses[0]
	s.counts, s.name = "http://"+addresses[0]+"/", "commits"
	return s, nil
}

// client says which role loads a server, and how.
type client func(*bench, *server) (role string, args []any)

// posting is conns connections of HTTP, one event a request.
func posting(conns int) client {
	return func(b *bench, s *server) (string, []any) { return "http", []any{s.http, conns, b.Time} }
}

// streaming is clients of the socket, each with some events of size in flight.
func streaming(clients, flight, size int) client {
	return func(b *bench, s *server) (string, []any) {
		return "lines", []any{s.socket, clients, flight, b.Time, size}
	}
}

// load runs one client against a fresh server.
func (t *turn) load(serve func(dir string) (*server, error), c client) (figures, error) {
	s, err := serve(filepath.Join(t.dir, "queue"))
	if err != nil {
		return nil, err
	}
	got, err := t.loadOn(s, c)
	return got, errors.Join(err, t.stop(s))
}

// loadOn runs one client against s and adds what s has used meanwhile.
func (t *turn) loadOn(s *server, c client) (figures, error) {
	before, err := t.usage(s)
	if err != nil {
		return nil, err
	}
	role, args := c(t.bench, s)
	got, err := t.play(role, args...)
	if err != nil {
		return nil, err
	}
	after, err := t.usage(s)
	return got.with(after.perEvent(before, got[counted])), err
}

// usage returns what s has used so far.
func (t *turn) usage(s *server) (usage, error) {
	u, err := usageOf(s.cmd.Process.Pid)
	if err != nil {
		return u, err
	}
	u.commits, err = fetchNumber(t.ctx, s.counts, s.name)
	return u, err
}

// fetchNumber reads the number that follows name on a line of a page.
func fetchNumber(ctx context.Context, url, name string) (n float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			_, err := fmt.Sscan(value, &n)
			return n, err
		}
	}
	return 0, fmt.Errorf("no %s at %s", name, url)
}

// freeAddresses returns n addresses of loopback that were free a moment ago.
func freeAddresses(n int) ([]string, error) {
	addresses := make([]string, n)
	for i := range addresses {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close() // only then may the next use it
		addresses[i] = ln.Addr().String()
	}
	return addresses, nil
}
