package event

import (
	"bytes"
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
			crashWith(`"context":{ "a" : [1.0, 2e+1 ] , "b":"\u0041" }`)},
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
	deep := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	padded := func(size int) string {
		return crashWith(`"x":"` + strings.Repeat("x", size-len(crashWith(`"x":""`))) + `"`)
	}
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
		{"a duplicate key", crashWith(`"userId":"q"`), Malformed, crashWith(`"userId":"q"`)},
		{"two contexts", crashWith(`"context":{},"context":{"b":2}`), Malformed, crashWith(`"context":{},"context":{"b":2}`)},
		{"invalid UTF-8", crashWith("\"x\":\"\xff\""), Malformed, crashWith("\"x\":\"\xff\"")},
		{"half a surrogate", crashWith(`"x":"\ud83d"`), "", crashWith(`"x":"\ud83d","context":{"a":1}`)},
		{"an empty array for a context", crashWith(`"context":[ ]`), "", crashWith(`"context":{"a":1}`)},
		{"too deep", crashWith(`"x":` + deep(maxDepth)), Malformed, crashWith(`"x":` + deep(maxDepth))},
		{"deeper than the JSON library goes", crashWith(`"x":` + deep(10_001)), Malformed, crashWith(`"x":` + deep(10_001))},
		{"too large", crashWith(`"x":"` + strings.Repeat("x", MaxInputBytes) + `"`), Oversize,
			crashWith(`"x":"` + strings.Repeat("x", MaxInputBytes) + `"`)},
		{"too large with what is shared", padded(MaxInputBytes - 5), Oversize, padded(MaxInputBytes - 5)},
		{"not a number, as Python writes it", crashWith(`"x":NaN`), Malformed, crashWith(`"x":NaN`)},
		{"infinity, alone", `-Infinity`, Malformed, `-Infinity`},
		{"nothing between commas", ` `, Malformed, ``},
		{"a trailing comma", `{"a":1,}`, Malformed, `{"a":1,}`},
		{"single quotes", `{'a':'b,c'}`, Malformed, `{'a':'b,c'}`},
		{"a comment", `{/* none */}`, Malformed, `{/* none */}`},
		{"a line feed in a string", "{\"a\":\"\n\"}", Malformed, "{\"a\":\"\n\"}"},
		{"a lone backslash", `{"a":\}`, Malformed, `{"a":\}`},
		{"two objects without a comma", `{}{}`, Malformed, `{}{}`},
		{"strings that end in backslashes", crashWith(`"x\\":"\\","y":"\\\""`), "", crashWith(`"x\\":"\\","y":"\\\"","context":{"a":1}`)},
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

