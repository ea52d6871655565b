package event

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// crash is an element in normal form, so that what a batch adds is plain to see.
const crash = `{"type":"track","event":"Application Crashed","userId":"p","messageId":"m","timestamp":"2024-01-15T10:30:00Z"}`

// crashWith is crash with one more member.
func crashWith(member string) string { return strings.TrimSuffix(crash, "}") + "," + member + "}" }

func TestBatchMergesTheEnvelopeIntoEachItem(t *testing.T) {
	for _, test := range []struct{ name, envelope, item, want string }{
		{"nothing to merge", ``, crash, crash},
		{"null context", `"context":null,"integrations":null,`, crash, crash},
		{"empty context", `"context":{},`, crash, crash},
		{"the item has none", `"context":{"a":1,"b":{"c":2}},`, crash, crashWith(`"context":{"a":1,"b":{"c":2}}`)},
		{"the item has null", `"context":{"a":1},`, crashWith(`"context":null`), crashWith(`"context":{"a":1}`)},
		{"the item has an empty one", `"context":{"a":1,"b":2},`, crashWith(`"context":{ }`), crashWith(`"context":{"a":1,"b":2 }`)},
		{"the item wins", `"context":{"a":1,"b":2},`, crashWith(`"context":{"b":3,"c":4}`), crashWith(`"context":{"b":3,"c":4,"a":1}`)},
		{"the item wins with null", `"context":{"a":1,"b":2},`, crashWith(`"context":{"a":null}`), crashWith(`"context":{"a":null,"b":2}`)},
		{"the item has it all", `"context":{"a":1},`, crashWith(`"context":{"a":2}`), crashWith(`"context":{"a":2}`)},
		{"one level deep only", `"context":{"device":{"type":"ios","token":"t"}},`,
			crashWith(`"context":{"device":{"type":"android"}}`), crashWith(`"context":{"device":{"type":"android"}}`)},
		{"names compare decoded", `"context":{"\u0061":1},`, crashWith(`"context":{"a":2}`), crashWith(`"context":{"a":2}`)},
		{"integrations too", `"integrations":{"All":false},"context":{"a":1},`, crash, crashWith(`"context":{"a":1},"integrations":{"All":false}`)},
		{"each into its own", `"integrations":{"All":false},"context":{"a":1},`,
			crashWith(`"integrations":{"X":true},"context":{"b":2}`),
			crashWith(`"integrations":{"X":true,"All":false},"context":{"b":2,"a":1}`)},
		{"values pass byte for byte", `"context" : { "a" : [1.0, 2e+1 ] , "b":"\u0041" },`, crash,
			crashWith(`"context":{"a" : [1.0, 2e+1 ],"b":"\u0041"}`)},
		{"a pretty-printed item", `"context":{"a":1},`, crashWith("\"context\": {\n  \"b\": 2\n}\n"), crashWith("\"context\": {\n  \"b\": 2,\"a\":1\n}\n")},
		{"other keys are ignored", `"messageId":"x","sentAt":1,"writeKey":"k","context":{"a":1},"userId":7,"userId":8,`, crash, crashWith(`"context":{"a":1}`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, body := range []string{ // the envelope's keys come in any order
				` {` + test.envelope + `"batch":[` + test.item + `]} `,
				`{"batch" : [ ` + test.item + ` ]` + strings.TrimSuffix(","+test.envelope, ",") + `}`,
			} {
				items := mustParseBatch(t, body)
				if len(items) != 1 || items[0].Err != nil {
					t.Fatalf("got %+v, want one good item", items)
				}
				if got := string(items[0].Event.Body); got != test.want {
					t.Errorf("\n got %s\nwant %s", got, test.want)
				}
				mustSettle(t, Parser{}, items[0].Event)
			}
		})
	}
}

