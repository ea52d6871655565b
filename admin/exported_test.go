package admin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode"

	"trackd/admin"
	"trackd/queue"
)

// hostileBodies are what clients may send to disturb who looks at it.
func hostileBodies() map[string]string {
	object := func(value string) string { return `{"event":"Application Opened","userId":"` + value + `"}` }
	deep := func(n int) string {
		return `{"event":"x","properties":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + "}"
	}
	return map[string]string{
		"nothing":                      "",
		"spaces":                       "   ",
		"a no-break space":             "\u00a0",
		"a no-break space, cut":        "\xa0",
		"line breaks and tabs":         "\n\t\r\v\f",
		"a NUL":                        "\x00",
		"64 KiB of NULs":               strings.Repeat("\x00", 64<<10),
		"64 KiB of 0xff":               strings.Repeat("\xff", 64<<10),
		"invalid UTF-8 in an object":   object("M\xfcller"),
		"a replacement character":      object("\ufffd"),
		"a lone surrogate escape":      object(`\ud83d`),
		"a lone surrogate, encoded":    object("\xed\xa0\xbd"),
		"escape sequences":             "\x1b[2J\x1b]0;title\x07\x1b[31m",
		"C1 controls":                  object("\u009b2J\u009d0;title\u009c"),
		"C1 controls as single bytes":  "\x9b2J\x9d0;title\x9c",
		"DEL":                          object("\x7f\x7f"),
		"bidirectional overrides":      object("\u202egpj.exe\u202c \u2066x\u2069"),
		"line and paragraph separator": object("\u2028\u2029"),
		"escaped controls":             object(`\u001b[2J\u009b`),
		"200 levels":                   deep(199),
		"201 levels":                   deep(200),
		"9,999 levels":                 deep(9_998),
		"10,000 levels":                deep(9_999),
		"an endless list":              strings.Repeat("[", 60_000),
		"duplicate keys":               `{"a":1,"a":2}`,
		"HTML":                         `{"a":"<script>&</script>"}`,
		"an error of ours":             `{"error":"made up"}`,
		"an export of ours":            `{"address":"00000000000000010000000000000002","taken":"2026-01-02T03:04:05Z","event":"x"}`,
		"null":                         "null",
		"a string":                     `"text"`,
		"a number":                     "17",
		"an object with spaces":        ` {"a":1}`,
		"an object and more":           `{"a":1} trailing`,
		"an object, cut":               `{"a":`,
		"brackets in a string":         `{"a":"` + strings.Repeat("[", 300) + `\"{"}`,
	}
}

// checkSafe fails the test if text could steer a terminal.
func checkSafe(t *testing.T, text []byte) {
	t.Helper()
	for _, r := range strings.TrimSuffix(string(text), "\n") {
		if unicode.IsControl(r) || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			t.Fatalf("it holds %U", r)
		}
	}
}

// Whatever a client sends is listed, does not steer a terminal that shows the
// export, and comes back from it as it was.
func TestWhateverAClientSendsIsExportedAndComesBack(t *testing.T) {
	for name, body := range hostileBodies() {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 0).serve()
			r.append(nil, queue.Reject{Body: []byte(body), Reason: queue.Malformed, Detail: body[:min(len(body), 500)]})
			r.append(nil, badLine("another"))
			letters := r.letters(queue.Filter{})
			if len(letters) != 2 {
				t.Fatalf("%d dead letters are listed, want 2", len(letters))
			}
			var line bytes.Buffer
			check(t, admin.EncodeLine(&line, letters[0]))
			checkSafe(t, line.Bytes())
			if n := bytes.Count(line.Bytes(), []byte("\n")); n != 1 {
				t.Errorf("the export has %d lines, want 1", n)
			}
			got := admin.Unwrap(line.Bytes())
			if want := compact(body); !bytes.Equal(got, want) {
				t.Errorf("it comes back as %.200q, want %.200q", got, want)
			}
		})
	}
}

// compact is body without white space around and between its tokens if it is
// an object, which is the only change that an export makes.
func compact(body string) []byte {
	var b bytes.Buffer
	if !strings.HasPrefix(strings.TrimSpace(body), "{") || json.Compact(&b, []byte(body)) != nil {
		return []byte(body)
	}
	return b.Bytes()
}

// An object stays one in the export, for jq and editors, unless that is not
// safe.
func TestWhatIsExportedAsAnObject(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":1}`:                  `"event":{"a":1}`,
		`{"a":"<é\u200d>"}`:        `"event":{"a":"<é\u200d>"}`,
		`{"a":"` + "\u009b" + `"}`: `"event":"{\"a\":\"\u009b\"}"`,
		`[1]`:                      `"event":"[1]"`,
		``:                         `"event":""`,
		"\xff":                     `"event_base64":"/w=="`,
	} {
		r := newRig(t, 0).serve()
		r.append(nil, queue.Reject{Body: []byte(body), Reason: queue.Malformed})
		var line bytes.Buffer
		check(t, admin.EncodeLine(&line, r.letters(queue.Filter{})[0]))
		if !strings.HasSuffix(line.String(), want+"}\n") {
			t.Errorf("%q: got %s, want it to end with %s", body, line.String(), want)
		}
	}
}

func TestWhatWasExportedIsUnwrapped(t *testing.T) {
	ev := `{"event":"Application Opened","userId":"ann"}`
	envelope := func(event string) string {
		return fmt.Sprintf(`{"address":"00000000000000010000000000000002","taken":"2026-01-02T03:04:05Z","event":%s}`, event)
	}
	for _, test := range []struct{ name, line, want string }{
		{"a bare event", ev, ev},
		{"an exported letter", envelope(ev), ev},
		{"a letter whose event is no JSON", envelope(`"{\"event\":"`), `{"event":`},
		{"a letter whose event is nothing", envelope(`""`), ""},
		{"a letter that is no UTF-8", strings.Replace(envelope(`"/w=="`), `"event"`, `"event_base64"`, 1), "\xff"},
		{"a letter that was no UTF-8 and is mended", strings.TrimSuffix(envelope(ev), "}") + `,"event_base64":"/w=="}`, ev},
		{"a bare event with an address of its own", `{"event":"Application Opened","address":"Main Street 1","taken":"2026-01-02T03:04:05Z"}`,
			`{"event":"Application Opened","address":"Main Street 1","taken":"2026-01-02T03:04:05Z"}`},
		{"a letter without an event", `{"address":"00000000000000010000000000000002","taken":"2026-01-02T03:04:05Z"}`,
			`{"address":"00000000000000010000000000000002","taken":"2026-01-02T03:04:05Z"}`},
		{"a bare event with what looks like our address", `{"event":"Application Opened","address":"00000000000000010000000000000002"}`,
			`{"event":"Application Opened","address":"00000000000000010000000000000002"}`},
		{"nonsense", "nonsense", "nonsense"},
	} {
		if got := string(admin.Unwrap([]byte(test.line))); got != test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
	}
}
