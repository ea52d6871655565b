package sender_test

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
	"trackd/sender"
)

func TestNewNamesEveryProblemAtOnce(t *testing.T) {
	_, err := sender.New(sender.Options{
		Settings: sender.Settings{Key: "a:b", Rate: -1, Burst: -1},
		URL:      "ftp://host", Timeout: -1, Workers: -1, RetryMin: time.Hour, MaxAttempts: -1, MaxAge: -1, ShutdownTimeout: -1,
		CAFile: "x", Transport: http.DefaultTransport,
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"queue", "url", "key holds a colon", "rate", "burst", "timeout", "workers", "retry_max", "max_attempts", "max_age",
		"shutdown_timeout", "ca_file",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(noPEM, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*sender.Options){
		"no URL":               func(o *sender.Options) { o.URL = "" },
		"a URL without host":   func(o *sender.Options) { o.URL = "https:///v1" },
		"a URL with a query":   func(o *sender.Options) { o.URL += "?a=b" },
		"a URL with user":      func(o *sender.Options) { o.URL = "https://me@host/v1" },
		"a URL that is none":   func(o *sender.Options) { o.URL = "http://[::1" },
		"no key":               func(o *sender.Options) { o.Key = "" },
		"a key with a newline": func(o *sender.Options) { o.Key = "key\n" },
		"rate NaN":             func(o *sender.Options) { o.Rate = math.NaN() },
		"infinite rate":        func(o *sender.Options) { o.Rate = math.Inf(1) },
		"no such ca_file":      func(o *sender.Options) { o.CAFile = noPEM + "x" },
		"an empty ca_file":     func(o *sender.Options) { o.CAFile = noPEM },
	} {
		o := sender.Options{Settings: sender.Settings{Key: "k"}, URL: "https://host/v1", Queue: newMemQueue()}
		if _, err := sender.New(o); err != nil {
			t.Fatalf("before %s: %v", name, err)
		}
		change(&o)
		if _, err := sender.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestReloadChangesAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		if err := snd.Reload(sender.Settings{Key: "", Rate: 10}); err == nil {
			t.Error("a reload without a key was accepted")
		}
		if got := snd.Upstream().Rate; got != 250 {
			t.Errorf("rate is %v after a refused reload", got)
		}
		if err := snd.Reload(sender.Settings{Key: "new", Rate: 10, Burst: 1}); err != nil {
			t.Fatal(err)
		}
		q.add(ids("e", 30)...)
		time.Sleep(time.Second + time.Millisecond)
		if n := len(s.seen()); n != 11 {
			t.Errorf("%d requests in a second, want 11 at 10/s", n)
		}
		for _, h := range s.seen() {
			if h.key != "new" {
				t.Errorf("sent with key %q", h.key)
			}
		}
		snd.end(t)
	})
}

// A denial that was on its way when the key changed says nothing about the new.
func TestAnswersToTheOldKeyDoNotPauseTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, func(o *sender.Options) { o.Key = "wrong" })
		s.set(late(5*time.Second, wants("right")))
		q.add(ids("e", 16)...)
		time.Sleep(time.Second)
		if err := snd.Reload(sender.Settings{Key: "right"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if got := snd.Upstream().State; got != sender.Open {
			t.Errorf("upstream is %s, want open", got)
		}
		time.Sleep(time.Minute)
		snd.end(t)
		wantAccount(t, q, 16, 0)
	})
}

func TestTheRateIsKeptToTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		q.add(ids("e", 2000)...)
		from := time.Now()
		time.Sleep(5 * time.Second)
		for sec := range 5 {
			lo := from.Add(time.Duration(sec) * time.Second)
			want := 250
			if sec == 0 {
				want = 300 // with the burst
			}
			if n := s.within(lo, lo.Add(time.Second)); n < want-2 || n > want+2 {
				t.Errorf("%d requests in second %d, want %d", n, sec, want)
			}
		}
		snd.end(t)
	})
}

func TestDebugLogFollowsOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, func(o *sender.Options) {
			o.Log = slog.New(slog.NewJSONHandler(&book, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		s.set(says(500, ""))
		q.add("one")
		time.Sleep(100 * time.Millisecond)
		s.set(passes)
		time.Sleep(time.Minute)
		snd.end(t)
		all := strings.Join(book.lines, "")
		for _, want := range []string{
			`"message_id":"one","attempt":1,"result":"server_error","status":500`,
			`"message_id":"one","attempt":2,"result":"delivered","status":200`,
		} {
			if !strings.Contains(all, want) {
				t.Errorf("the log lacks %s:\n%s", want, all)
			}
		}
	})
}

func ExampleSender() {
	var events queue.Queue // a backend, for example of package boltqueue
	s, err := sender.New(sender.Options{
		Settings: sender.Settings{Key: "the API key", Rate: 250},
		URL:      "https://cdp.customer.io/v1",
		Queue:    events,
	})
	if err != nil {
		slog.Error("sender not started", "error", err)
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Hour)
	defer stop()
	if err := s.Run(ctx); err != nil {
		slog.Error("sender ended", "error", err)
	}
}
