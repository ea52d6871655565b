package event

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// seed gives a fuzz test the goldens, and inputs of every kind of refusal.
func seed(f *testing.F, add func(raw []byte)) {
	for _, file := range []string{"testdata/lifecycle.txtar", "testdata/clients.txtar", "testdata/calls.txtar"} {
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
	f.Fuzz(func(t *testing.T, raw []byte, all bool) {
		parser := Parser{}
		if all {
			parser.Accept = All
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
		f.Add([]byte(`{"batch":[{"a":NaN},` + string(raw) + `,],"context":{"\ud800":"\ud800"}}`))
	})
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		batch, err := OpenBatch(body)
		if err != nil {
			mustRefuse(t, err)
			return
		}
		items := judgeAll(Parser{Accept: All}, batch)
		if !bytes.Equal(body, before) {
			t.Fatal("the input was changed")
		}
		mustCutAsTheLibrary(t, body, items)
		sum := int64(0)
		for _, item := range items {
			if item.Err != nil {
				mustRefuse(t, item.Err)
				continue
			}
			mustSettle(t, Parser{Accept: All}, item.Event)
			mustKeepTheRest(t, item.Raw, item.Event)
			sum += int64(len(item.Event.Body))
		}
		if sum > batch.MaxBodies() {
			t.Fatalf("bodies of %d bytes, bounded by %d", sum, batch.MaxBodies())
		}
	})
}

// mustCutAsTheLibrary checks that of a valid envelope the items are those that
// the library's decoder finds.
func mustCutAsTheLibrary(t testing.TB, body []byte, items []judged) {
	t.Helper()
	if !jsontext.Value(body).IsValid() {
		return
	}
	var envelope struct {
		Batch                 []jsontext.Value `json:"batch"`
		Context, Integrations jsontext.Value
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		t.Fatalf("%v\nin %s", err, body)
	}
	if len(items) != len(envelope.Batch) {
		t.Fatalf("%d items, the library finds %d", len(items), len(envelope.Batch))
	}
	for i, item := range items {
		if want := envelope.Batch[i]; !bytes.HasPrefix(item.Raw, want[:len(want)-1]) && len(item.Raw) <= len(want) {
			t.Fatalf("item %d: got %q, the library finds %q", i, item.Raw, want)
		}
	}
}

// FuzzBatchBorders holds what is found in an item that may be broken against
// the same item between two good ones.
func FuzzBatchBorders(f *testing.F) {
	seed(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		batch, err := OpenBatch([]byte(`{"batch":[` + crash + `,` + string(raw) + `,` + crash + `]}`))
		if err != nil {
			if len(raw) <= MaxInputBytes && jsontext.Value(raw).IsValid() {
				t.Fatalf("valid, and yet: %v", err)
			}
			return
		}
		items := judgeAll(Parser{}, batch)
		if first, last := items[0], items[len(items)-1]; first.Err != nil || last.Err != nil && len(items) == 3 {
			t.Fatalf("the good ones: %v, %v", first.Err, last.Err)
		}
		_, alone := Parser{}.Parse(raw, noon())
		if len(items) == 3 && (alone == nil) != (items[1].Err == nil) {
			t.Fatalf("alone: %v; in a batch: %v", alone, items[1].Err)
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
	if len(ev.Body) > MaxBytes || !jsontext.Value(ev.Body).IsValid() || ev.ID == "" || ev.Type == TypeTrack && ev.Name == "" {
		t.Fatalf("not an event: %q %q %s", ev.ID, ev.Name, ev.Body)
	}
	raw, _ = replaceSurrogates(raw)
	got, want := untouched(t, ev.Body, ev), untouched(t, raw, ev)
	if got != want {
		t.Fatalf("untouched parts\n got %q\nwant %q", got, want)
	}
}

// untouched renders all members of an event, and of its properties, that no
// rule may change: names decoded, values as they stand.
func untouched(t testing.TB, object []byte, ev Event) string {
	t.Helper()
	var kept strings.Builder
	decode(t, object, func(name string, value jsontext.Value) {
		switch name {
		case "type", "messageId", "timestamp", "userId", "anonymousId", "previousId", "groupId", "sentAt", "writeKey":
		case "context", "integrations", "traits":
			if value.Kind() == jsontext.KindBeginObject && len(value) > len("{}") {
				kept.WriteString(name + string(value))
			}
		case "properties":
			if value.Kind() == jsontext.KindBeginObject {
				decode(t, value, func(name string, value jsontext.Value) {
					if ev.Type != TypeTrack || ruleFor(ev.Name, name) == free {
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