func TestABadEnvelopeIsRejectedWhole(t *testing.T) {
	const wantArray = ", allowed an array of calls"
	for _, test := range []refuseCase{
		{"no JSON", `batch`, Malformed, []string{"found invalid character 'b' at start of value at byte 0, allowed " + wantObject}},
		{"cut off within an item", `{"batch":[{"event":`, Malformed, []string{"found the end of the input at byte 19, allowed " + wantObject}},
		{"a quote missing in an item", `{"batch":[` + crash + `,{"x":"y},{"z":""}]}`, Malformed, []string{
			fmt.Sprintf("found invalid character 'z' after object value at byte %d, allowed %s", len(crash)+22, wantObject)}},
		{"two quotes missing in two items", `{"batch":[{"x":"y},{"z},{}]}`, Malformed, []string{
			"found invalid character 'z' after object value at byte 21, allowed " + wantObject}},
		{"brackets closed crosswise in an item", `{"batch":[{"a":[1}],{}]}`, Malformed, []string{
			"found invalid character '}' after array element at byte 17, allowed " + wantObject}},
		{"a bracket too many in an item", `{"batch":[{}},{}]}`, Malformed, []string{"found invalid character '}' after array element at byte 12, allowed " + wantObject}},
		{"a bracket missing in an item", `{"batch":[{"a":[1},{}]}`, Malformed, []string{"found invalid character '}' after array element at byte 17, allowed " + wantObject}},
		{"no comma between members", `{"batch":[] "context":{}}`, Malformed, []string{"found invalid character '\"' after object value at byte 12, allowed " + wantObject}},
		{"a comma too many", `{"batch":[],}`, Malformed, []string{"found invalid character '}' at start of string at byte 12, allowed " + wantObject}},
		{"a member without a value", `{"batch":[],"x":}`, Malformed, []string{"found invalid character '}' at start of value at byte 16, allowed " + wantObject}},
		{"a context that is not a number", `{"batch":[],"context":NaN}`, Invalid, []string{"context: found NaN, allowed an object"}},
		{"a bad number in the context", `{"batch":[],"context":{"a":NaN}}`, Malformed, []string{
			"context: found invalid character 'N' at start of value at byte 5, allowed " + wantObject}},
		{"trailing garbage", `{"batch":[]}]`, Malformed, []string{"found invalid character ']' after top-level value at byte 12, allowed " + wantObject}},
		{"an array", `[` + crash + `]`, Malformed, []string{"found an array, allowed " + wantObject}},
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
		{"integrations an array", `{"batch":[],"integrations":[1]}`, Invalid, []string{`integrations: found an array, allowed an object`}},
		{"too large", `{"batch":[]}` + strings.Repeat(" ", MaxBatchBytes), Oversize, []string{
			"found 4194316 bytes in one batch, allowed at most 4194304 bytes"}},
		{"too many items", `{"batch":[0` + strings.Repeat(",0", maxItems) + `]}`, Oversize, []string{
			"batch: found more than 161319 items, allowed at most 161319 items"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			batch, err := OpenBatch([]byte(test.raw))
			refused, ok := errors.AsType[*Error](err)
			if !ok || batch != nil {
				t.Fatalf("got %v, error %v, want no batch and an *Error", batch, err)
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

func TestWhatIsSharedIsNeverMergedIntoAllItemsAtOnce(t *testing.T) {
	context := `{"x":"` + strings.Repeat("x", 31_000) + `"}`
	body := []byte(`{"context":` + context + `,"batch":[{}` + strings.Repeat(",{}", 9_999) + `]}`)
	got := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			batch, err := OpenBatch(body)
			if err != nil {
				b.Fatal(err)
			}
			for item, ok := batch.Next(); ok; item, ok = batch.Next() {
				if len(item.Raw) < len(context) {
					b.Fatalf("an item of %d bytes", len(item.Raw))
				}
			}
		}
	}).AllocedBytesPerOp()
	if limit := int64(16 << 20); got > limit { // merged they are 310 MB
		t.Errorf("%d bytes allocated for %d items, want at most %d", got, 10_000, limit)
	}
}

func TestWhatIsSharedAndTooLargeForAnyItemIsNotEvenRead(t *testing.T) {
	shared := `{` + strings.Repeat(`"a":1,`, 100_000) + `"b":2}`
	batch, err := OpenBatch([]byte(`{"integrations":` + shared + `,"batch":[` + crash + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	item, ok := batch.Next()
	if !ok || item.Err == nil || item.Err.Code != Oversize || string(item.Raw) != crash {
		t.Errorf("got %+v, want the item as it came and oversize", item)
	}
}

func TestTheBoundOfABatchHoldsForWhatComesOfIt(t *testing.T) {
	bare := `{"event":"Application Updated","userId":7,"anonymousId":8,"previousId":9,"groupId":1,"originalTimestamp":"2024-01-15T10:30:00.123456789+0100",` +
		`"properties":{"version":1,"build":2,"previous_version":3,"previous_build":4}}`
	for _, body := range []string{
		`{"batch":[` + bare + `,` + bare + `]}`,
		`{"batch":[` + crash + `,{},7],"context":{"a":1}}`,
		`{"context":{"x":"` + strings.Repeat("x", MaxBytes) + `"},"batch":[` + crash + `]}`,
	} {
		batch, err := OpenBatch([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		sum, items := int64(0), mustParseBatch(t, body)
		for _, item := range items {
			sum += int64(len(item.Event.Body))
		}
		if bound := batch.MaxBodies(); sum > bound || bound > int64(batch.Len())*MaxBytes {
			t.Errorf("%.100s: bodies of %d bytes, bounded by %d", body, sum, bound)
		}
	}
}

func TestABatchCanBeReadAgain(t *testing.T) {
	batch, err := OpenBatch([]byte(`{"batch":[1, 2 ,3]}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for want := 1; want <= 3; want++ {
			if item, ok := batch.Next(); !ok || string(item.Raw) != fmt.Sprint(want) || batch.Left() != 3-want {
				t.Errorf("got %q, %v with %d left, want %d", item.Raw, ok, batch.Left(), want)
			}
		}
		if _, ok := batch.Next(); ok {
			t.Error("got a fourth item of three")
		}
		batch.Rewind()
	}
}

// judged is an item of a batch and what the parser made of it.
type judged struct {
	Raw   []byte // a copy
	Event Event
	Err   *Error
}

// judgeAll parses the items of a batch.
func judgeAll(p Parser, batch *Batch) (all []judged) {
	for item, ok := batch.Next(); ok; item, ok = batch.Next() {
		j := judged{Raw: bytes.Clone(item.Raw), Err: item.Err}
		if j.Err == nil {
			parsed, err := p.parse(nil, item.Raw, noon())
			j.Event, j.Err = parsed.Event, err
		}
		all = append(all, j)
	}
	return all
}

// mustParseBatch parses a batch whose envelope has to pass.
func mustParseBatch(t testing.TB, body string) []judged {
	t.Helper()
	batch, err := OpenBatch([]byte(body))
	if err != nil {
		t.Fatalf("%v\nparsing %.500s", err, body)
	}
	all := judgeAll(Parser{}, batch)
	if len(all) != batch.Len() || batch.Left() != 0 {
		t.Fatalf("%d items, %d told and %d left", len(all), batch.Len(), batch.Left())
	}
	return all
}
