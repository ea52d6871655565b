package sender_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackd/queue"
	"trackd/sender"
)

// wants answers as this API does: 401 to any other key.
func wants(key string) reply {
	return func(w http.ResponseWriter, r *http.Request, id string) int {
		if got, _, _ := r.BasicAuth(); got != key {
			return says(401, `{"error":"no"}`)(w, r, id)
		}
		return passes(w, r, id)
	}
}

func TestAWrongKeyPausesTheLineAndTheRightOneResumesItAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		events int
		after  time.Duration
	}{
		"a full queue":           {500, 3*time.Hour + 11*time.Second},
		"one event":              {1, 3*time.Hour + 11*time.Second},
		"one event, mended soon": {1, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				q, s := newMemQueue(), newSite(t)
				s.set(wants("right"))
				snd := start(t, q, s, func(o *sender.Options) { o.Key = "wrong"; o.Log = book.logger() })
				q.add(ids("e", c.events)...)
				time.Sleep(c.after)

				up := snd.Upstream()
				if up.State != sender.Denied || !strings.Contains(up.Why, "key") || up.NextProbe.IsZero() {
					t.Errorf("upstream is %+v, want denied, with what to do about the key", up)
				}
				if n := len(s.seen()); n > 3*60 {
					t.Errorf("%d requests in three hours", n)
				}
				if n := book.count("the destination denies us: probing until it is mended"); n != 1 {
					t.Errorf("%d log lines say that the destination denies us, want 1", n)
				}
				if err := snd.Reload(sender.Settings{Key: "right"}); err != nil {
					t.Fatal(err)
				}
				from := time.Now()
				time.Sleep(time.Second)
				if took := s.firstPass(t, from).Sub(from); took > 100*time.Millisecond {
					t.Errorf("first delivery %v after the key was mended", took)
				}
				if up := snd.Upstream(); up.State != sender.Open {
					t.Errorf("upstream is %+v, want open", up)
				}
				if n := book.count("delivery recovered"); n != 1 {
					t.Errorf("%d log lines say that delivery recovered, want 1", n)
				}
				time.Sleep(10 * time.Minute)
				snd.end(t)
				wantAccount(t, q, c.events, 0)
			})
		})
	}
}

func TestAWrongAddressNeverReachesDeadLetters(t *testing.T) {
	redirect := func(w http.ResponseWriter, r *http.Request, _ string) int {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		return 307
	}
	for name, c := range map[string]struct {
		reply reply
		why   string
	}{
		"401":               {says(401, ""), "key"},
		"404":               {says(404, "<html>"), "url"},
		"405":               {says(405, ""), "account"},
		"redirect":          {redirect, "redirect"},
		"a portal's 200":    {says(200, "<html>welcome</html>"), "something other"},
		"an HTML 400":       {says(400, "<html>bad request</html>"), "something other"},
		"a proxy's 407":     {says(407, ""), "proxy"},
		"a plain-text 422":  {says(422, "no"), "something other"},
		"legal reasons 451": {says(451, ""), "account"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var book logbook
				q, s := newMemQueue(), newSite(t)
				s.set(c.reply)
				snd := start(t, q, s, func(o *sender.Options) { o.Log = book.logger() })
				q.add(ids("e", 40)...)
				time.Sleep(5 * time.Hour)
				if n := len(s.seen()); n > 5*60 {
					t.Errorf("%d requests in five hours", n)
				}
				up := snd.Upstream()
				if up.State != sender.Denied || !strings.Contains(up.Why, c.why) {
					t.Errorf("upstream is %+v, want denied because of %q", up, c.why)
				}
				if n := book.count("the destination denies us: probing until it is mended"); n != 1 || !strings.Contains(book.lines[0], c.why) {
					t.Errorf("logged %d times that the destination denies us, want once, because of %q: %q", n, c.why, book.lines)
				}
				s.set(passes)
				snd.ProbeNow()
				from := time.Now()
				time.Sleep(10 * time.Minute)
				if took := s.firstPass(t, from).Sub(from); took > time.Second {
					t.Errorf("first delivery %v after the kick", took)
				}
				snd.end(t)
				wantAccount(t, q, 40, 0)
			})
		})
	}
}

func TestTwentyBuriesInARowRaiseAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var book logbook
		q, s := newMemQueue(), newSite(t)
		s.set(says(400, `{"meta":{"errors":["timestamp is no time"]}}`))
		snd := start(t, q, s, func(o *sender.Options) { o.Log = book.logger() })
		q.add(ids("a", 19)...)
		time.Sleep(time.Minute)
		if alarm := snd.Upstream().Alarm; alarm != "" {
			t.Errorf("alarm after 19: %q", alarm)
		}
		q.add(ids("b", 19)...)
		time.Sleep(time.Minute)
		if alarm := snd.Upstream().Alarm; !strings.Contains(alarm, "38") {
			t.Errorf("alarm after 38: %q", alarm)
		}
		s.set(passes)
		q.add("c")
		time.Sleep(time.Minute)
		if alarm := snd.Upstream().Alarm; alarm != "" {
			t.Errorf("alarm after one passed: %q", alarm)
		}
		if got := book.count("every event is being rejected"); got != 1 {
			t.Errorf("the alarm was logged %d times", got)
		}
		snd.end(t)
		wantAccount(t, q, 1, 38)
		o, _ := q.letter("a0")
		want := queue.Outcome{Address: o.Address, Verb: queue.Bury, Attempts: 1, Reason: queue.Rejected, Status: 400,
			Detail: `{"meta":{"errors":["timestamp is no time"]}}`}
		if o != want {
			t.Errorf("letter = %+v, want %+v", o, want)
		}
	})
}

func TestPauseStopsAndResumeGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, s := newMemQueue(), newSite(t)
		snd := start(t, q, s, nil)
		snd.Pause(time.Now(), "the workspace moves")
		snd.Pause(time.Now(), "the workspace moves")
		q.add(ids("e", 10)...)
		time.Sleep(time.Hour)
		if n := len(s.seen()); n != 0 {
			t.Errorf("%d requests while paused", n)
		}
		if up := snd.Upstream(); up.State != sender.Paused || up.Why != "paused by an operator (the workspace moves): trackd resume when you are ready" {
			t.Errorf("upstream is %+v, want paused", up)
		}
		if _, _, leased, _ := q.account(); leased != 0 {
			t.Errorf("%d events leased while paused", leased)
		}
		snd.Resume()
		time.Sleep(time.Second)
		snd.end(t)
		wantAccount(t, q, 10, 0)
	})
}
