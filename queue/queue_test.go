package queue_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
)

func TestAnAddressReadsBack(t *testing.T) {
	for _, want := range []queue.Address{{}, {Lo: 1}, {Hi: 1}, {Hi: 1<<64 - 1, Lo: 1<<64 - 1}, {Hi: 0xabc, Lo: 1 << 63}} {
		if got, err := queue.ParseAddress(want.String()); err != nil || got != want {
			t.Errorf("%s: got %v, %v", want, got, err)
		}
	}
}

func TestTextThatIsNoAddressIsRefused(t *testing.T) {
	whole := queue.Address{Hi: 1, Lo: 2}.String()
	for _, text := range []string{"", "0", whole[1:], whole + "0", whole + "00", "g" + whole[1:], " " + whole[1:], "0x" + whole[2:]} {
		if got, err := queue.ParseAddress(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestAddressesAreOrderedByTheirFirstHalf(t *testing.T) {
	want := []queue.Address{{}, {Lo: 1}, {Lo: 1<<64 - 1}, {Hi: 1}, {Hi: 1, Lo: 5}, {Hi: 1 << 63}}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, queue.Address.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	slices.SortFunc(got, func(a, b queue.Address) int { return strings.Compare(a.String(), b.String()) })
	if !slices.Equal(got, want) {
		t.Errorf("as text: got %v, want %v", got, want)
	}
}

func TestAFilterNarrowsByEachFieldItSets(t *testing.T) {
	taken := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	letter := queue.DeadLetter{
		Address: queue.Address{Hi: 7, Lo: 3},
		Event:   event.Event{ID: "id-1", Name: "Application Opened", Body: []byte(`{"userId":"ann","anonymousId":"device-9","traits":{"userId":"eve"}}`)},
		Reason:  queue.Rejected, Status: 422, Taken: taken, Died: taken.Add(time.Hour),
	}
	here := letter.Address
	for _, test := range []struct {
		name          string
		filter        queue.Filter
		letter, event bool
	}{
		{"nothing set", queue.Filter{}, true, true},
		{"its reason", queue.Filter{Reasons: []queue.Reason{queue.Poison, queue.Rejected}}, true, true},
		{"another reason, which an event has not", queue.Filter{Reasons: []queue.Reason{queue.Poison}}, false, true},
		{"its status", queue.Filter{Statuses: []int{400, 422}}, true, true},
		{"another status, which an event has not", queue.Filter{Statuses: []int{400}}, false, true},
		{"its name", queue.Filter{Event: "Application Opened"}, true, true},
		{"a part of its name", queue.Filter{Event: "Application"}, false, false},
		{"its name in another case", queue.Filter{Event: "application opened"}, false, false},
		{"its messageId", queue.Filter{ID: "id-1"}, true, true},
		{"another messageId", queue.Filter{ID: "id-10"}, false, false},
		{"its user", queue.Filter{User: "ann"}, true, true},
		{"its anonymous user", queue.Filter{User: "device-9"}, true, true},
		{"a user deeper in its body", queue.Filter{User: "eve"}, false, false},
		{"taken before a later time", queue.Filter{TakenBefore: taken.Add(1)}, true, true},
		{"taken before its own time", queue.Filter{TakenBefore: taken}, false, false},
		{"taken at its own time or later", queue.Filter{TakenAfter: taken}, true, true},
		{"taken later", queue.Filter{TakenAfter: taken.Add(1)}, false, false},
		{"died before a later time, which an event has not", queue.Filter{DiedBefore: taken.Add(time.Hour + 1)}, true, true},
		{"died before its own time", queue.Filter{DiedBefore: taken.Add(time.Hour)}, false, true},
		{"its type", queue.Filter{Types: []event.Type{event.TypeIdentify, event.TypeTrack}}, true, true},
		{"another type", queue.Filter{Types: []event.Type{event.TypeIdentify}}, false, false},
		{"after the address before", queue.Filter{After: queue.Address{Hi: 7, Lo: 2}}, true, true},
		{"after its own address", queue.Filter{After: here}, false, false},
		{"at its address", queue.Filter{At: []queue.Address{{Lo: 1}, here}}, true, true},
		{"at others", queue.Filter{At: []queue.Address{{Lo: 1}}}, false, false},
		{"limited, which is the lister's to keep", queue.Filter{Limit: 1}, true, true},
		{"all that is true", queue.Filter{Reasons: []queue.Reason{queue.Rejected}, Statuses: []int{422}, Event: "Application Opened", ID: "id-1", User: "ann"}, true, true},
		{"one of many wrong", queue.Filter{Reasons: []queue.Reason{queue.Rejected}, Statuses: []int{422}, ID: "id-1", User: "bob"}, false, false},
	} {
		if got := test.filter.MatchLetter(letter); got != test.letter {
			t.Errorf("%s: letter matches: %t, want %t", test.name, got, test.letter)
		}
		if got := test.filter.MatchEvent(here, letter.Event, taken); got != test.event {
			t.Errorf("%s: event matches: %t, want %t", test.name, got, test.event)
		}
	}
}

func TestABodyThatIsNoJSONHasNoUser(t *testing.T) {
	letter := queue.DeadLetter{Address: queue.Address{Lo: 1}, Event: event.Event{Body: []byte(`{"userId":"ann"`)}, AtDoor: true}
	if (queue.Filter{User: "ann"}).MatchLetter(letter) {
		t.Error("it matches")
	}
}

func TestAnAccountBalancesOrNot(t *testing.T) {
	a := queue.Account{Taken: 15, Queued: 1, Delivered: 2, Dead: 3, Discarded: 4, Lost: 5}
	if !a.Balances() || !a.Add(a).Balances() {
		t.Errorf("%+v and twice of it: want balance", a)
	}
	if want := (queue.Account{Taken: 30, Queued: 2, Delivered: 4, Dead: 6, Discarded: 8, Lost: 10}); a.Add(a) != want {
		t.Errorf("twice: got %+v, want %+v", a.Add(a), want)
	}
	a.Delivered++
	if a.Balances() {
		t.Errorf("%+v: want no balance", a)
	}
}

func TestEveryReasonIsListedOnce(t *testing.T) {
	all := queue.Reasons()
	if got := slices.Compact(slices.Sorted(slices.Values(all))); len(got) != 8 || len(all) != 8 {
		t.Errorf("got %v, want eight different ones", all)
	}
}

func ExampleParseAddress() {
	addr, err := queue.ParseAddress("00000000000000070000000000000003")
	fmt.Println(addr.Hi, addr.Lo, err)
	// Output: 7 3 <nil>
}