func TestBatchJudgesEachItemOnItsOwn(t *testing.T) {
	deep := strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth)
	for _, test := range []struct {
		name, item string
		code       Code // "" is good
		raw        string
	}{
		{"good", crash, "", crashWith(`"context":{"a":1}`)},
		{"no object", `7`, Malformed, `7`},
		{"null", `null`, Malformed, `null`},
		{"an array", `[{}]`, Malformed, `[{}]`},
		{"empty", `{}`, Invalid, `{"context":{"a":1}}`},
		{"another call", `{"type":"page"}`, NotLifecycle, `{"type":"page","context":{"a":1}}`},
		{"another name", `{"event":"Order Paid","userId":"p"}`, NotLifecycle, `{"event":"Order Paid","userId":"p","context":{"a":1}}`},
		{"context no object", crashWith(`"context":"x"`), Invalid, crashWith(`"context":"x"`)},
		{"a duplicate key", crashWith(`"userId":"q"`), Malformed, crashWith(`"userId":"q","context":{"a":1}`)},
		{"two contexts", crashWith(`"context":{},"context":{"b":2}`), Malformed, crashWith(`"context":{},"context":{"b":2,"a":1}`)},
		{"invalid UTF-8", crashWith("\"x\":\"\xff\""), Malformed, crashWith("\"x\":\"\xff\",\"context\":{\"a\":1}")},
		{"too deep", crashWith(`"x":` + deep), Malformed, crashWith(`"x":` + deep + `,"context":{"a":1}`)},
		{"too large", crashWith(`"x":"` + strings.Repeat("x", MaxDoorBytes) + `"`), Oversize,
			crashWith(`"x":"` + strings.Repeat("x", MaxDoorBytes) + `","context":{"a":1}`)},
	} {
		t.Run(test.name, func(t *testing.T) {
			items := mustParseBatch(t, `{"context":{"a":1},"batch":[`+crash+`,`+test.item+`,`+crash+`]}`)
			if len(items) != 3 || items[0].Err != nil || items[2].Err != nil {
				t.Fatalf("got %d items, want 3 and the outer ones good", len(items))
			}
			item := items[1]
			switch {
			case test.code == "" && item.Err != nil:
				t.Errorf("got %v, want no error", item.Err)
			case test.code != "" && (item.Err == nil || item.Err.Code != test.code):
				t.Errorf("got %v, want %s", item.Err, test.code)
			case test.code != "" && item.Event.Body != nil:
				t.Errorf("got a body beside the error: %.100s", item.Event.Body)
			}
			if got := string(item.Raw); got != test.raw {
				t.Errorf("raw:\n got %.300q\nwant %.300q", got, test.raw)
			}
		})
	}
}

func TestBatchMayBeEmpty(t *testing.T) {
	for _, body := range []string{`{"batch":[]}`, ` {"batch": [ ], "context":{"a":1} } `} {
		if items := mustParseBatch(t, body); len(items) != 0 {
			t.Errorf("%s: got %d items, want none", body, len(items))
		}
	}
}

func TestBatchOfAllSizesKeepsItsOrder(t *testing.T) {
	var elements []string
	for i := range 500 {
		elements = append(elements, fmt.Sprintf(`{"event":"Application Crashed","userId":%d}`, i))
	}
	items := mustParseBatch(t, `{"batch":[`+strings.Join(elements, " , ")+`]}`)
	if len(items) != len(elements) {
		t.Fatalf("got %d items, want %d", len(items), len(elements))
	}
	for i, item := range items {
		if item.Err != nil || !HasUser(item.Event.Body, fmt.Sprint(i)) {
			t.Errorf("item %d: got %s, %v", i, item.Event.Body, item.Err)
		}
	}
}

