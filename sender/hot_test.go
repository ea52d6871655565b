package sender_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trackd/event"
	"trackd/sender"
)

// throughput sends a backlog of so many persons' events, with answers after 20 ms,
// and returns how many a second were delivered while more waited than the window
// holds, and the counted exceptions. (The last 4,096 of a lone person go one by one.)
func throughput(t *testing.T, persons, events int, order sender.Order) (rate float64, released map[string]int) {
	synctest.Test(t, func(t *testing.T) {
		q, f := newMemQueue(), &far{took: 20 * time.Millisecond, answer: all(none)}
		for i := range events {
			q.addOf(fmt.Sprintf("e%d", i), event.Persons{1 + uint64(i%persons)})
		}
		reg := prometheus.NewRegistry()
		snd := toFar(t, q, f, func(o *sender.Options) { o.Order, o.Registerer = order, reg })
		from := time.Now()
		for len(f.passes()) < events {
			time.Sleep(time.Second)
		}
		passed := f.passes()
		rate = float64(events-4096) / passed[events-4097].Sub(from).Seconds()
		released = releasedBy(t, reg)
		snd.end(t)
	})
	return rate, released
}

func TestOrderCostsLittle(t *testing.T) {
	table := "| persons | events/s in order | without | on ÷ off | exceptions |\n|---|---|---|---|---|\n"
	for _, persons := range []int{1, 10, 100, 10_000} {
		on, released := throughput(t, persons, 14_000, sender.OrderPerson)
		off, _ := throughput(t, persons, 14_000, sender.OrderNone)
		table += fmt.Sprintf("| %d | %.0f | %.0f | %.2f | %v |\n", persons, on, off, on/off, released)
		if least := map[bool]float64{true: 0.97, false: 0.8}[persons >= 100]; on < least*off {
			t.Errorf("%d persons: %.0f/s in order, %.0f/s without", persons, on, off)
		}
		if persons >= 100 && released["window"] > 0 {
			t.Errorf("%d persons: %v released", persons, released)
		}
	}
	t.Logf("\n%s", table)
}

// TestAHotPersonDoesNotStallTheOthers has half of all events name one id, at
// slow answers and with errors, and more of it than can be sent in order.
func TestAHotPersonDoesNotStallTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := map[string]time.Time{}
		n := 0
		q, f := newMemQueue(), &far{took: 50 * time.Millisecond}
		f.set(func(string) trouble { // under the lock of f; every twentieth fails
			if n++; n%20 == 0 {
				return fails500
			}
			return none
		})
		reg := prometheus.NewRegistry()
		snd := toFar(t, q, f, func(o *sender.Options) { o.Registerer = reg })
		for i := range 200 * 300 { // 200 a second for five minutes
			id, person := fmt.Sprintf("hot%d", i), uint64(1)
			if i%2 == 0 {
				id, person = fmt.Sprintf("other%d", i), uint64(2+i%5000)
				sent[id] = time.Now()
			}
			q.addOf(id, event.Persons{person})
			time.Sleep(5 * time.Millisecond)
		}
		time.Sleep(10 * time.Minute)
		var worst time.Duration
		late := 0
		seen := map[string]bool{}
		f.mu.Lock()
		came := slices.Clone(f.came)
		f.mu.Unlock()
		for _, a := range came {
			if at, other := sent[a.id]; other && !seen[a.id] {
				seen[a.id] = true
				wait := a.at.Sub(at)
				worst = max(worst, wait)
				if wait > 2*time.Second {
					late++
				}
			}
		}
		t.Logf("another person's event waited %v at most, %d of %d more than 2 s; exceptions %v", worst, late, len(sent), releasedBy(t, reg))
		if late > 0 {
			t.Errorf("%d of %d events of others waited more than 2 s, at most %v", late, len(sent), worst)
		}
		snd.end(t)
		wantAccount(t, q, 200*300, 0)
	})
}
