package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"trackd/queue"
)

// doors are the ways into trackd, each as a function that hands it one event
// and returns what trackd said.
func (d *daemon) doors() map[string]func(call) string {
	s := shapes()[0]
	track := func(c call) string {
		status, body := s.postBody(d.t, http.DefaultClient, "http://"+d.http+"/v1/track", c)
		return fmt.Sprintf("%d %s", status, body)
	}
	batch := func(c call) string {
		status, body := s.postBody(d.t, http.DefaultClient, "http://"+d.http+"/v1/batch", map[string]any{"batch": []call{c}})
		return fmt.Sprintf("%d %s", status, body)
	}
	return map[string]func(call) string{"track": track, "batch": batch, "socket": d.line}
}

// line sends one event over the socket and returns all replies.
func (d *daemon) line(c call) string {
	d.t.Helper()
	conn, err := net.Dial("unix", d.socket)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(c); err != nil {
		d.t.Fatal(err)
	}
	if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
		d.t.Fatal(err)
	}
	said, err := io.ReadAll(conn)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(said)
}

// exclusions returns the kinds that trackd warned of, in order.
func (d *daemon) exclusions() []string {
	var kinds []string
	for _, line := range d.log.lines("accept setting excludes") {
		var warning struct{ Level, Setting, Field, Found string }
		if err := json.Unmarshal([]byte(line), &warning); err != nil || warning.Level != "WARN" || warning.Setting != "ingest.accept" {
			d.t.Errorf("log line %s: %v", line, err)
		}
		kinds = append(kinds, warning.Field+" "+warning.Found)
	}
	slices.Sort(kinds)
	return kinds
}

func TestNamesOutsideTheLifecycleAreKeptBackByDefault(t *testing.T) {
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1")
	for name, send := range d.doors() {
		for i, event := range []string{"Order Placed", "Order Placed", "Application opened"} {
			said := send(call{"event": event, "userId": fmt.Sprintf("%s-%d", name, i)})
			if !strings.Contains(said, "not_lifecycle") || !strings.Contains(said, "accept: track") {
				t.Errorf("%s says %s, want not_lifecycle and the setting that admits it", name, said)
			}
		}
	}
	d.checkLetters(map[queue.Reason]uint64{queue.NotLifecycle: 9})
	if got, want := d.exclusions(), []string{`event "Application opened"`, `event "Order Placed"`}; !slices.Equal(got, want) {
		t.Errorf("warnings %q, want %q", got, want)
	}
	far.checkArrived(nil)
}

func TestAcceptTrackTakesAnyNameAndNothingElse(t *testing.T) {
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1", "TRACKD_INGEST_ACCEPT=track")
	var good []call
	for name, send := range d.doors() {
		for i, event := range []string{"Order Placed", "Application Opened", " bestellt ✓ \"neu\"", strings.Repeat("n", 5000)} {
			c := call{"event": event, "userId": fmt.Sprintf("%s-%d", name, i), "properties": map[string]any{"version": "1"}}
			if said := send(c); !strings.HasPrefix(said, "200 {") && !strings.HasPrefix(said, `{"accepted":1,"rejected":0,"refused":0}`) {
				t.Errorf("%s says %s of the event %.30q", name, said, event)
			}
			good = append(good, c)
		}
		for _, bad := range []struct {
			call call
			want string
		}{
			{call{"userId": "u"}, "invalid"},
			{call{"userId": "u", "event": ""}, "invalid"},
			{call{"event": "Order Placed"}, "invalid"},
			{call{"userId": "u", "event": "Order Placed", "properties": map[string]any{"x": strings.Repeat("x", 32_000)}}, "oversize"},
		} {
			if said := send(bad.call); !strings.Contains(said, bad.want) {
				t.Errorf("%s says %s, want %s", name, said, bad.want)
			}
		}
	}
	d.checkLetters(map[queue.Reason]uint64{queue.Invalid: 9, queue.Oversize: 3})
	far.checkArrived(users(good))
	if got := d.exclusions(); len(got) > 0 {
		t.Errorf("warnings %q, want none", got)
	}
	checkNames(t, far, good)
}

