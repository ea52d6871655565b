package sender_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"trackd/sender"
)

// running is a sender at work.
type running struct {
	*sender.Sender
	stop context.CancelFunc
	done chan error
}

// start runs a sender from q to s; stop and wait for it with end.
func start(t testing.TB, q sender.Queue, s *site, change func(*sender.Options)) *running {
	t.Helper()
	o := sender.Options{
		Settings: sender.Settings{Key: "key"}, URL: "http://site.test/v1", Queue: q, Transport: s.transport(),
	}
	if change != nil {
		change(&o)
	}
	return begin(t, o)
}

// begin runs a sender as o says.
func begin(t testing.TB, o sender.Options) *running {
	t.Helper()
	snd, err := sender.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := &running{Sender: snd, stop: stop, done: make(chan error, 1)}
	go func() { r.done <- snd.Run(ctx) }()
	t.Cleanup(stop)
	return r
}

// end stops the sender and returns how long that took.
func (r *running) end(t testing.TB) time.Duration {
	t.Helper()
	from := time.Now()
	r.stop()
	if err := <-r.done; err != nil {
		t.Fatalf("run: %v", err)
	}
	return time.Since(from)
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = prefix + strconv.Itoa(i)
	}
	return out
}

// logbook keeps the messages logged.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logbook) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, nil))
}

func (l *logbook) count(match string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		var rec struct{ Msg string }
		if json.Unmarshal([]byte(line), &rec) == nil && rec.Msg == match {
			n++
		}
	}
	return n
}
