package event

import (
	"bytes"
	"testing"
	"time"
)

func TestParseIntoWritesToItsArenaWhatParseReturns(t *testing.T) {
	now := time.Now()
	for _, raw := range []string{
		typical,
		`  {"type":"track","event":"Application Opened","messageId":"m","userId":"u","timestamp":"2026-01-15T10:30:00Z"}  `,
		`{"event":"Application Updated","messageId":7,"userId":42,"timestamp":"2026-01-15T10:30:00+0000","properties":{"version":1,"build":2,"previous_version":3,"previous_build":4}}`,
		`{"sentAt":1,"type":null,"event":"Application Opened","messageId":"m","anonymousId":null,"userId":"u","context":null,"timestamp":"2026-01-15T10:30:00Z"}`,
	} {
		want, err := Parser{}.Parse([]byte(raw), now)
		if err != nil {
			t.Fatal(err)
		}
		whole := 2 * (len(raw) + 128)
		used := false
		for size := range whole {
			arena := make([]byte, size)
			parsed, err := Parser{}.ParseInto(arena, []byte(raw), now)
			if err != nil {
				t.Fatal(err)
			}
			got, rest := parsed.Event, parsed.Rest
			for i := range rest {
				rest[i] = 'x' // the next event
			}
			if got.ID != want.ID || got.Name != want.Name || !bytes.Equal(got.Body, want.Body) {
				t.Fatalf("arena of %d: got %s, want %s", size, got.Body, want.Body)
			}
			used = used || len(rest) < size
			if len(rest) < size && len(rest)+len(got.Body) > size {
				t.Fatalf("arena of %d: %d bytes written and %d left", size, len(got.Body), len(rest))
			}
		}
		if !used {
			t.Errorf("no arena up to %d was large enough for %s", whole, want.Body)
		}
	}
}

func TestParseIntoLeavesTheArenaAloneWhenItRejects(t *testing.T) {
	arena := make([]byte, 1024)
	parsed, err := Parser{}.ParseInto(arena, []byte(`{"event":"Application Opened"}`), time.Now())
	if rest := parsed.Rest; err == nil || len(rest) != len(arena) {
		t.Errorf("%d bytes left of %d, error %v", len(rest), len(arena), err)
	}
}
