package interop

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"trackd/event"
	"trackd/internal/sandbox"
)

// stand is the far side: the sandbox, served on loopback.
type stand struct {
	t   testing.TB
	box *sandbox.Server
	url string // without the path /v1
}

func newStand(t testing.TB) *stand {
	t.Helper()
	box, err := sandbox.New(sandbox.Options{Remember: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(box)
	t.Cleanup(srv.Close)
	return &stand{t: t, box: box, url: srv.URL}
}

// breaks makes the far side close every connection without an answer.
func (s *stand) breaks() { s.trouble("down") }

// mends makes all well.
func (s *stand) mends() { s.trouble("well") }

func (s *stand) trouble(preset string) {
	s.t.Helper()
	if err := s.box.SetTrouble(sandbox.Trouble{{Preset: preset}}); err != nil {
		s.t.Fatal(err)
	}
}

// arrived returns the messageIds under which each user's event was accepted,
// one entry for each time.
func (s *stand) arrived() map[string][]string {
	s.t.Helper()
	type track struct{ UserID, MessageID string }
	users := map[string][]string{}
	for _, call := range s.box.Recent(1 << 20) {
		if call.Accepted == 0 {
			continue
		}
		var body struct {
			track
			Batch []track `json:"batch"`
		}
		if err := json.Unmarshal(call.Body, &body); err != nil {
			s.t.Fatalf("the sandbox accepted %.80s: %v", call.Body, err)
		}
		if len(body.Batch) == 0 {
			body.Batch = []track{body.track}
		}
		for _, e := range body.Batch {
			users[e.UserID] = append(users[e.UserID], e.MessageID)
		}
	}
	return users
}

// checkArrived fails the test unless exactly the events of these users are
// there, each under one messageId.
func (s *stand) checkArrived(users []string) {
	s.t.Helper()
	got := s.arrived()
	if missing := without(users, got); len(missing) > 0 {
		s.t.Errorf("%d of %d events did not arrive: %s", len(missing), len(users), few(missing))
	}
	for _, user := range users {
		if ids := slices.Compact(slices.Sorted(slices.Values(got[user]))); len(ids) > 1 {
			s.t.Errorf("the event of %s arrived under %d messageIds: %s", user, len(ids), few(ids))
		}
		delete(got, user)
	}
	if len(got) > 0 {
		s.t.Errorf("%d events arrived that should not have: %s", len(got), few(slices.Sorted(maps.Keys(got))))
	}
}

// without returns the users that have no entry in arrived.
func without(users []string, arrived map[string][]string) []string {
	return slices.DeleteFunc(slices.Clone(users), func(user string) bool { return len(arrived[user]) > 0 })
}

// few shows the first of many.
func few(names []string) string {
	const show = 5
	if len(names) <= show {
		return strings.Join(names, " ")
	}
	return strings.Join(names[:show], " ") + " …"
}

// call is one call of an SDK: the fields of a track call, or of another type.
type call map[string]any

func (c call) user() string { return c["userId"].(string) }

func users(calls []call) []string {
	names := make([]string, len(calls))
	for i, c := range calls {
		names[i] = c.user()
	}
	return names
}

// lifecycle returns n good calls, going through the seven events, each of its
// own user.
func lifecycle(prefix string, n int) []call {
	names := event.Names()
	calls := make([]call, n)
	for i := range calls {
		calls[i] = call{
			"type":       "track",
			"event":      names[i%len(names)],
			"userId":     fmt.Sprintf("%s-%04d", prefix, i),
			"properties": map[string]any{"version": "1.2.3", "build": "45"},
		}
	}
	return calls
}
