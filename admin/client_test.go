package admin_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"trackd/admin"
	"trackd/queue"
)

func record(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestOrdersReachTheHelm(t *testing.T) {
	r := newRig(t, 0).serve()
	check(t, r.client.Pause(t.Context(), "the deploy of Ann & Bob"))
	check(t, r.client.Resume(t.Context()))
	check(t, r.client.Drain(t.Context()))
	if want := []string{"pause the deploy of Ann & Bob", "resume", "close"}; !slices.Equal(r.control.orders, want) {
		t.Errorf("got %q, want %q", r.control.orders, want)
	}
}

func TestAnOrderThatFailsSaysWhy(t *testing.T) {
	r := newRig(t, 0).serve()
	r.control.err = errors.New("no space left on device")
	for name, err := range map[string]error{
		"pause": r.client.Pause(t.Context(), ""), "resume": r.client.Resume(t.Context()), "drain": r.client.Drain(t.Context()),
	} {
		if err == nil || err.Error() != "no space left on device" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestHealthIsAskedOverTheSocket(t *testing.T) {
	r := newRig(t, 0).serve()
	if reason, err := r.client.Healthy(t.Context(), "/healthz"); err != nil || reason != "making progress" {
		t.Errorf("well: got %q, %v", reason, err)
	}
	r.sick = errors.New("stuck")
	if _, err := r.client.Healthy(t.Context(), "/healthz"); err == nil || err.Error() != "no progress: stuck" {
		t.Errorf("stuck: got %v", err)
	}
}

func TestADaemonThatIsNotThereIsUnreachable(t *testing.T) {
	dir := t.TempDir()
	for name, test := range map[string]struct {
		socket string
		want   error
	}{
		"no socket": {filepath.Join(dir, "none.sock"), fs.ErrNotExist},
		"a dead one": {func() string {
			path := filepath.Join(dir, "dead.sock")
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			check(t, err)
			ln.SetUnlinkOnClose(false)
			check(t, ln.Close())
			return path
		}(), syscall.ECONNREFUSED},
	} {
		client := admin.NewClient(test.socket)
		_, status := client.Status(t.Context())
		_, letters := nextOf(client.DeadLetters(t.Context(), queue.Filter{}))
		for _, err := range []error{status, letters, client.Resume(t.Context())} {
			if !errors.Is(err, admin.ErrUnreachable) || !errors.Is(err, test.want) {
				t.Errorf("%s: got %v", name, err)
			} else if n := strings.Count(err.Error(), test.socket); n != 1 {
				t.Errorf("%s: %q names the socket %d times", name, err, n)
			}
		}
	}
}

// nextOf returns the first of a sequence.
func nextOf[T any](seq func(func(T, error) bool)) (v T, err error) {
	for v, err := range seq {
		return v, err
	}
	return v, err
}

// answering returns a client of a daemon that answers everything with body and
// hangs up.
func answering(t *testing.T, status int, body string, length string) *admin.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.sock")
	ln, err := net.Listen("unix", path)
	check(t, err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if length != "" {
			w.Header().Set("Content-Length", length)
		}
		w.WriteHeader(status)
		w.Write([]byte(body))
	}))
	srv.Listener.Close()
	srv.Listener = ln
	srv.Start()
	t.Cleanup(srv.Close)
	client := admin.NewClient(path)
	t.Cleanup(client.Close)
	return client
}

func TestAListingThatBreaksOffIsAnError(t *testing.T) {
	whole := `{"address":"00000000000000010000000000000002","message_id":"m"}` + "\n"
	for name, test := range map[string]struct{ body, length, want string }{
		"told by the daemon": {whole + `{"error":"the disk is gone"}` + "\n", "", "the disk is gone"},
		"cut amid a line":    {whole + `{"address":"000`, "", "the listing ended early"},
		"cut after a line":   {whole, "10000", "the listing ended early"},
	} {
		client := answering(t, 200, test.body, test.length)
		var seen int
		var last error
		for _, err := range client.DeadLetters(t.Context(), queue.Filter{}) {
			if err != nil {
				last = err
			} else {
				seen++
			}
		}
		if seen != 1 || last == nil || !strings.Contains(last.Error(), test.want) {
			t.Errorf("%s: got %d letters, then %v, want 1, then %s", name, seen, last, test.want)
		}
	}
}

