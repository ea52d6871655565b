package event

import (
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

func TestUsualEventsArePlain(t *testing.T) {
	other := regexp.MustCompile(`[\[\\]|[0-9][eE][-+0-9]`) // arrays, escapes, exponents
	for _, file := range []string{"testdata/lifecycle.txtar", "testdata/clients.txtar"} {
		all, slow := 0, 0
		for _, golden := range goldens(t, file) {
			raw := golden[0].Data
			all++
			if !plain(raw) && !other.Match(raw) {
				slow++
				t.Logf("not plain: %s", raw)
			}
		}
		if all == 0 || slow > 0 {
			t.Errorf("%s: %d of %d events without arrays, escapes and exponents take the long way", file, slow, all)
		}
	}
}

func TestWhatIsNotPlainIsLeftToTheLibrary(t *testing.T) {
	deep := strings.Repeat(`{"a":`, plainDepth) + `1` + strings.Repeat(`}`, plainDepth)
	wide := `{"0":0`
	for i := 1; i < plainMembers; i++ {
		wide += `,"` + strings.Repeat("x", i) + `":0`
	}
	for _, test := range []struct {
		name, text string
		want       bool
	}{
		{"an object", `{"a":"b","c":{"d":-1.50},"e":null,"f":true,"g":false,"h":{},"i":0}`, true},
		{"white space", " {\n\t\"a\" : 1 ,\r\n \"b\" : { } } ", true},
		{"UTF-8", `{"a":"é"}`, true},
		{"as deep as can be", deep, true},
		{"deeper", `{"a":` + deep + `}`, false},
		{"as wide as can be", wide + `}`, true},
		{"wider", wide + `,"y":0}`, false},
		{"an escape", `{"a":"\n"}`, false},
		{"an array", `{"a":[]}`, false},
		{"an exponent", `{"a":1e5}`, false},
		{"a duplicate key", `{"a":1,"b":2,"a":3}`, false},
		{"a nested duplicate key", `{"c":{"a":1,"a":3}}`, false},
		{"broken UTF-8", "{\"a\":\"\xff\"}", false},
		{"a control character", "{\"a\":\"\n\"}", false},
		{"a leading zero", `{"a":01}`, false},
		{"half a number", `{"a":1.}`, false},
		{"a lone minus", `{"a":-}`, false},
		{"half a word", `{"a":tru}`, false},
		{"a comma too many", `{"a":1,}`, false},
		{"a comma too few", `{"a":1"b":2}`, false},
		{"no colon", `{"a"}`, false},
		{"no value", `{"a":}`, false},
		{"something behind it", `{} {}`, false},
		{"nothing", ``, false},
		{"only space", ` `, false},
	} {
		if got := plain([]byte(test.text)); got != test.want {
			t.Errorf("%s: plain is %v, want %v", test.name, got, test.want)
		}
	}
}

func TestPlainNeverSaysYesWhereTheLibrarySaysNo(t *testing.T) {
	yes := 0
	for _, text := range []string{typical, `{"a":-10.25,"bc":{"d":true,"e":null},"f":""} `} {
		for i := range text {
			mustAgree(t, []byte(text[:i]))
			mustAgree(t, []byte(text[:i]+text[i+1:]))
			for c := range 256 {
				changed := []byte(text)
				changed[i] = byte(c)
				yes += mustAgree(t, changed)
			}
		}
	}
	if yes == 0 {
		t.Error("nothing of all this was plain")
	}
}

func FuzzPlain(f *testing.F) {
	seed(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, text []byte) { mustAgree(t, text) })
}

// mustAgree holds a yes of plain against the library and counts it.
func mustAgree(t *testing.T, text []byte) (yes int) {
	t.Helper()
	if !plain(text) {
		return 0
	}
	if !jsontext.Value(text).IsValid() {
		t.Fatalf("plain, and not valid: %q", text)
	}
	return 1
}
