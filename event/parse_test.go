package event

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/tools/txtar"
)

// noon is the time now of these tests, away from UTC to show that it is minted
// in UTC.
func noon() time.Time {
	return time.Date(2024, 3, 1, 14, 0, 0, 250_999_999, time.FixedZone("", 2*60*60))
}

// goldens reads an archive in which every case is followed by its "want".
func goldens(t testing.TB, file string) [][2]txtar.File {
	t.Helper()
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases [][2]txtar.File
	for pair := range slices.Chunk(archive.Files, 2) {
		if len(pair) != 2 || pair[1].Name != "want" {
			t.Fatalf("%s: %q is not followed by its want", file, pair[0].Name)
		}
		cases = append(cases, [2]txtar.File(pair))
	}
	if len(cases) == 0 {
		t.Fatalf("%s: no cases", file)
	}
	return cases
}

func TestRealEventsComeOutInNormalForm(t *testing.T) {
	for _, file := range []string{"testdata/lifecycle.txtar", "testdata/clients.txtar"} {
		for _, golden := range goldens(t, file) {
			t.Run(golden[0].Name, func(t *testing.T) {
				ev := mustParse(t, Parser{}, golden[0].Data)
				want := strings.NewReplacer("<ulid>", ev.ID, "<now>", "2024-03-01T12:00:00.250Z").
					Replace(strings.TrimSpace(string(golden[1].Data)))
				if got := string(ev.Body); got != want {
					t.Errorf("\n got %s\nwant %s", got, want)
				}
				mustSettle(t, Parser{}, ev)
			})
		}
	}
}