// checkNames fails the test unless each event arrived with its name as it was
// sent.
func checkNames(t testing.TB, far *stand, good []call) {
	t.Helper()
	names := map[string]any{}
	for _, c := range good {
		names[c.user()] = c["event"]
	}
	for _, arrived := range far.box.Recent(1000) {
		var body struct{ UserID, Event string }
		if err := json.Unmarshal(arrived.Body, &body); err != nil {
			t.Fatal(err)
		}
		if names[body.UserID] != body.Event {
			t.Errorf("%s arrived as %q, was sent as %q", body.UserID, body.Event, names[body.UserID])
		}
	}
}

// otherTypes are the calls that trackd carries only if it accepts all.
func otherTypes() []string { return []string{"alias", "group", "identify", "page", "screen"} }

func TestOtherCallsAreKeptBackWithOneWarningForEachKind(t *testing.T) {
	for _, accept := range []string{"lifecycle", "track"} {
		t.Run(accept, func(t *testing.T) {
			far := newStand(t)
			d := startDaemon(t, far.url+"/v1", "TRACKD_INGEST_ACCEPT="+accept)
			var warnings []string
			for _, kind := range otherTypes() {
				c := call{"type": kind, "userId": "u", "groupId": "g", "previousId": "p"}
				for range 2 {
					for name, send := range d.doors() {
						want := "not_lifecycle"
						if name == "track" { // the type contradicts the endpoint
							want = "invalid"
						}
						if said := send(c); !strings.Contains(said, want) {
							t.Errorf("%s says %s of a call %s", name, said, kind)
						}
					}
					status, body := shapes()[0].postBody(t, http.DefaultClient, "http://"+d.http+"/v1/"+kind, c)
					if status != http.StatusBadRequest || !strings.Contains(string(body), "not_lifecycle") {
						t.Errorf("/v1/%s says %d %s", kind, status, body)
					}
				}
				warnings = append(warnings, fmt.Sprintf("type %q", kind))
			}
			d.checkLetters(map[queue.Reason]uint64{queue.NotLifecycle: uint64(6 * len(warnings)), queue.Invalid: uint64(2 * len(warnings))})
			if got := d.exclusions(); !slices.Equal(got, warnings) {
				t.Errorf("warnings %q, want %q", got, warnings)
			}
			far.checkArrived(nil)
		})
	}
}

func TestAcceptTrackCarriesWhatAnSDKTracksAndKeepsBackTheRest(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		far := newStand(t)
		d := startDaemon(t, far.url+"/v1", "TRACKD_INGEST_ACCEPT=track")
		good := lifecycle(s.name, 14)
		for i, c := range good {
			c["event"] = fmt.Sprintf("Own Event %d", i)
		}
		calls := slices.Clone(good)
		for _, kind := range otherTypes() {
			calls = append(calls, call{"type": kind, "userId": "other-" + kind, "groupId": "g", "previousId": "p"})
		}
		batch := s.name == "pipelines"
		all := runApp(t, plan{SDK: s.name, URL: "http://" + d.http, Events: calls, Batch: batch, Options: s.quick(nil)})
		checkAllDelivered(t, all, len(calls))
		d.checkLetters(map[queue.Reason]uint64{queue.NotLifecycle: uint64(len(otherTypes()))})
		if got := d.exclusions(); len(got) != len(otherTypes()) {
			t.Errorf("warnings %q, want one for each of %v", got, otherTypes())
		}
		far.checkArrived(users(good))
	})
}

func TestUnknownAcceptIsAnErrorOfConfiguration(t *testing.T) {
	for _, value := range []string{"everything", "Track"} {
		code, said := runTrackd(t, "TRACKD_INGEST_ACCEPT="+value)
		for _, want := range []string{"accept", value, "lifecycle", "track"} {
			if code != 2 || !strings.Contains(said, want) {
				t.Errorf("accept %s: exit %d and %s, want 2 and %q in it", value, code, said, want)
			}
		}
	}
}

// runTrackd runs trackd serve with a configuration that it must refuse.
func runTrackd(t testing.TB, settings ...string) (code int, said string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "serve")
	cmd.Env = append(append(withoutSettings(os.Environ()), "TRACKD_UPSTREAM_REGION=us", "TRACKD_UPSTREAM_API_KEY=k"), settings...)
	out, _ := cmd.CombinedOutput() // the exit code tells
	return cmd.ProcessState.ExitCode(), string(out)
}
