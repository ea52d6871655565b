package boltqueue

import (
	"strings"
	"testing"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

func TestWhatDoesNotPassThroughAtOnceIsExpectedToWait(t *testing.T) {
	first, second := &segmentState{}, &segmentState{}
	for _, c := range []struct {
		what         string
		cursor, tail *segmentState
		want         segment.Stay
	}{
		{"delivery is in the segment that is appended to", second, second, segment.Passing},
		{"delivery is a segment behind", first, second, segment.Waiting},
		{"delivery has not begun", nil, first, segment.Waiting},
		{"nothing can be appended to", first, nil, segment.Waiting},
		{"neither has begun", nil, nil, segment.Waiting},
	} {
		if got := expectedStay(c.cursor, c.tail); got != c.want {
			t.Errorf("%s: got %d, want %d", c.what, got, c.want)
		}
	}
}

// Addresses and codes are stored, or told to operators.
func TestCodesOfReasonsAndAddressesStay(t *testing.T) {
	if rejectFlag != 1<<63 || reasonCode(queue.NotLifecycle) != segment.ReasonSample || len(queue.Reasons())+1 != segment.ReasonSlots {
		t.Error("a constant changed")
	}
	var reasons []string
	for _, r := range queue.Reasons() { // their order is stored
		reasons = append(reasons, string(r))
	}
	if got := strings.Join(reasons, " "); got != "malformed invalid not_lifecycle oversize rejected too_large poison expired" {
		t.Errorf("got the reasons %s", got)
	}
	for i, r := range queue.Reasons() {
		if reasonCode(r) != uint8(i+1) || reasonOf(uint8(i+1)) != r {
			t.Errorf("%s has the code %d", r, reasonCode(r))
		}
	}
}
