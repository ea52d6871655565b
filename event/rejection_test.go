package event

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// good is an event with nothing wrong, to break one thing at a time.
const good = `{"type":"track","event":"Application Opened","userId":"p","messageId":"m",` +
	`"timestamp":"2024-01-15T10:30:00Z","properties":{"version":"1"},"context":{},"integrations":{}}`

// refuseCase is an input with every problem it has, as "meta.errors" tells them.
type refuseCase struct {
	name, raw string
	code      Code
	problems  []string
}

const (
	wantObject  = "one JSON object in valid UTF-8 with unique keys"
	wantTime    = `an RFC 3339 time with offset such as "2024-01-15T10:30:00.000Z"`
	wantSeven   = "one of the seven lifecycle events; the setting accept: track admits any name"
	wantSomeone = "userId: found neither userId nor anonymousId nor groupId, allowed at least one of them, as a non-empty string"
)

func malformedCases() []refuseCase {
	one := func(name, raw, found string) refuseCase {
		return refuseCase{name, raw, Malformed, []string{"found " + found + ", allowed " + wantObject}}
	}
	return []refuseCase{
		one("nothing", "", "the end of the input at byte 0"),
		one("white space only", " \n", "the end of the input at byte 2"),
		one("cut off", `{"type":"track",`, "the end of the input at byte 16"),
		one("no JSON", `hello`, "invalid character 'h' at start of value at byte 0"),
		one("single quotes", `{'a':1}`, `invalid character '\'' at start of string at byte 1`),
		one("a trailing comma", `{"a":1,}`, "invalid character '}' at start of string at byte 7"),
		one("a byte order mark", "\ufeff{}", `invalid character '\ufeff' at start of value at byte 0`),
		one("trailing garbage", good+"x", "invalid character 'x' after top-level value at byte 169"),
		one("two events on a line", good+good, "invalid character '{' after top-level value at byte 169"),
		one("invalid UTF-8", "{\"a\":\"\xff\"}", "invalid UTF-8 at byte 6"),
		one("half a surrogate and another mistake", `{"a":"\ud83d",}`, "invalid character '}' at start of string at byte 14"),
		one("a surrogate as UTF-8", "{\"a\":\"\xed\xa0\xbd\"}", "invalid UTF-8 at byte 6"),
		one("a cut escape", `{"a":"\ud8`, "the end of the input at byte 6"),
		one("keys that are one with their surrogates replaced", `{"\ud800":1,"\ud801":2}`, `duplicate key "�" at byte 12`),
		one("a control character", "{\"a\":\"\x01\"}", `invalid character '\x01' in string at byte 6`),
		one("a duplicate key", `{"userId":"a","userId":"b"}`, `duplicate key "userId" at byte 14`),
		one("a duplicate key by escape", `{"userId":"a","user\u0049d":"b"}`, `duplicate key "userId" at byte 14`),
		one("a nested duplicate key", `{"context":{"a":[{"b":1,"b":2}]}}`, `duplicate key "b" at byte 24`),
		one("a long duplicate key", `{"`+strings.Repeat("k", 99)+`":1,"`+strings.Repeat("k", 99)+`":2}`,
			`duplicate key "kkkkkkkkkkkkkkkkk…" at byte 105`),
		one("an array", `[{"event":"Application Opened"}]`, "an array"),
		one("null", `null`, "null"),
		one("a string", ` "Application Opened" `, `"Application Opened"`),
		one("a number", `7`, `7`),
		one("nested 10,000 deep", `{"x":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`}`,
			"more than 512 levels of nesting"),
		one("nested and never closed", strings.Repeat(`{"":`, 16_000), "more than 512 levels of nesting"),
	}
}

func invalidCases() []refuseCase {
	one := func(name, old, new, problem string) refuseCase {
		return refuseCase{name, strings.Replace(good, old, new, 1), Invalid, []string{problem}}
	}
	return []refuseCase{
		one("type of another kind", `"track"`, `1`, `type: found 1, allowed "track"`),
		one("event missing", `"event":"Application Opened",`, ``, "event: found nothing, allowed the name of the event, a non-empty string"),
		one("event null", `"Application Opened"`, `null`, "event: found null, allowed the name of the event, a non-empty string"),
		one("event empty", `"Application Opened"`, `""`, `event: found "", allowed the name of the event, a non-empty string`),
		one("event a number", `"Application Opened"`, `7`, "event: found 7, allowed the name of the event, a non-empty string"),
		one("nobody", `"userId":"p",`, ``, wantSomeone),
		one("nobody but null and empty", `"userId":"p",`, `"userId":null,"anonymousId":"",`, wantSomeone),
		one("userId a boolean", `"userId":"p"`, `"userId":true`, "userId: found true, allowed a string or a number"),
		one("userId an object", `"userId":"p"`, `"userId":{"id":1}`, "userId: found an object, allowed a string or a number"),
		one("anonymousId an array beside a good userId", `"userId":"p"`, `"userId":"p","anonymousId":["a"]`,
			"anonymousId: found an array, allowed a string or a number"),
		one("messageId a boolean", `"m"`, `false`, "messageId: found false, allowed a string or a number"),
		one("messageId too long", `"m"`, `"`+strings.Repeat("m", 256)+`"`, "messageId: found 256 bytes, allowed at most 255 bytes"),
		one("timestamp in Unix seconds", `"2024-01-15T10:30:00Z"`, `1705314600`, "timestamp: found 1705314600, allowed "+wantTime+
			"; a number would be read as milliseconds, and Unix seconds become a day in 1970"),
		one("timestamp without offset", `:00Z"`, `:00"`, `timestamp: found "2024-01-15T10:30:00", allowed `+wantTime),
		one("timestamp an object", `"2024-01-15T10:30:00Z"`, `{}`, "timestamp: found an object, allowed "+wantTime),
		one("properties an array", `{"version":"1"}`, `[ 0 ]`, "properties: found an array, allowed an object"),
		one("traits a string", `"context":{}`, `"traits":"{}"`, `traits: found "{}", allowed an object`),
		one("originalTimestamp for none, in milliseconds", `"timestamp":"2024-01-15T10:30:00Z"`, `"originalTimestamp":1705314600000`,
			"originalTimestamp: found 1705314600000, allowed "+wantTime+"; a number would be read as milliseconds, and Unix seconds become a day in 1970"),
		one("originalTimestamp for an empty one, no time", `"timestamp":"2024-01-15T10:30:00Z"`, `"timestamp":"","originalTimestamp":"now"`,
			`originalTimestamp: found "now", allowed `+wantTime),
		one("groupId an array", `"userId":"p"`, `"groupId":[]`, "groupId: found an array, allowed a string or a number"),
		one("a type there is not", `"track"`, `"Track"`, `type: found "Track", allowed "track"`),
		one("properties a string", `{"version":"1"}`, `"{}"`, `properties: found "{}", allowed an object`),
		one("context false", `"context":{}`, `"context":false`, "context: found false, allowed an object"),
		one("integrations empty string", `"integrations":{}`, `"integrations":""`, `integrations: found "", allowed an object`),
		one("version a boolean", `"1"`, `true`, "properties.version: found true, allowed a string or a number"),
		one("build an object", `"version":"1"`, `"build":{}`, "properties.build: found an object, allowed a string or a number"),
		one("url an array", `"version"`, `"url":[],"version"`, "properties.url: found an array, allowed a string or a number"),
		one("referring_application a boolean", `"version"`, `"referring_application":false,"version"`,
			"properties.referring_application: found false, allowed a string or a number"),
		one("from_background a string", `"version"`, `"from_background":"true","version"`,
			`properties.from_background: found "true", allowed true or false`),
		one("from_background a number", `"version"`, `"from_background":1,"version"`,
			"properties.from_background: found 1, allowed true or false"),
		one("previous_build an array, of an update", `"Application Opened","userId":"p","messageId":"m","timestamp":"2024-01-15T10:30:00Z","properties":{`,
			`"Application Updated","userId":"p","messageId":"m","timestamp":"2024-01-15T10:30:00Z","properties":{"previous_build":[],`,
			"properties.previous_build: found an array, allowed a string or a number"),
		one("a long value is shortened", `"2024-01-15T10:30:00Z"`, `"`+strings.Repeat("2024 ", 100)+`"`,
			`timestamp: found "`+strings.Repeat("2024 ", 12)+`…, allowed `+wantTime),
		{"everything at once", `{"type":1,"event":null,"messageId":[],"timestamp":7,"properties":1,"context":2,"integrations":3}`, Invalid, []string{
			`type: found 1, allowed "track"`,
			"event: found null, allowed the name of the event, a non-empty string",
			"messageId: found an array, allowed a string or a number",
			"timestamp: found 7, allowed " + wantTime + "; a number would be read as milliseconds, and Unix seconds become a day in 1970",
			wantSomeone,
			"properties: found 1, allowed an object",
			"context: found 2, allowed an object",
			"integrations: found 3, allowed an object",
		}},
		{"an empty object", `{}`, Invalid, []string{
			"event: found nothing, allowed the name of the event, a non-empty string", wantSomeone,
		}},
	}
}

func excludedCases() []refuseCase {
	near := func(name, spelling, want string) refuseCase {
		return refuseCase{name, strings.Replace(good, `"Application Opened"`, spelling, 1), NotLifecycle, []string{
			"event: found " + spelling + `, allowed one of the seven lifecycle events (did you mean "` + want +
				`"?); the setting accept: track admits any name`,
		}}
	}
	return []refuseCase{
		{"another name", `{"event":"Order Paid","userId":"p"}`, NotLifecycle, []string{
			`event: found "Order Paid", allowed ` + wantSeven}},
		near("another case", `"application opened"`, "Application Opened"),
		near("white space around", `" Application Opened\n"`, "Application Opened"),
		near("snake case", `"application_crashed"`, "Application Crashed"),
		near("no space", `"ApplicationUpdated"`, "Application Updated"),
		{"a long name is shortened", `{"event":"x` + strings.Repeat("ä", 500) + `","userId":"p"}`, NotLifecycle, []string{
			`event: found "x` + strings.Repeat("ä", 29) + `…, allowed ` + wantSeven}},
		{"another name with other problems", `{"event":"Order Paid","context":1}`, NotLifecycle, []string{
			`event: found "Order Paid", allowed ` + wantSeven, wantSomeone, "context: found 1, allowed an object"}},
		{"another call is told just that", `{"type":"identify","userId":7,"traits":{},"context":1}`, NotLifecycle, []string{
			`type: found "identify", allowed "track"; the setting accept: all admits every call`}},
	}
}

func oversizeCases() []refuseCase {
	padded := func(raw string, size int) string {
		return strings.Replace(raw, `{`, `{"x":"`+strings.Repeat("x", size-len(raw)-len(`"x":"",`))+`",`, 1)
	}
	return []refuseCase{
		{"one byte too many as sent", padded(good, MaxBytes+1), Oversize, []string{
			"found 32001 bytes after normalising, allowed at most 32000 bytes"}},
		{"too many by what is filled in", padded(`{"event":"Application Crashed","userId":"p"}`, MaxBytes), Oversize, []string{
			"found 32095 bytes after normalising, allowed at most 32000 bytes"}},
		{"too many to be read", strings.Repeat("x", MaxInputBytes+1), Oversize, []string{
			"found 65537 bytes before normalising, allowed at most 65536 bytes"}},
		{"oversize outweighs the rest", padded(`{"event":"Order Paid"}`, MaxBytes+1), Oversize, []string{
			`event: found "Order Paid", allowed ` + wantSeven, wantSomeone,
			"found 32096 bytes after normalising, allowed at most 32000 bytes"}},
	}
}

func TestEveryRejectionNamesTheFieldWhatWasFoundAndWhatIsAllowed(t *testing.T) {
	for _, test := range slices.Concat(malformedCases(), invalidCases(), excludedCases(), oversizeCases()) {
		t.Run(test.name, func(t *testing.T) {
			ev, err := Parser{}.Parse([]byte(test.raw), noon())
			refused, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("got error %v, want an *Error", err)
			}
			if ev.ID != "" || ev.Name != "" || ev.Body != nil {
				t.Errorf("got an event beside the error: %+v", ev)
			}
			if refused.Code != test.code {
				t.Errorf("code: got %s, want %s", refused.Code, test.code)
			}
			if got := refused.Texts(); !slices.Equal(got, test.problems) {
				t.Errorf("problems:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(test.problems, "\n     "))
			}
			mustBeShort(t, refused)
		})
	}
}

func TestAcceptTrackStillRejectsOtherCallsAndNoName(t *testing.T) {
	for _, test := range []refuseCase{
		{"another call", `{"type":"screen","userId":"p"}`, NotLifecycle, nil},
		{"no name", `{"type":"track","userId":"p"}`, Invalid, nil},
		{"a bad spec property of the seven", strings.Replace(good, `"1"`, `[]`, 1), Invalid, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parser{Accept: Track}.Parse([]byte(test.raw), noon())
			if refused, ok := errors.AsType[*Error](err); !ok || refused.Code != test.code {
				t.Errorf("got %v, want %s", err, test.code)
			}
		})
	}
}

func TestErrorIsOneLineOfAllProblems(t *testing.T) {
	_, err := Parser{}.Parse([]byte(`{"event":7}`), noon())
	want := "invalid: event: found 7, allowed the name of the event, a non-empty string; " + wantSomeone
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// mustBeShort checks that what is shown of the input is bounded and printable.
func mustBeShort(t testing.TB, refused *Error) {
	t.Helper()
	for _, p := range refused.Problems {
		if len(p.Found) > 64 || !utf8.ValidString(p.Found) {
			t.Errorf("%s: found %q (%d bytes), want valid UTF-8 of at most 64 bytes", p.Field, p.Found, len(p.Found))
		}
	}
}
