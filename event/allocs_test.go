//go:build !race

// The race detector allocates, too.

package event

import (
	"testing"
	"time"
)

func TestEventCostsTwoAllocationsAndOneInRoom(t *testing.T) {
	raw, room := []byte(typical), make([]byte, 1024)
	now := time.Now()
	alone := testing.AllocsPerRun(100, func() {
		if _, err := (Parser{}).Parse(raw, now); err != nil {
			t.Fatal(err)
		}
	})
	inRoom := testing.AllocsPerRun(100, func() {
		if _, _, err := (Parser{}).ParseInto(room, raw, now); err != nil {
			t.Fatal(err)
		}
	})
	if alone != 2 || inRoom != 1 {
		t.Errorf("an event costs %v allocations, and %v in room, want 2, its body and its ID, and 1", alone, inRoom)
	}
}
