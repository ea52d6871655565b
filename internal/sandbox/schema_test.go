package sandbox

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// lifecycle holds each event of the specification with all its properties.
func lifecycle() map[string]string {
	return map[string]string{
		"Application Installed":    `{"version":"2.1.0","build":"421"}`,
		"Application Opened":       `{"from_background":false,"url":"app://sale","referring_application":"Mail","version":"2.1.0","build":"421"}`,
		"Application Backgrounded": `{}`,
		"Application Foregrounded": `{}`,
		"Application Updated":      `{"previous_version":"2.0.9","previous_build":"420","version":"2.1.0","build":"421"}`,
		"Application Uninstalled":  `{}`,
		"Application Crashed":      `{"signal":11}`,
	}
}

func TestTheSchemaNamesTheLifecycleEvents(t *testing.T) {
	all, err := compiledSchemas()
	if err != nil {
		t.Fatal(err)
	}
	got, want := slices.Sorted(maps.Keys(all.lifecycle)), slices.Sorted(maps.Keys(lifecycle()))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// track returns a valid call with more members in front.
func track(members string) string {
	return `{` + members + `"type":"track","event":"Application Opened","userId":"u1"}`
}

func TestEachLifecycleEventIsValidForEachKindOfUser(t *testing.T) {
	users := map[string]string{
		"known":         `"userId":"u1"`,
		"anonymous":     `"anonymousId":"a1"`,
		"both":          `"userId":"u1","anonymousId":"a1"`,
		"empty user id": `"userId":"","anonymousId":"a1"`,
	}
	for name, properties := range lifecycle() {
		for who, ids := range users {
			body := fmt.Sprintf(`{"messageId":"m1","timestamp":"2026-11-22T10:30:00.123456789+02:00","type":"track","event":%q,%s,"properties":%s,"context":{"device":{"token":"t"}},"integrations":{"All":false}}`, name, ids, properties)
			if got := Problems([]byte(body)); got != nil {
				t.Errorf("%s, %s: got problems %q, want none", name, who, got)
			}
		}
	}
}

func TestProblemsAreToldInOneSentenceEach(t *testing.T) {
	tests := []struct {
		name string
		body string
		want []string
	}{
		// What is taken though the API document does not mention it.
		{"only what is required", track(``), nil},
		{"a name outside the seven", `{"type":"track","event":"Order Placed","userId":"u1"}`, nil},
		{"unknown members", track(`"channel":"mobile","_metadata":{"n":[1]},"version":3,`), nil},
		{"custom properties of any type", track(`"properties":{"n":1,"o":{"a":[null]},"x":null},`), nil},
		{"another event's property of any type", track(`"properties":{"previous_build":7},`), nil},
		{"a number no float can hold", track(`"properties":{"n":1e999},`), nil},
		{"a timestamp in UTC without fraction", track(`"timestamp":"2026-11-22T10:30:00Z",`), nil},

		// The call itself.
		{"nothing", ``, []string{"the body must be one JSON value: EOF"}},
		{"not an object", `[]`, []string{"the event must be of type object, not array"}},
		{"a second value", track(``) + `{}`, []string{"the body must be one JSON value: something follows it"}},
		{"an empty object", `{}`, []string{"the event must have type"}},
		{"no type", `{"event":"x","userId":"u1"}`, []string{"the event must have type"}},
		{"an unknown type", `{"type":"pageview","userId":"u1"}`, []string{"type must be one of [identify track page screen group alias]"}},
		{"a type that is no string", `{"type":7,"userId":"u1"}`, []string{"type must be one of [identify track page screen group alias]"}},
		{"no event", `{"type":"track","userId":"u1"}`, []string{"the event must have event"}},
		{"an empty event", `{"type":"track","event":"","userId":"u1"}`, []string{"event must not be empty"}},
		{"an event that is no string", `{"type":"track","event":7,"userId":"u1"}`, []string{"event must be of type string, not number"}},

		// Who.
		{"no id", `{"type":"track","event":"x"}`, []string{"userId, anonymousId or groupId must be a non-empty string"}},
		{"empty ids", `{"type":"track","event":"x","userId":"","anonymousId":""}`, []string{"userId, anonymousId or groupId must be a non-empty string"}},
		{"a number for an id", `{"type":"track","event":"x","userId":7,"anonymousId":"a1"}`, []string{"userId must be of type null or string, not number"}},
		{"null for an id that is not needed", `{"type":"track","event":"x","userId":"u1","anonymousId":null}`, nil},
		{"null for both", `{"type":"track","event":"x","userId":null,"anonymousId":null}`, []string{"userId, anonymousId or groupId must be a non-empty string"}},
		{"a group for an id", `{"type":"track","event":"x","groupId":"g1"}`, nil},
		{"an empty messageId", track(`"messageId":"",`), []string{"messageId must not be empty"}},
		{"a number for a messageId", track(`"messageId":1,`), []string{"messageId must be of type string, not number"}},

		// When.
		{"a number for a timestamp", track(`"timestamp":1700000000,`), []string{"timestamp must be of type string, not number"}},
		{"a timestamp without offset", track(`"timestamp":"2026-11-22T10:30:00",`), []string{"timestamp must be an RFC 3339 date and time with an offset"}},
		{"a day that is not", track(`"timestamp":"2026-02-30T10:30:00Z",`), []string{"timestamp must be an RFC 3339 date and time with an offset"}},
		{"a date alone", track(`"timestamp":"2026-11-22",`), []string{"timestamp must be an RFC 3339 date and time with an offset"}},

		// What.
		{"properties that are a list", track(`"properties":[],`), []string{"properties must be of type object, not array"}},
		{"null properties", track(`"properties":null,`), []string{"properties must be of type object, not null"}},
		{"context that is a string", track(`"context":"x",`), []string{"context must be of type object, not string"}},
		{"integrations that are a boolean", track(`"integrations":true,`), []string{"integrations must be of type object, not boolean"}},
		{"installed, wrong types", `{"type":"track","event":"Application Installed","userId":"u1","properties":{"version":2,"build":null}}`,
			[]string{"properties.build must be of type string, not null", "properties.version must be of type string, not number"}},
		{"opened, wrong types", track(`"properties":{"from_background":"no","url":1,"referring_application":[],"version":{},"build":421},`),
			[]string{
				"properties.build must be of type string, not number",
				"properties.from_background must be of type boolean, not string",
				"properties.referring_application must be of type string, not array",
				"properties.url must be of type string, not number",
				"properties.version must be of type string, not object",
			}},
		{"updated, wrong types", `{"type":"track","event":"Application Updated","userId":"u1","properties":{"previous_version":1,"previous_build":2,"version":3,"build":4}}`,
			[]string{
				"properties.build must be of type string, not number",
				"properties.previous_build must be of type string, not number",
				"properties.previous_version must be of type string, not number",
				"properties.version must be of type string, not number",
			}},

		// How it is written.
		{"a duplicate key", `{"type":"track","type":"track","event":"x","userId":"u1"}`,
			[]string{`the body must be one JSON value: duplicate object member name at byte 16`}},
		{"a duplicate key deep down", track(`"context":{"a":{"b":1,"b":2}},`),
			[]string{`the body must be one JSON value: duplicate object member name at byte 23`}},
		{"nested too deep", track(`"context":{"a":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `},`),
			[]string{`the body must be one JSON value: exceeded max depth at byte 10014`}},
		{"invalid UTF-8", track("\"x\":\"\xff\","),
			[]string{`the body must be one JSON value: invalid UTF-8 at byte 6`}},
		{"cut short", `{"type":"track"`, []string{"the body must be one JSON value: unexpected EOF at byte 15"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Problems([]byte(tt.body))); diff != "" {
				t.Errorf("problems of %s (-want +got):\n%s", tt.body, diff)
			}
		})
	}
}

// Each type of call has rules of its own for ids and names.
func TestEachTypeOfCallHasItsRules(t *testing.T) {
	const anyID = "userId or anonymousId must be a non-empty string"
	tests := []struct {
		callType, members string
		want              []string
	}{
		{"identify", `"userId":"u1","traits":{"email":"u1@example.com","plan":null}`, nil},
		{"identify", `"anonymousId":"a1","userId":null`, nil},
		{"identify", `"userId":"u1","context":{"traits":{"email":"u1@example.com"}}`, nil},
		{"identify", `"userId":"","traits":{"email":"u1@example.com"}`, []string{anyID}},
		{"identify", `"userId":"u1","traits":[]`, []string{"traits must be of type object, not array"}},
		{"identify", `"groupId":"g1"`, []string{anyID}},

		{"track", `"userId":"u1","event":"Order Completed"`, nil},
		{"track", `"anonymousId":"d1","event":"Report Delivery Event","properties":{"metric":"opened"}`, nil},
		{"track", `"userId":"u1"`, []string{"the event must have event"}},

		{"page", `"userId":"u1","name":"Home","category":"Docs","properties":{"url":"https://example.com/"}`, nil},
		{"page", `"anonymousId":"a1"`, nil},
		{"page", `"userId":"u1","name":null,"category":null`, nil},
		{"page", `"userId":"u1","name":"","event":""`, nil},
		{"page", `"userId":"u1","name":7,"category":[]`, []string{"category must be of type null or string, not array", "name must be of type null or string, not number"}},
		{"page", `"name":"Home"`, []string{anyID}},

		{"screen", `"userId":"u1","name":"Main"`, nil},
		{"screen", `"groupId":"g1"`, []string{anyID}},

		{"group", `"groupId":"g1","traits":{"name":"Acme","objectTypeId":"1"}`, nil},
		{"group", `"groupId":"g1","userId":null,"anonymousId":null`, nil},
		{"group", `"userId":"u1"`, []string{"the event must have groupId"}},
		{"group", `"userId":"u1","groupId":""`, []string{"groupId must not be empty"}},
		{"group", `"userId":7,"groupId":"g1"`, []string{"userId must be of type null or string, not number"}},

		{"alias", `"userId":"u1","previousId":"a1"`, nil},
		{"alias", `"userId":"u1","previousId":"a1","anonymousId":null`, nil},
		{"alias", `"userId":"u1"`, []string{"the event must have previousId"}},
		{"alias", `"previousId":"a1"`, []string{"the event must have userId"}},
		{"alias", `"anonymousId":"a1"`, []string{"the event must have userId and previousId"}},
		{"alias", `"userId":null,"previousId":7`, []string{"previousId must be of type string, not number", "userId must be of type string, not null"}},

		{"page", `"userId":"u1","timestamp":1700000000,"messageId":"","context":[]`, []string{
			"context must be of type object, not array", "messageId must not be empty", "timestamp must be of type string, not number"}},
	}
	tested := map[string]bool{}
	for _, tt := range tests {
		tested[tt.callType] = true
		stated := fmt.Sprintf(`{"type":%q,%s}`, tt.callType, tt.members)
		if diff := cmp.Diff(tt.want, Problems([]byte(stated))); diff != "" {
			t.Errorf("problems of %s (-want +got):\n%s", stated, diff)
		}
		if _, got := judge(tt.callType, []byte(`{`+tt.members+`}`)); !cmp.Equal(tt.want, got) {
			t.Errorf("%s at its own endpoint, without a type: got %q, want %q", tt.members, got, tt.want)
		}
	}
	for _, callType := range callTypes() {
		if !tested[callType] {
			t.Errorf("no test of %s", callType)
		}
	}
}

func TestTheLargestEventHas32000Bytes(t *testing.T) {
	empty := len(track(`"x":"",`))
	largest := track(`"x":"` + strings.Repeat("a", maxEventBytes-empty) + `",`)
	if got := Problems([]byte(largest)); got != nil {
		t.Errorf("an event of %d bytes: got %q, want no problem", len(largest), got)
	}
	want := []string{"the event has 32001 bytes, allowed are 32000"}
	if diff := cmp.Diff(want, Problems([]byte(largest+" "))); diff != "" {
		t.Errorf("one byte more (-want +got):\n%s", diff)
	}
}

// What decode leaves out must not matter to the schema.
func TestTheSchemaSeesNoDifferenceInWhatDecodeLeavesOut(t *testing.T) {
	all, err := compiledSchemas()
	if err != nil {
		t.Fatal(err)
	}
	values := []string{`{}`, `{"version":"1","b":{"c":[1]}}`, `{"version":1}`, `{"version":{"a":1}}`, `{"url":[1]}`, `[]`, `[{"a":1}]`, `null`, `true`, `1.5`, `"s"`}
	for name := range lifecycle() {
		for _, value := range values {
			body := fmt.Appendf(nil, `{"type":"track","event":%q,"userId":"u1","properties":%s,"context":%[2]s,"integrations":%[2]s,"more":%[2]s}`, name, value)
			whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			want := all.of("", whole).Validate(whole) == nil
			if got := Problems(body) == nil; got != want {
				t.Errorf("%s: got valid %t, the whole document says %t", body, got, want)
			}
		}
	}
}

func FuzzProblemsNeverPanics(f *testing.F) {
	f.Add([]byte(track(``)))
	f.Add([]byte(`{"properties":{"version":1},"context":[[{}]]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		problems := Problems(body)
		for _, problem := range problems {
			if problem == "" {
				t.Errorf("%q: a problem without words", body)
			}
		}
	})
}
