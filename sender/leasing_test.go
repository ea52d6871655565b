package sender

import (
	"testing"
	"time"

	"trackd/queue"
)

// What is given back comes before what would be leased next, so it must be back in
// the queue first.
func TestNothingIsLeasedBeforeWhatWasGivenBackIsBack(t *testing.T) {
	s := idleScheduler(t, nil, 1)
	s.keep(leasedItem(1))
	s.lease(1)
	s.giveBack()
	<-s.wants
	s.leased(lease{deliveries: []queue.Delivery{{Address: at(2)}}}) // was on its way meanwhile
	if len(s.window.ready) != 0 || len(s.outcomes) != 2 || s.outcomes[1].Verb != queue.Return {
		t.Fatalf("%d at hand, outcomes %+v; want what came meanwhile given back, too", len(s.window.ready), s.outcomes)
	}
	s.lease(1)
	if s.asked {
		t.Error("leased while events are on their way back")
	}
	s.returning = false // as loop does when they are settled
	if s.lease(1); !s.asked {
		t.Error("nothing is leased after they are back")
	}
	s.step(time.Now())
}