func TestAnAnswerOfSomethingElseIsQuoted(t *testing.T) {
	client := answering(t, 404, "404 page not found\n", "")
	if _, err := client.Status(t.Context()); err == nil {
		t.Error("got no error")
	} else {
		mentions(t, err.Error(), "404 Not Found", "page not found", "version")
	}
}

func TestImportTakesTheGoodAndNamesTheBad(t *testing.T) {
	r := newRig(t, 0).serve()
	good := events("new", 2)
	got, err := r.client.Import(t.Context(), [][]byte{good[0].Body, []byte("\xff\xfe"), good[1].Body, []byte(`{"event":"Nope"}`)})
	check(t, err)
	if got.Taken != 2 || got.NotTaken != 0 || len(got.Bad) != 2 || got.Bad[0].Index != 1 || got.Bad[1].Index != 3 {
		t.Errorf("got %+v, want the second and the fourth bad", got)
	}
	mentions(t, got.Bad[0].Message, "malformed")
	if a := r.account(); a.Queued != 2 || a.Dead != 0 {
		t.Errorf("account: got %+v, want nothing kept of the bad", a)
	}
}

func TestImportSaysWhenNothingCanBeTaken(t *testing.T) {
	r := newRig(t, 1).serve()
	r.append(events("first", 1))
	got, err := r.client.Import(t.Context(), [][]byte{events("new", 1)[0].Body, []byte("bad")})
	if err != nil || got.Taken != 0 || got.NotTaken != 1 || len(got.Bad) != 1 || got.Why != "queue is full" {
		t.Errorf("got %+v, %v, want one not taken because the queue is full, and one bad", got, err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	r := newRig(t, 0)
	see, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx, admin.Listeners{Pages: []net.Listener{see}}) }()
	resp, err := http.Get("http://" + see.Addr().String() + "/readyz")
	check(t, err)
	resp.Body.Close()
	stop()
	select {
	case err := <-ended:
		check(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
}

// A page whose name an attacker has made resolve to this host may not read what
// is shown.
func TestPagesOnTCPAreNotForForeignHosts(t *testing.T) {
	r := newRig(t, 0)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.server.Run(ctx, admin.Listeners{Pages: []net.Listener{ln}}) }()
	for host, want := range map[string]int{"": http.StatusOK, "localhost:9484": http.StatusOK, "evil.example:9484": http.StatusForbidden} {
		req, err := http.NewRequest(http.MethodGet, "http://"+ln.Addr().String()+"/status", nil)
		check(t, err)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		check(t, err)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("host %q: status %d, want %d", host, resp.StatusCode, want)
		}
	}
	stop()
	check(t, <-ended)
}

// In a crowd the daemon may close a connection before it has asked. A question is
// asked again; an order, which may have been carried out, is not.
func TestAQuestionIsAskedAgainAndAnOrderIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.sock")
	ln, err := net.Listen("unix", path)
	check(t, err)
	var conns atomic.Int32
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if conns.Load() < 3 {
			panic(http.ErrAbortHandler) // hangs up
		}
		w.Write([]byte("{}"))
	}), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}}
	t.Cleanup(func() { srv.Close() })
	go srv.Serve(ln)
	client := admin.NewClient(path)
	t.Cleanup(client.Close)
	if err := client.Resume(t.Context()); err == nil || conns.Load() != 1 {
		t.Errorf("an order: got %v after %d connections, want an error after one", err, conns.Load())
	}
	if _, err := client.Status(t.Context()); err != nil || conns.Load() != 3 {
		t.Errorf("a question: got %v after %d connections, want an answer by the third", err, conns.Load())
	}
}
