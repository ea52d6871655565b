package event

import (
	"errors"
	"strings"
	"testing"
)

func TestEveryCallComesOutInNormalForm(t *testing.T) {
	parser := Parser{Accept: All}
	seen := map[Type]bool{}
	for _, golden := range goldens(t, "testdata/calls.txtar") {
		t.Run(golden[0].Name, func(t *testing.T) {
			call, _, _ := strings.Cut(golden[0].Name, ",")
			ev := mustParse(t, parser, golden[0].Data)
			want := strings.NewReplacer("<ulid>", ev.ID, "<now>", "2024-03-01T12:00:00.250Z").
				Replace(strings.TrimSpace(string(golden[1].Data)))
			if got := string(ev.Body); got != want || ev.Type.String() != call {
				t.Errorf("%v\n got %s\nwant %s", ev.Type, got, want)
			}
			seen[ev.Type] = true
			mustSettle(t, parser, ev)
			mustSettle(t, parser.At(ev.Type), ev)
		})
	}
	if len(seen) != len(Types()) {
		t.Errorf("the goldens hold calls of types %v, want all", seen)
	}
}

func TestEveryCallIsJudgedByItsOwnRules(t *testing.T) {
	const (
		person = "userId: found neither userId nor anonymousId, allowed at least one of them, as a non-empty string"
		types  = `, allowed "track", "identify", "page", "screen", "group" or "alias"`
	)
	for _, test := range []struct {
		raw  string
		code Code // "" is good
		want string
	}{
		{`{"type":"identify","userId":"u"}`, "", ""},
		{`{"type":"identify","traits":{"email":"u@example.com"}}`, Invalid, person},
		{`{"type":"identify","userId":"u","traits":"pro"}`, Invalid, `traits: found "pro", allowed an object`},
		{`{"type":"track","event":"x","groupId":"g"}`, "", ""},
		{`{"type":"track","event":"x","previousId":"p"}`, Invalid, wantSomeone},
		{`{"type":"track","userId":"u"}`, Invalid, "event: found nothing, allowed the name of the event, a non-empty string"},
		{`{"type":"page","userId":"u","name":null,"category":""}`, "", ""},
		{`{"type":"page","userId":"u","name":7,"category":[]}`, Invalid, "name: found 7, allowed a string; category: found an array, allowed a string"},
		{`{"type":"identify","userId":"u","name":7,"category":[]}`, "", ""},
		{`{"type":"page","groupId":"g"}`, Invalid, person},
		{`{"type":"screen","anonymousId":"a","properties":1}`, Invalid, "properties: found 1, allowed an object"},
		{`{"type":"screen","name":"Main"}`, Invalid, person},
		{`{"type":"group","groupId":"g"}`, "", ""},
		{`{"type":"group","userId":"u"}`, Invalid, "groupId: found nothing, allowed a non-empty string"},
		{`{"type":"group","groupId":""}`, Invalid, "groupId: found nothing, allowed a non-empty string"},
		{`{"type":"group","groupId":["g"]}`, Invalid, "groupId: found an array, allowed a string or a number"},
		{`{"type":"alias","userId":"u","previousId":"p"}`, "", ""},
		{`{"type":"alias","userId":"u"}`, Invalid, "previousId: found nothing, allowed a non-empty string"},
		{`{"type":"alias","anonymousId":"a","previousId":null}`, Invalid,
			"userId: found nothing, allowed a non-empty string; previousId: found nothing, allowed a non-empty string"},
		{`{"type":"alias","userId":{},"previousId":"p"}`, Invalid, "userId: found an object, allowed a string or a number"},
		{`{"type":"batch","userId":"u"}`, Invalid, `type: found "batch"` + types},
		{`{"type":7,"event":"x","userId":"u"}`, Invalid, "type: found 7" + types},
		{`{"type":"identify","userId":"u","timestamp":1705314600}`, Invalid, "timestamp: found 1705314600, allowed " + wantTime +
			"; a number would be read as milliseconds, and Unix seconds become a day in 1970"},
	} {
		_, err := Parser{Accept: All}.Parse([]byte(test.raw), noon())
		rejected, _ := errors.AsType[*Error](err)
		switch {
		case test.code == "" && err != nil:
			t.Errorf("%s: %v", test.raw, err)
		case test.code != "" && (rejected == nil || rejected.Code != test.code || strings.Join(rejected.Texts(), "; ") != test.want):
			t.Errorf("%s:\n got %v\nwant %s: %s", test.raw, err, test.code, test.want)
		}
	}
}

