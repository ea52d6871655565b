package admin

import "testing"

// The queue forgets what was lost from files that are gone; a counter must not.
func TestLostEventsAreCountedUpwards(t *testing.T) {
	c := newCollector(nil)
	for i, step := range []struct{ now, want uint64 }{{0, 0}, {5, 5}, {5, 5}, {2, 5}, {4, 7}, {0, 7}} {
		if got := c.countLost(step.now); got != step.want {
			t.Errorf("step %d: got %d, want %d", i, got, step.want)
		}
	}
}
