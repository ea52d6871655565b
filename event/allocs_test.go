//go:build !race

// The race detector allocates, too.

package event

import (
	"testing"
	"time"
)

func TestEventCostsTwoAllocationsAndOneInArena(t *testing.T) {
	raw, arena := []byte(typical), make([]byte, 1024)
	now := time.Now()
	alone := testing.AllocsPerRun(100, func() {
		if _, err := (Parser{}).Parse(raw, now); err != nil {
			t.Fatal(err)
		}
	})
	inArena := testing.AllocsPerRun(100, func() {
		if _, err := (Parser{}).At(TypeTrack).ParseInto(arena, raw, now); err != nil {
			t.Fatal(err)
		}
	})
	if alone != 2 || inArena != 1 {
		t.Errorf("an event costs %v allocations, and %v in arena, want 2, its body and its ID, and 1", alone, inArena)
	}
}
