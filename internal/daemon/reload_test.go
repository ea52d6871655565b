package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackd/config"
)

// reloading is a wired daemon whose reloader runs, its configuration in a file
// and its keys in others. Everything happens in virtual time.
type reloading struct {
	*Daemon
	t     *testing.T
	dir   string
	log   bytes.Buffer // read after synctest.Wait only
	loads int          // of all the configuration or the keys alone
	onKey func()       // called after each time the keys were read
}

func newReloading(t *testing.T) *reloading {
	t.Helper()
	r := &reloading{t: t, dir: t.TempDir(), onKey: func() {}}
	r.write("key", "first")
	r.write("ingest_key", "mine")
	r.write("config.yaml", fmt.Sprintf(`
upstream: {url: "http://127.0.0.1:1/v1", api_key_file: %[1]s/key}
ingest: {socket: %[1]s/events.sock, http: "", key_file: %[1]s/ingest_key}
queue: {dir: %[1]s/queue}
admin: {socket: "", http: ""}
`, r.dir))
	options := config.LoadOptions{Path: filepath.Join(r.dir, "config.yaml")}
	load := func() (config.Config, error) { return config.Load(options) }
	cfg, err := load()
	if err != nil {
		t.Fatal(err)
	}
	r.Daemon, err = New(Options{Config: cfg, Source: Source{Load: load, Level: &slog.LevelVar{}, Keys: func(c config.Config) (config.Config, error) {
		c, err := c.RereadKeys(options)
		r.loads++
		r.onKey()
		return c, err
	}}, Log: slog.New(slog.NewTextHandler(&r.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); r.control.reloader.run(ctx, nil) }()
	t.Cleanup(func() {
		stop()
		<-ended
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *reloading) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// passes lets so much time pass.
func (r *reloading) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// inForce wants these to be the keys in force.
func (r *reloading) inForce(upstream, ingest string) {
	r.t.Helper()
	synctest.Wait()
	if got := r.control.reloader.current.Upstream.APIKey.Reveal(); got != upstream {
		r.t.Errorf("the API key in force is %q, want %q", got, upstream)
	}
	if got := r.control.reloader.rules.Load().Key; got != ingest {
		r.t.Errorf("the ingest key in force is %q, want %q", got, ingest)
	}
}

func TestAKeyThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloading(t)
		r.passes(6 * time.Second) // the first look
		r.onKey = func() { r.onKey = func() {}; r.write("key", "the-third-and-right-one") }
		r.write("key", "second-one")
		r.passes(11 * time.Second)
		r.inForce("the-third-and-right-one", "mine")
	})
}

// What happened between reading the configuration and the first look is seen.
func TestAKeyThatChangesDuringTheStartIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloading(t)
		r.write("key", "other")
		r.passes(6 * time.Second)
		r.inForce("other", "mine")
	})
}

func TestAConfigurationBrokenElsewhereKeepsNoKeyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloading(t)
		r.write("config.yaml", "sender: {rate: many}\nhalf a line")
		r.write("key", "second-one")
		r.passes(6 * time.Second)
		r.inForce("second-one", "mine")
		if problems := r.control.reloader.LastReload().Problems; len(problems) > 0 {
			t.Errorf("nobody has asked for a reload, yet it is called refused: %q", problems)
		}
	})
}

// While a key cannot be read that is an alarm, told once in the log, and it is
// tried again without another change of the file.
func TestAKeyFileThatCannotBeReadIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloading(t)
		r.passes(6 * time.Second)
		r.write("key", "two words")
		r.passes(time.Minute)
		r.inForce("first", "mine")
		if problems := r.control.reloader.LastReload().Problems; len(problems) != 1 || !strings.Contains(problems[0], "more than one word") {
			t.Errorf("got problems %q", problems)
		}
		if n := strings.Count(r.log.String(), "changed key refused"); n != 1 {
			t.Errorf("told %d times:\n%s", n, r.log.String())
		}
		if r.loads < 10 {
			t.Errorf("read %d times in a minute", r.loads)
		}
		r.write("key", "second")
		r.passes(6 * time.Second)
		r.inForce("second", "mine")
		if r.control.reloader.LastReload().Refused() {
			t.Error("still refused")
		}
	})
}

// What one part refuses, no part does: here the sender refuses its key after
// ingest has taken its own.
func TestARefusedReloadChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloading(t)
		r.write("key", "a:pair")
		r.write("ingest_key", "yours")
		result, err := r.control.reloader.Reload(t.Context())
		if err != nil || !result.Refused() || len(result.Changed) > 0 {
			t.Errorf("got %+v, %v, want it refused", result, err)
		}
		r.inForce("first", "mine")
		if err := r.ingestKey("mine"); err != nil {
			t.Errorf("the key from before: %v", err)
		}
		if r.ingestKey("yours") == nil {
			t.Error("ingest takes a key that was refused")
		}

		r.write("key", "second")
		result, err = r.control.reloader.Reload(t.Context())
		if err != nil || result.Refused() {
			t.Errorf("got %+v, %v", result, err)
		}
		r.inForce("second", "yours")
	})
}

// ingestKey has an event taken with a key.
func (r *reloading) ingestKey(key string) error {
	req := httptest.NewRequest(http.MethodPost, "http://localhost/v1/track", strings.NewReader(`{"event":"Application Opened","messageId":"m-`+key+`","userId":"ann"}`))
	req.SetBasicAuth(key, "")
	w := httptest.NewRecorder()
	r.ingest.Handler().ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		return errors.New(w.Body.String())
	}
	return nil
}

func TestAReloadThatNobodyAnswersEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := &reloader{requests: newRequests()}
	if _, err := r.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A listener that only the key protects must not lose it to a reload that also
// moves the listener, which needs a restart.
func TestAReloadTakesNoKeyFromAnOpenListener(t *testing.T) {
	running := config.Config{Ingest: config.Ingest{HTTP: "0.0.0.0:8484", KeyFile: "key", Key: config.NewSecret("k")}}
	next := config.Config{Ingest: config.Ingest{HTTP: "127.0.0.1:8484"}}
	merged, changed := (&reloader{current: running}).merge(next, true)
	if merged.Ingest.Key.Reveal() != "k" || len(changed) > 0 {
		t.Errorf("got key %q, changed %v", merged.Ingest.Key.Reveal(), changed)
	}
	next.Ingest.HTTP = running.Ingest.HTTP
	if merged, _ = (&reloader{current: running}).merge(next, true); !merged.Ingest.Key.IsZero() {
		t.Error("the key stays though the listener is where it was: the loader has judged that")
	}
}
