package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// seed gives a fuzz test the goldens, and inputs of every kind of refusal.
func seed(f *testing.F, add func(raw []byte)) {
	for _, file := range []string{"testdata/lifecycle.txtar", "testdata/clients.txtar"} {
		for _, golden := range goldens(f, file) {
			add(golden[0].Data)
		}
	}
	for _, cases := range [][]refuseCase{malformedCases(), invalidCases(), excludedCases()} {
		for _, c := range cases {
			add([]byte(c.raw))
		}
	}
}

func FuzzParse(f *testing.F) {
	seed(f, func(raw []byte) { f.Add(raw, false); f.Add(raw, true) })
	f.Fuzz(func(t *testing.T, raw []byte, track bool) {
		parser := Parser{}
		if track {
			parser.Accept = Track
		}
		before := bytes.Clone(raw)
		ev, err := parser.Parse(raw, noon())
		if !bytes.Equal(raw, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			mustRefuse(t, err)
			return
		}
		mustSettle(t, parser, ev)
		mustKeepTheRest(t, raw, ev)
	})
}

func FuzzParseBatch(f *testing.F) {
	seed(f, func(raw []byte) {
		f.Add([]byte(`{"batch":[` + string(raw) + `]}`))
		f.Add([]byte(`{"context":{"a":1,"b":null},"batch":[` + string(raw) + `],"integrations":{"All":true}}`))
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		items, err := Parser{}.ParseBatch(body, noon())
		if !bytes.Equal(body, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			mustRefuse(t, err)
			return
		}
		for _, item := range items {
			if item.Err != nil {
				mustRefuse(t, item.Err)
				continue
			}
			mustSettle(t, Parser{}, item.Event)
			mustKeepTheRest(t, item.Raw, item.Event)
		}
	})
}

// mustRefuse checks that err is one of ours and says something.
func mustRefuse(t testing.TB, err error) {
	t.Helper()
	refused, ok := errors.AsType[*Error](err)
	if !ok || refused.Code.weight() == 0 || len(refused.Problems) == 0 {
		t.Fatalf("got %#v, want an *Error with a code and problems", err)
	}
	mustBeShort(t, refused)
}

// mustKeepTheRest checks, with the library's decoder instead of our own walk,
// that of raw and the event made of it everything no rule speaks of is the
// same, byte for byte and in order.
func mustKeepTheRest(t testing.TB, raw []byte, ev Event) {
	t.Helper()
	if len(ev.Body) > MaxBytes || !jsontext.Value(ev.Body).IsValid() || ev.ID == "" || ev.Name == "" {
		t.Fatalf("not an event: %q %q %s", ev.ID, ev.Name, ev.Body)
	}
	got, want := untouched(t, ev.Body, ev.Name), untouched(t, raw, ev.Name)
	if got != want {
		t.Fatalf("untouched parts\n got %q\nwant %q", got, want)
	}
}

// untouched renders all members of an event, and of its properties, that no
// rule may change: names decoded, values as they stand.
func untouched(t testing.TB, object []byte, event string) string {
	t.Helper()
	var kept strings.Builder
	decode(t, object, func(name string, value jsontext.Value) {
		switch name {
		case "type", "messageId", "timestamp", "userId", "anonymousId", "sentAt", "writeKey":
		case "context", "integrations":
			if value.Kind() != jsontext.KindNull {
				kept.WriteString(name + string(value))
			}
		case "properties":
			if value.Kind() == jsontext.KindBeginObject {
				decode(t, value, func(name string, value jsontext.Value) {
					if ruleFor(event, name) == free {
						kept.WriteString(name + string(value))
					}
				})
			}
		default:
			kept.WriteString(name + string(value))
		}
	})
	return kept.String()
}

// decode calls visit with each member of object.
func decode(t testing.TB, object []byte, visit func(name string, value jsontext.Value)) {
	t.Helper()
	dec := jsontext.NewDecoder(bytes.NewBuffer(object))
	if _, err := dec.ReadToken(); err != nil {
		t.Fatal(err)
	}
	for dec.PeekKind() == jsontext.KindString {
		name, err := dec.ReadToken()
		if err != nil {
			t.Fatal(err)
		}
		decoded := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			t.Fatal(err)
		}
		visit(decoded, value)
	}
}
