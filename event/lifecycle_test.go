package event

import "testing"

func TestAcceptReadsWhatItWrites(t *testing.T) {
	for _, accept := range []Accept{Lifecycle, Track, All} {
		if got, err := ParseAccept(accept.String()); err != nil || got != accept {
			t.Errorf("%s: got %v, %v", accept, got, err)
		}
	}
	var zero Accept
	if zero != Lifecycle {
		t.Errorf("the zero Accept is %s, want %s", zero, Lifecycle)
	}
}

func TestAcceptRefusesOtherWordsByName(t *testing.T) {
	for _, word := range []string{"", "Track", "ALL", "Accept(7)"} {
		got, err := ParseAccept(word)
		want := `accept "` + word + `": want lifecycle, track or all`
		if err == nil || err.Error() != want || got != Lifecycle {
			t.Errorf("%q: got %v, %v, want %s", word, got, err, want)
		}
	}
	if got := Accept(7).String(); got != "Accept(7)" {
		t.Errorf("got %s, want Accept(7)", got)
	}
}

func TestNamesBelongToTheCaller(t *testing.T) {
	Names()[0] = "changed"
	if got := Names(); len(got) != 7 || got[0] != "Application Installed" {
		t.Errorf("got %q", got)
	}
}

func TestEachEventHasItsOwnPropertyRules(t *testing.T) {
	want := map[string]map[string]rule{
		"Application Installed": {"version": text, "build": text},
		"Application Opened": {"version": text, "build": text, "url": text,
			"referring_application": text, "from_background": boolean},
		"Application Updated": {"version": text, "build": text,
			"previous_version": text, "previous_build": text},
	}
	properties := []string{"version", "build", "previous_version", "previous_build",
		"url", "referring_application", "from_background", "Version", "other"}
	for _, name := range append(Names(), "Order Paid") {
		for _, property := range properties {
			if got, want := ruleFor(name, property), want[name][property]; got != want {
				t.Errorf("%s, %s: got rule %d, want %d", name, property, got, want)
			}
			if ruleFor(name, property) != free && specProperty([]byte(property)) != property {
				t.Errorf("%s, %s: has a rule that is never looked up", name, property)
			}
		}
	}
}
