package systemd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

func TestTheWatchdogIsFedWhileEveryPartTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := start(t, Options{Probes: []Probe{turning("queue"), turning("sender")}})
		time.Sleep(time.Hour)
		// Every quarter of the minute allowed, from the start.
		if got, want := m.count("WATCHDOG=1"), 4*60; got < want || got > want+1 {
			t.Errorf("got %d signs of life in an hour, want %d", got, want)
		}
		if m.log.Len() > 0 {
			t.Errorf("got logged %s, want nothing", &m.log)
		}
	})
}

func TestAStuckPartStarvesTheWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		m := start(t, Options{Probes: []Probe{turning("queue"), {Name: "sender", Alive: waitsFor(free)}}})
		time.Sleep(time.Hour)
		if got := m.count("WATCHDOG=1"); got != 0 {
			t.Errorf("got %d signs of life from a stuck process, want none", got)
		}
		close(free)
		time.Sleep(time.Minute)
		if m.count("WATCHDOG=1") == 0 {
			t.Error("got no sign of life after the part turned again")
		}
		m.wantLogged(t, `msg="no progress: systemd will end this process unless that changes" stuck=[sender] watchdog=1m0s`, 1)
		m.wantLogged(t, `msg="progress again" was_stuck=[sender]`, 1)
	})
}

// The queue's committer is the part that matters most, so here is the real one,
// stuck in a commit.
func TestAWedgedCommitterStarvesTheWatchdog(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		inCommit, free := make(chan struct{}, 1), make(chan struct{})
		q, err := boltqueue.Open(boltqueue.Options{Dir: dir, OnCommit: func(c boltqueue.Commit) {
			if c.Events > 0 {
				inCommit <- struct{}{}
				<-free
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		m := start(t, Options{Probes: []Probe{{Name: "queue", Alive: q.Alive}}})
		time.Sleep(time.Minute)
		synctest.Wait() // for a sign that is due at this very moment
		before := m.count("WATCHDOG=1")
		if before == 0 {
			t.Fatal("got no sign of life from an idle queue")
		}
		opened, err := event.Parser{}.Parse([]byte(`{"event":"Application Opened","userId":"ann"}`), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Append(t.Context(), queue.Batch{Events: []event.Event{opened}}); err != nil {
			t.Fatal(err)
		}
		<-inCommit
		time.Sleep(time.Hour)
		if got := m.count("WATCHDOG=1"); got != before {
			t.Errorf("got %d signs of life while the committer was stuck, want none", got-before)
		}
		close(free)
		time.Sleep(time.Minute)
		if got := m.count("WATCHDOG=1"); got == before {
			t.Error("got no sign of life after the committer turned again")
		}
		m.stop()
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestTheStatusLineIsSentOnlyWhenItHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line, asked := "", 0
		var mu sync.Mutex
		set := func(to string) { mu.Lock(); defer mu.Unlock(); line = to }
		m := start(t, Options{Probes: []Probe{turning("queue")}, Status: func(context.Context) string {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return line
		}})
		set("open\nnothing queued")
		time.Sleep(time.Hour)
		if got := m.count("STATUS=open nothing queued"); got != 1 {
			t.Errorf("got the same line %d times in an hour, want once", got)
		}
		if mu.Lock(); asked > 240 {
			t.Errorf("asked %d times in an idle hour, want at most 240", asked)
		}
		mu.Unlock()
		for i := range 60 { // it changes every second, for a minute
			set(strconv.Itoa(i))
			time.Sleep(time.Second)
		}
		if got := m.count("STATUS=") - 1; got < 20 || got > 30 {
			t.Errorf("got %d lines in a minute of changes, want one every other second", got)
		}
	})
}

func TestMessagesSayWhatSystemdUnderstands(t *testing.T) {
	m := managed(t, Options{Probes: []Probe{turning("queue")}})
	m.Reloading()
	m.Ready()
	m.Stopping(90 * time.Second)
	got := m.sent
	if len(got) != 3 || got[1] != "READY=1" {
		t.Fatalf("got %q", got)
	}
	at, ok := strings.CutPrefix(got[0], "RELOADING=1\nMONOTONIC_USEC=")
	if usec, err := strconv.ParseInt(at, 10, 64); !ok || err != nil || usec <= 0 {
		t.Errorf("got %q, want the time of the reload", got[0])
	}
	if want := "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000\nSTATUS=stopping: finishing what is in flight, for at most 1m30s"; got[2] != want {
		t.Errorf("got %q, want %q", got[2], want)
	}
}

func TestTroubleWithTheSocketIsLoggedOnce(t *testing.T) {
	m := managed(t, Options{Probes: []Probe{turning("queue")}})
	m.notify = func(string) error { return errors.New("it is gone") }
	for range 3 {
		m.Ready()
	}
	m.wantLogged(t, `msg="systemd not notified" error="it is gone"`, 1)
}

func TestTheEnvironmentSaysWhatIsWanted(t *testing.T) {
	options := Options{Probes: []Probe{turning("queue")}}
	t.Run("no service manager", func(t *testing.T) {
		t.Setenv("NOTIFY_SOCKET", "")
		s, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		s.notify = func(state string) error { t.Errorf("sent %q", state); return nil }
		s.Ready()
		s.Run(t.Context()) // returns at once
	})
	t.Run("a socket and a watchdog", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "notify")
		socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		t.Setenv("NOTIFY_SOCKET", path)
		t.Setenv("WATCHDOG_USEC", "20000")
		s, err := New(options)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		text := make([]byte, 100)
		for range 3 {
			n, err := socket.Read(text)
			if err != nil || string(text[:n]) != "WATCHDOG=1" {
				t.Errorf("got %q, %v", text[:n], err)
			}
		}
		stop()
		running.Wait()
	})
	t.Run("nonsense", func(t *testing.T) {
		t.Setenv("WATCHDOG_USEC", "soon")
		if _, err := New(options); err == nil {
			t.Error("got no error")
		}
	})
}

func TestOptionsTellEveryProblem(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no probes: got no error")
	}
	_, err := New(Options{Probes: []Probe{{Name: "queue"}, {Alive: turning("").Alive}}})
	if err == nil || strings.Count(err.Error(), "needs a name and a function") != 2 {
		t.Errorf("got %v, want both probes named", err)
	}
}

