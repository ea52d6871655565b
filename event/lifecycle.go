package event

import (
	"fmt"
	"strings"
)

// Accept says which calls a [Parser] lets pass.
type Accept uint8

// The values of Accept.
const (
	Lifecycle Accept = iota // the seven events of the specification, see Names
	Track                   // any track call whose event has a non-empty name
	All                     // every call of the API
)

// ParseAccept reads "lifecycle", "track" or "all", the inverse of String.
func ParseAccept(s string) (Accept, error) {
	for _, a := range []Accept{Lifecycle, Track, All} {
		if s == a.String() {
			return a, nil
		}
	}
	return Lifecycle, fmt.Errorf("accept %q: want %s, %s or %s", s, Lifecycle, Track, All)
}

// String returns the word of the accept setting.
func (a Accept) String() string {
	switch a {
	case Lifecycle:
		return "lifecycle"
	case Track:
		return "track"
	case All:
		return "all"
	}
	return fmt.Sprintf("Accept(%d)", uint8(a))
}

// The names whose properties the specification describes.
const (
	installed = "Application Installed"
	opened    = "Application Opened"
	updated   = "Application Updated"
)

// lifecycle lists the mobile lifecycle events that Customer.io specifies, as
// an array so that walking it allocates nothing.
func lifecycle() [7]string {
	return [...]string{
		installed,
		opened,
		"Application Backgrounded",
		"Application Foregrounded",
		updated,
		"Application Uninstalled",
		"Application Crashed",
	}
}

// Names returns the seven lifecycle events, in the order in which the
// specification describes them. The caller owns the slice.
func Names() []string {
	names := lifecycle()
	return names[:]
}

// lifecycleName returns the lifecycle event that name spells exactly, or "".
func lifecycleName(name []byte) string {
	for _, n := range lifecycle() {
		if n == string(name) {
			return n
		}
	}
	return ""
}

// nearestName returns the lifecycle event that name would be but for case,
// white space, '_' and '-', or "".
func nearestName(name string) string {
	letters := func(r rune) rune {
		if strings.ContainsRune(" \t\r\n_-", r) {
			return -1
		}
		return r
	}
	for _, n := range lifecycle() {
		if strings.EqualFold(strings.Map(letters, name), strings.Map(letters, n)) {
			return n
		}
	}
	return ""
}

// rule is what the specification asks of a property.
type rule uint8

const (
	free    rule = iota // nothing: it passes untouched
	text                // a string; a number becomes its digits, null is dropped
	boolean             // true or false; null is dropped
)

// specProperty returns the property that name spells, if any lifecycle event
// has a rule for it, else "".
func specProperty(name []byte) string {
	for _, p := range [...]string{
		"version", "build", "previous_version", "previous_build",
		"url", "referring_application", "from_background",
	} {
		if p == string(name) {
			return p
		}
	}
	return ""
}

// ruleFor returns what the specification asks of a property of an event.
// url and referring_application come from its prose, the rest from its schema
// too.
func ruleFor(event, property string) rule {
	switch property {
	case "version", "build":
		if event == installed || event == opened || event == updated {
			return text
		}
	case "previous_version", "previous_build":
		if event == updated {
			return text
		}
	case "url", "referring_application":
		if event == opened {
			return text
		}
	case "from_background":
		if event == opened {
			return boolean
		}
	}
	return free
}