func TestABadEnvelopeIsRefusedWhole(t *testing.T) {
	const wantArray = ", allowed an array of track calls"
	huge := `"context":{"x":"` + strings.Repeat("x", 60_000) + `"}`
	for _, test := range []refuseCase{
		{"no JSON", `batch`, Malformed, []string{"found invalid character 'b' at start of value at byte 0, allowed " + wantObject}},
		{"cut off within an item", `{"batch":[{"event":`, Malformed, []string{"found the end of the input at byte 19, allowed " + wantObject}},
		{"broken within an item", `{"batch":[` + crash + `,{x}]}`, Malformed, []string{
			fmt.Sprintf("found invalid character 'x' at start of string at byte %d, allowed %s", len(crash)+12, wantObject)}},
		{"trailing garbage", `{"batch":[]}]`, Malformed, []string{"found invalid character ']' after top-level value at byte 12, allowed " + wantObject}},
		{"an array", `[` + crash + `]`, Malformed, []string{"found an array, allowed " + wantObject}},
		{"nested 10,000 deep", `{"batch":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, Malformed, []string{
			"found exceeded max depth at byte 10008, allowed " + wantObject}},
		{"two batches", `{"batch":[],"batch":[]}`, Malformed, []string{`found duplicate key "batch", allowed ` + wantObject}},
		{"two contexts", `{"context":{},"batch":[],"context":{}}`, Malformed, []string{`found duplicate key "context", allowed ` + wantObject}},
		{"a duplicate key in the context", `{"batch":[],"context":{"a":1,"a":2}}`, Malformed, []string{
			`context: found duplicate key "a" at byte 7, allowed ` + wantObject}},
		{"no batch", `{"context":{}}`, Invalid, []string{"batch: found nothing" + wantArray}},
		{"batch null", `{"batch":null}`, Invalid, []string{"batch: found null" + wantArray}},
		{"batch an object", `{"batch":{"0":1}}`, Invalid, []string{"batch: found an object" + wantArray}},
		{"batch invalid UTF-8", "{\"batch\":\"\xff\"}", Invalid, []string{"batch: found \"\ufffd\"" + wantArray}},
		{"a single event", crash, Invalid, []string{"batch: found nothing" + wantArray}},
		{"context a string", `{"batch":[],"context":"x"}`, Invalid, []string{`context: found "x", allowed an object`}},
		{"integrations an array", `{"batch":[],"integrations":[]}`, Invalid, []string{`integrations: found an array, allowed an object`}},
		{"too large", `{"batch":[]}` + strings.Repeat(" ", MaxBatchBytes), Oversize, []string{
			"found 1048588 bytes in one batch, allowed at most 1048576 bytes"}},
		{"too many items", `{"batch":[0` + strings.Repeat(",0", maxItems) + `]}`, Oversize, []string{
			"batch: found more than 40329 items, allowed at most 40329 items"}},
		{"a context that would multiply", `{"batch":[{}` + strings.Repeat(",{}", 1000) + `],` + huge + `}`, Oversize, []string{
			"found 60068008 bytes of context and integrations merged into the items, allowed at most 16777216 bytes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			items, err := Parser{}.ParseBatch([]byte(test.raw), noon())
			refused, ok := errors.AsType[*Error](err)
			if !ok || items != nil {
				t.Fatalf("got %d items, error %v, want no items and an *Error", len(items), err)
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

func TestEventsOfABatchKeepNoReferenceToItsBody(t *testing.T) {
	body := []byte(`{"batch":[` + crash + `]}`)
	items, err := Parser{}.ParseBatch(body, noon())
	if err != nil {
		t.Fatal(err)
	}
	clear(body)
	if got := items[0].Event; got.ID != "m" || string(got.Body) != crash {
		t.Errorf("got %q, %s after the body was overwritten", got.ID, got.Body)
	}
}

// mustParseBatch parses a batch whose envelope has to pass.
func mustParseBatch(t testing.TB, body string) []Item {
	t.Helper()
	items, err := Parser{}.ParseBatch([]byte(body), noon())
	if err != nil {
		t.Fatalf("%v\nparsing %.500s", err, body)
	}
	return items
}