// manager stands in for systemd.
type manager struct {
	*Service
	stop func()

	mu   sync.Mutex
	sent []string     // guarded by mu
	log  bytes.Buffer // of the service; guarded by mu
}

// Write takes the service's log.
func (m *manager) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.log.Write(p)
}

// managed returns a service that must show a sign of life every minute.
func managed(t *testing.T, o Options) *manager {
	t.Helper()
	m := &manager{}
	o.Log = slog.New(slog.NewTextHandler(m, nil))
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	m.Service = s
	s.managed, s.watchdog = true, time.Minute
	s.notify = func(state string) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.sent = append(m.sent, state)
		return nil
	}
	return m
}

// start runs a managed service until the test ends or stop is called.
func start(t *testing.T, o Options) *manager {
	t.Helper()
	m := managed(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.Run(ctx) })
	m.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(m.stop)
	return m
}

// count is how many messages began with prefix.
func (m *manager) count(prefix string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sent {
		if strings.HasPrefix(s, prefix) {
			n++
		}
	}
	return n
}

func (m *manager) wantLogged(t *testing.T, line string, times int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := strings.Count(m.log.String(), line); got != times {
		t.Errorf("got %d times %s, want %d, in\n%s", got, line, times, &m.log)
	}
}

func turning(name string) Probe {
	return Probe{Name: name, Alive: func(context.Context) error { return nil }}
}

func waitsFor(free <-chan struct{}) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-free:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
