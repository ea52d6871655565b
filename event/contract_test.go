package event_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"trackd/event"
	"trackd/internal/sandbox"
)

// The stand-in for the destination judges by a JSON Schema of its own, written
// from the destination's API document and not from our rules.

func TestWhatParseEmitsSatisfiesTheDestinationsSchema(t *testing.T) {
	for _, file := range []string{"testdata/lifecycle.txtar", "testdata/clients.txtar", "testdata/calls.txtar"} {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, input := range archive.Files {
			if input.Name == "want" {
				continue
			}
			t.Run(input.Name, func(t *testing.T) {
				if satisfies(t, event.Parser{Accept: event.All}, string(input.Data)) == 0 {
					t.Errorf("not taken: %s", input.Data)
				}
			})
		}
	}
}

// Whatever stands in whatever place: if Parse takes it, so does the schema.
func TestWhatParseTakesTheSchemaTakes(t *testing.T) {
	values := []string{
		`null`, `""`, `" "`, `"x"`, `"\u0000"`, `0`, `-1.50e3`, `421`, `true`, `false`, `[]`, `{}`, `{"x":null}`,
		`"2024-01-15T10:30:00.000Z"`, `"2024-01-15t10:30:00z"`, `"2024-01-15T10:30:00+0200"`, `"2024-01-15T10:30:00.123456789-23:59"`,
		`"2024-01-15T10:30:00"`, `"0000-01-01T00:00:00Z"`, `"2016-12-31T23:59:60Z"`, `"track"`,
	}
	top := []string{"type", "messageId", "timestamp", "userId", "anonymousId", "properties", "context", "integrations", "sentAt", "writeKey", "other"}
	spec := []string{"version", "build", "previous_version", "previous_build", "url", "referring_application", "from_background", "other"}
	taken := 0
	for _, name := range event.Names() {
		for _, value := range values {
			for _, field := range top {
				who := `"userId":"p",`
				if field == "userId" {
					who = `"anonymousId":"a",`
				}
				taken += satisfies(t, event.Parser{}, fmt.Sprintf(`{%s"event":%q,%q:%s}`, who, name, field, value))
			}
			for _, property := range spec {
				taken += satisfies(t, event.Parser{}, fmt.Sprintf(`{"userId":7,"event":%q,"properties":{%q:%s}}`, name, property, value))
			}
		}
	}
	if total := len(event.Names()) * len(values) * (len(top) + len(spec)); taken < total/4 || taken == total {
		t.Errorf("took %d of %d: this compares nothing", taken, total)
	}
}

// The same of every call, each with the ids it needs and all others in turn.
func TestWhatParseTakesOfEveryCallTheSchemaTakes(t *testing.T) {
	values := []string{`null`, `""`, `"x"`, `0`, `421`, `true`, `[]`, `[1]`, `{}`, `{"x":null}`, `"2024-01-15T10:30:00.000Z"`, `"\ud83d"`}
	top := []string{"type", "event", "name", "category", "messageId", "timestamp", "originalTimestamp", "userId", "anonymousId",
		"previousId", "groupId", "properties", "traits", "context", "integrations", "sentAt", "writeKey", "other"}
	parser, taken, total := event.Parser{Accept: event.All}, 0, 0
	for _, call := range event.Types() {
		for _, field := range top {
			for _, value := range values {
				raw := `{`
				for _, other := range [][2]string{{"userId", "u"}, {"groupId", "g"}, {"previousId", "p"}, {"event", "Order Completed"}} {
					if other[0] != field {
						raw += fmt.Sprintf("%q:%q,", other[0], other[1])
					}
				}
				total++
				taken += satisfies(t, parser.At(call), raw+fmt.Sprintf("%q:%s}", field, value))
			}
		}
	}
	if taken < total/3 || taken == total {
		t.Errorf("took %d of %d: this compares nothing", taken, total)
	}
}

func TestEveryItemOfABatchSatisfiesTheSchema(t *testing.T) {
	batch, err := event.OpenBatch([]byte(`{"context":{"ip":"::1"},"integrations":{"All":true},"batch":[
		{"event":"Application Updated","userId":1,"properties":{"build":2,"version":null},"context":null},
		{"event":"Application Opened","anonymousId":"a","context":{"ip":null},"sentAt":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for item, ok := batch.Next(); ok; item, ok = batch.Next() {
		if satisfies(t, event.Parser{}, string(item.Raw)) == 0 {
			t.Errorf("not taken: %s", item.Raw)
		}
	}
}

// The schema must be able to say no, or the tests above prove nothing.
func TestTheSchemaRefusesWhatIsNotInNormalForm(t *testing.T) {
	for _, raw := range []string{
		`{"event":"Application Opened","userId":"p"}`,
		`{"type":"track","event":"Application Opened","userId":7}`,
		`{"type":"track","event":"Application Opened"}`,
		`{"type":"track","event":"Application Opened","userId":"p","properties":{"build":421}}`,
		`{"type":"track","event":"Application Opened","userId":"p","timestamp":1705314600}`,
		`{"type":"track","event":"Application Opened","userId":"p","timestamp":"2024-01-15T10:30:00+0000"}`,
		`{"type":"track","event":"Application Opened","userId":"p","context":null}`,
	} {
		if problems := sandbox.Problems([]byte(raw)); problems == nil {
			t.Errorf("%s: got no problems", raw)
		}
	}
}

// satisfies returns 1 if Parse takes raw, which the schema must then take too.
func satisfies(t *testing.T, parser event.Parser, raw string) int {
	t.Helper()
	ev, err := parser.Parse([]byte(raw), time.Now())
	if err != nil {
		return 0
	}
	if problems := sandbox.Problems(ev.Body); problems != nil {
		t.Errorf("%s\nbecame %s\nwith %s", raw, ev.Body, strings.Join(problems, "; "))
	}
	return 1
}