func TestTheEndpointDecidesWhereTheTypeIsMissing(t *testing.T) {
	const ids = `"userId":"u","previousId":"p","groupId":"g","event":"Application Opened"}`
	for _, endpoint := range Types() {
		for _, accept := range []Accept{Lifecycle, Track, All} {
			parser := Parser{Accept: accept}.At(endpoint)
			excluded := endpoint != TypeTrack && accept != All
			for _, raw := range []string{`{` + ids, `{"type":null,` + ids, `{"type":"` + endpoint.String() + `",` + ids} {
				ev, err := parser.Parse([]byte(raw), noon())
				if rejected, ok := errors.AsType[*Error](err); excluded && (!ok || rejected.Code != NotLifecycle) {
					t.Errorf("%s at %v, accept %v: got %v, want %s", raw, endpoint, accept, err, NotLifecycle)
				}
				if !excluded && (err != nil || ev.Type != endpoint) {
					t.Errorf("%s at %v, accept %v: got %v, %v", raw, endpoint, accept, ev.Type, err)
				}
			}
			for _, other := range Types() {
				_, err := parser.Parse([]byte(`{"type":"`+other.String()+`",`+ids), noon())
				rejected, ok := errors.AsType[*Error](err)
				if other != endpoint && (!ok || rejected.Code != Invalid || !strings.Contains(err.Error(), "endpoint")) {
					t.Errorf("%v at %v, accept %v: got %v, want invalid", other, endpoint, accept, err)
				}
			}
		}
	}
}

func TestAnAliasNamesBothPersons(t *testing.T) {
	ev := mustParse(t, Parser{Accept: All}, []byte(`{"type":"alias","previousId":7,"userId":"u","groupId":"g"}`))
	if want := (Persons{PersonHash([]byte("u")), PersonHash([]byte("7"))}); ev.Persons != want {
		t.Errorf("got %x, want %x", ev.Persons, want)
	}
	ev = mustParse(t, Parser{Accept: All}, []byte(`{"type":"page","name":"H\u006fme","anonymousId":"a"}`))
	if want := (Persons{PersonHash([]byte("a"))}); ev.Persons != want || ev.Name != "Home" {
		t.Errorf("got %x and the name %q, want %x and Home", ev.Persons, ev.Name, want)
	}
}

func TestRejectedInputOfAnEndpointSaysItsType(t *testing.T) {
	for _, test := range []struct {
		endpoint  Type
		raw, want string
	}{
		{TypeIdentify, `{"userId":"u"}`, `{"userId":"u","type":"identify"}`},
		{TypeIdentify, ` {"type" : null, "userId":1} `, `{"type" : "identify", "userId":1}`},
		{TypeAlias, `{"x":"\ud83d","type":""}`, `{"x":"\ud83d","type":"alias"}`},
		{TypeIdentify, `{}`, `{"type":"identify"}`},
		{TypeIdentify, `{"type":"page"}`, `{"type":"page"}`},
		{TypeTrack, `{"userId":"u"}`, `{"userId":"u"}`},
		{TypeIdentify, `{"userId":"u"`, `{"userId":"u"`},
		{TypeIdentify, `[]`, `[]`},
		{TypeIdentify, ``, ``},
	} {
		if got := string(Parser{}.At(test.endpoint).Typed([]byte(test.raw))); got != test.want {
			t.Errorf("%s at %v: got %s, want %s", test.raw, test.endpoint, got, test.want)
		}
	}
	if got := string((Parser{}).Typed([]byte(`{}`))); got != `{}` {
		t.Errorf("at no endpoint: got %s, want it as it came", got)
	}
}