func TestTheGoldensCoverEverySpecifiedEventKnownAndAnonymous(t *testing.T) {
	var got, want []string
	for _, golden := range goldens(t, "testdata/lifecycle.txtar") {
		got = append(got, golden[0].Name)
		name, _, _ := strings.Cut(golden[0].Name, ",")
		if ev := mustParse(t, Parser{}, golden[0].Data); ev.Name != name {
			t.Errorf("case %q holds %q", golden[0].Name, ev.Name)
		}
	}
	for _, name := range Names() {
		want = append(want, name+", known", name+", anonymous")
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEventCarriesDecodedIDAndName(t *testing.T) {
	ev := mustParse(t, Parser{}, []byte(`{"event":"Application \u0043rashed","userId":"p","messageId":"m\u002f1"}`))
	if ev.ID != "m/1" || ev.Name != "Application Crashed" {
		t.Errorf("got %q, %q, want m/1, Application Crashed", ev.ID, ev.Name)
	}
}

func TestMintedIDIsAULIDOfTheTimeAndNeverTheSame(t *testing.T) {
	first := mustParse(t, Parser{}, []byte(bare))
	second := mustParse(t, Parser{}, []byte(bare))
	id, err := ulid.ParseStrict(first.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := id.Time(), uint64(noon().UnixMilli()); got != want {
		t.Errorf("time in the ULID: got %d, want %d", got, want)
	}
	if first.ID == second.ID {
		t.Errorf("minted %s twice", first.ID)
	}
}

func TestAnImpossibleClockStillMints(t *testing.T) {
	const stamped = `{"event":"Application Crashed","userId":"p","timestamp":"2024-01-15T10:30:00Z"}`
	for _, test := range []struct {
		now  time.Time
		want uint64
	}{
		{time.Time{}, 0},
		{time.Unix(-1, 0), 0},
		{time.Unix(1<<40, 0), ulid.MaxTime()},
	} {
		ev, err := Parser{}.Parse([]byte(stamped), test.now)
		if err != nil {
			t.Fatal(err)
		}
		if id, err := ulid.ParseStrict(ev.ID); err != nil || id.Time() != test.want {
			t.Errorf("at %v: got %s, %v, want a ULID of %d", test.now, ev.ID, err, test.want)
		}
	}
}

func TestAcceptTrackAdmitsAnyNameAndJudgesTheSevenAllTheSame(t *testing.T) {
	parser := Parser{Accept: Track}
	for _, test := range []struct{ name, raw, want string }{
		{"any name, properties untouched",
			`{"type":"track","event":" order  paid","userId":1,"messageId":"m","timestamp":"2024-01-15T10:30:00Z","properties":{"version":1,"url":null,"from_background":"x"},"sentAt":1}`,
			`{"type":"track","event":" order  paid","userId":"1","messageId":"m","timestamp":"2024-01-15T10:30:00Z","properties":{"version":1,"url":null,"from_background":"x"}}`},
		{"a lifecycle name",
			`{"type":"track","event":"Application Installed","userId":"p","messageId":"m","timestamp":"2024-01-15T10:30:00Z","properties":{"version":1}}`,
			`{"type":"track","event":"Application Installed","userId":"p","messageId":"m","timestamp":"2024-01-15T10:30:00Z","properties":{"version":"1"}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			ev := mustParse(t, parser, []byte(test.raw))
			if got := string(ev.Body); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			mustSettle(t, parser, ev)
		})
	}
}

func TestEventKeepsNoReferenceToTheInput(t *testing.T) {
	raw := []byte(`{"type":"track","event":"order paid","userId":"p","messageId":"m-1","timestamp":"2024-01-15T10:30:00Z"}`)
	parser, want := Parser{Accept: Track}, string(raw)
	ev := mustParse(t, parser, raw)
	for i := range raw {
		raw[i] = 'x'
	}
	if ev.ID != "m-1" || ev.Name != "order paid" || string(ev.Body) != want {
		t.Errorf("got %q, %q, %s after the input was overwritten", ev.ID, ev.Name, ev.Body)
	}
}

func TestSizeIsJudgedAfterNormalising(t *testing.T) {
	const frame = `{"type":"track","event":"Application Crashed","userId":"p","messageId":"m","timestamp":"2024-01-15T10:30:00Z","x":""}`
	padded := func(size int) string {
		return strings.Replace(frame, `"x":"`, `"x":"`+strings.Repeat("x", size-len(frame)), 1)
	}
	if ev := mustParse(t, Parser{}, []byte(padded(MaxBytes))); len(ev.Body) != MaxBytes {
		t.Errorf("got %d bytes, want %d", len(ev.Body), MaxBytes)
	}

	// What is removed does not count, up to the bound of the door.
	sentAt := `{"sentAt":"` + strings.Repeat("x", 30_000) + `",`
	mustParse(t, Parser{}, []byte(sentAt+padded(MaxBytes)[1:]))
	spaces := strings.Repeat(" ", (MaxInputBytes-MaxBytes)/2)
	mustParse(t, Parser{}, []byte(spaces+padded(MaxBytes)+spaces))
}

func TestNestingIsTakenUpToItsBound(t *testing.T) {
	nested := func(levels int) []byte { // the event itself is one of them
		return []byte(`{"event":"Application Crashed","userId":"[[[","x":` +
			strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + `}`)
	}
	mustParse(t, Parser{}, nested(maxDepth))
	if _, err := (Parser{}).Parse(nested(maxDepth+1), noon()); err == nil {
		t.Error("one level more: got no error")
	}

	// Brackets that do not nest, or stand in strings, are not depth.
	flat := strings.Repeat(`[],{},"[{\"[",`, 2*maxDepth) + "0"
	mustParse(t, Parser{}, []byte(`{"event":"Application Crashed","userId":"p","x":[`+flat+`]}`))
}

func TestParsingATypicalEventHardlyAllocates(t *testing.T) {
	for _, test := range []struct {
		name, raw string
		want      float64
	}{
		{"typical: the body, the id", typical, 2},
		{"bare: the body, the id, its random bits, the time", bare, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			raw, now := []byte(test.raw), noon()
			least := math.Inf(1) // since now and then the pools of the library are empty
			for range 100 {
				least = min(least, testing.AllocsPerRun(1, func() {
					if _, err := (Parser{}).Parse(raw, now); err != nil {
						t.Fatal(err)
					}
				}))
			}
			if least > test.want {
				t.Errorf("got %v allocations, want at most %v", least, test.want)
			}
		})
	}
}

// mustParse parses what has to pass.
func mustParse(t testing.TB, p Parser, raw []byte) Event {
	t.Helper()
	ev, err := p.Parse(raw, noon())
	if err != nil {
		t.Fatalf("%v\nparsing %.500s", err, raw)
	}
	return ev
}

// mustSettle checks that normal form is a fixed point.
func mustSettle(t testing.TB, p Parser, ev Event) {
	t.Helper()
	again := mustParse(t, p, ev.Body)
	if again.ID != ev.ID || again.Name != ev.Name || !bytes.Equal(again.Body, ev.Body) {
		t.Errorf("parsed again\n got %q %q %s\nwant %q %q %s", again.ID, again.Name, again.Body, ev.ID, ev.Name, ev.Body)
	}
}
