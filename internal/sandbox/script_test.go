package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pipes is a listener without a network, so that its server and clients can
// live in virtual time.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, open := <-p
	if !open {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (p pipes) Close() error   { close(p); return nil } // once, as http.Server does
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// serveVirtually runs a stand-in in the synctest bubble of its caller.
func serveVirtually(t *testing.T, options Options) (*Server, *client) {
	t.Helper()
	s, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	listener := make(pipes)
	server := &http.Server{Handler: s}
	go server.Serve(listener)
	transport := &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			listener <- far
			return near, nil
		},
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return s, &client{t: t, base: "http://sandbox", http: &http.Client{Transport: transport}}
}

func TestSlowAnswersLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := serveVirtually(t, Options{Trouble: Trouble{{Preset: "slow"}}})
		start := time.Now()
		got := c.post("/v1/track", opened("m1"))
		if took := time.Since(start); got.status != 200 || took != 2*time.Second {
			t.Errorf("got %d %v after %v, want 200 after 2s", got.status, got.err, took)
		}
	})
}

func TestAClientThatLeavesASlowAnswerLeavesItsEventOnlyIfStored(t *testing.T) {
	for _, store := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s, c := serveVirtually(t, Options{Trouble: Trouble{{Preset: "slow", Do: Action{Store: store}}}})
			c.http.Timeout = time.Second
			if got := c.post("/v1/track", opened("m1")); got.err == nil {
				t.Errorf("got %d, want a time-out", got.status)
			}
			synctest.Wait()
			got := s.Received()
			if stored := got.Accepted == 1; stored != store || got.Broken[Hang] != 1 {
				t.Errorf("store %t: got stored %t, broken %v", store, stored, got.Broken)
			}
		})
	}
}

func TestHangLastsUntilTheClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := serveVirtually(t, Options{Trouble: Trouble{{Preset: "hang"}}})
		c.http.Timeout = time.Hour
		start := time.Now()
		got := c.post("/v1/track", opened("m1"))
		if took := time.Since(start); !errors.Is(got.err, context.DeadlineExceeded) || took != time.Hour {
			t.Errorf("got %d %v after %v, want a time-out after 1h", got.status, got.err, took)
		}
		if got := s.Received(); got.Accepted != 0 || got.Broken[Hang] != 1 {
			t.Errorf("got %d accepted, broken %v, want 0 and one hang", got.Accepted, got.Broken)
		}
	})
}

func TestResetOfWhatIsNoTCPConnectionClosesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := serveVirtually(t, Options{Trouble: Trouble{{Preset: "reset"}}})
		if got := c.post("/v1/track", opened("m1")); got.err == nil {
			t.Errorf("got %d, want an error", got.status)
		}
	})
}

func TestAScriptIsPlayedInTime(t *testing.T) {
	script, err := ParseScript([]byte(`[
		{"at":"10s","trouble":{"preset":"throttled"}},
		{"at":"20s","trouble":[{"preset":"unavailable","for":"5s"}]},
		{"at":"30s","trouble":[]}]`))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, c := serveVirtually(t, Options{})
		done := make(chan error, 1)
		go func() { done <- s.Play(t.Context(), script) }()
		var got []int
		time.Sleep(time.Second)
		for range 8 {
			got = append(got, c.post("/v1/track", opened("m1")).status)
			time.Sleep(5 * time.Second)
		}
		// at        1    6    11   16   21   26   31   36 s
		want := []int{200, 200, 429, 429, 503, 200, 200, 200}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if err := <-done; err != nil {
			t.Errorf("play: %v", err)
		}
	})
}

func TestAScriptEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err = s.Play(ctx, Script{{At: time.Second, Trouble: Trouble{{Preset: "down"}}}, {At: time.Hour}})
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("got %v after %v, want the context's error after 1m", err, time.Since(start))
		}
		if len(s.Trouble()) != 1 {
			t.Errorf("got trouble %v, want the first scene's", s.Trouble())
		}
	})
}

func TestNothingIsPlayedOfAWrongScript(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Play(t.Context(), Script{{Trouble: Trouble{{Preset: "down"}}}, {Trouble: Trouble{{Preset: "dwon"}}}})
	if err == nil || s.Trouble() != nil {
		t.Errorf("got %v with trouble %v, want an error and no trouble", err, s.Trouble())
	}
}

func TestWhatIsWrongWithAScriptIsSaidPlainly(t *testing.T) {
	tests := []struct{ json, want string }{
		{``, `read script: the document ends too early`},
		{`{}`, `read script: found {, which does not fit`},
		{`[{"at":"1s","truoble":[]}]`, `read script: in /0: unknown key "truoble"`},
		{`[{"at":5,"trouble":[]}]`, `read script: in /0/at: a duration is written like "1m30s", found 5`},
		{`[{"at":"1s","trouble":{"preset":"down","fro":"1s"}}]`, `read script: in /0/trouble: unknown key "fro"`},
		{`[{"at":"-1s","trouble":[]}]`, `scene 1: -1s comes before 0s`},
		{`[{"at":"2s","trouble":[]},{"at":"1s","trouble":{"preset":"dwon"}}]`, "scene 2: 1s comes before 2s\nscene 2: rule 1: there is no preset \"dwon\""},
	}
	for _, tt := range tests {
		_, err := ParseScript([]byte(tt.json))
		if got := fmt.Sprint(err); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.json, got, tt.want)
		}
	}
}
