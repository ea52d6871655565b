package event_test

import (
	"testing"
	"time"

	"trackd/event"
)

func TestATypeReadsBack(t *testing.T) {
	for i, want := range event.Types() {
		if got, err := event.ParseType(want.String()); err != nil || got != want || int(want) != i {
			t.Errorf("%s: got %v, %v; its value is %d, want %d", want, got, err, want, i)
		}
	}
	for _, text := range []string{"", "Track", "tracks", "Type(6)"} {
		if got, err := event.ParseType(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

// The values are stored on disks: a change of either is a change of format.
func TestPersonHashesAreStable(t *testing.T) {
	for id, want := range map[string]uint64{"": 0xcbf29ce44fd0bfc1, "u1": 0x8c47b07bda33cf4} {
		if got := event.PersonHash([]byte(id)); got != want {
			t.Errorf("%q: got %#x, want %#x", id, got, want)
		}
	}
}

func TestAnEventNamesItsPersons(t *testing.T) {
	u, a, seven := event.PersonHash([]byte("u")), event.PersonHash([]byte("ä")), event.PersonHash([]byte("7"))
	for body, want := range map[string]event.Persons{
		`{"event":"Application Opened","userId":"u"}`:                   {u},
		`{"event":"Application Opened","anonymousId":"\u00e4"}`:         {a},
		`{"event":"Application Opened","anonymousId":"ä","userId":"u"}`: {u, a},
		`{"event":"Application Opened","anonymousId":"u","userId":"u"}`: {u},
		`{"event":"Application Opened","anonymousId":7,"userId":null}`:  {seven},
		`{"event":"Application Opened","anonymousId":"7","userId":""}`:  {seven},
	} {
		ev, err := event.Parser{}.Parse([]byte(body), time.Now())
		if err != nil || ev.Persons != want || ev.Type != event.TypeTrack {
			t.Errorf("%s: got %v %#x, %v; want track %#x", body, ev.Type, ev.Persons, err, want)
		}
	}
}
