package sender

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"trackd/event"
	"trackd/queue"
)

// TestLanesMatchTheirModel lets events of random persons enter, leave and be
// released, and compares who is ready with a plain list.
func TestLanesMatchTheirModel(t *testing.T) {
	for seed := range uint64(40) {
		dice := rand.New(rand.NewPCG(seed, 0))
		l := newLanes(time.Minute)
		type known struct {
			it      *item
			persons map[uint64]bool // lanes it is in
		}
		var model []*known // in address order
		check := func(step int) {
			t.Helper()
			for i, k := range model {
				blocked, crowd := 0, 0
				for p := range k.persons {
					if slices.ContainsFunc(model[:i], func(o *known) bool { return o.persons[p] }) {
						blocked++
					}
					if slices.ContainsFunc(model, func(o *known) bool { return o != k && o.persons[p] }) {
						crowd++
					}
				}
				if k.it.blocked != blocked {
					t.Fatalf("seed %d, step %d: %v is blocked in %d lanes, want %d", seed, step, k.it.address, k.it.blocked, blocked)
				}
				if crowd > 0 && len(l.crowded) == 0 {
					t.Fatalf("seed %d, step %d: no lane is crowded", seed, step)
				}
			}
		}
		for step := range 200 {
			switch op := dice.IntN(6); {
			case op < 3 || len(model) == 0: // enters, sometimes before others
				d := queue.Delivery{Address: queue.Address{Lo: dice.Uint64N(1 << 40)}}
				k := &known{it: newItem(d), persons: map[uint64]bool{}}
				var persons event.Persons
				for i := range dice.IntN(4) {
					persons[i] = uint64(i*5) + 1 + dice.Uint64N(5)
					k.persons[persons[i]] = true
				}
				l.enter(k.it, persons)
				i, _ := slices.BinarySearchFunc(model, k, func(a, b *known) int { return a.it.address.Compare(b.it.address) })
				model = slices.Insert(model, i, k)
			case op == 3: // is delivered
				i := dice.IntN(len(model))
				ready := l.leave(model[i].it)
				model = slices.Delete(model, i, i+1)
				for _, it := range ready {
					if it.blocked != 0 {
						t.Fatalf("seed %d, step %d: %v is said to be ready and blocked in %d lanes", seed, step, it.address, it.blocked)
					}
				}
			case op == 4: // is parked: less is kept of it
				k := model[dice.IntN(len(model))]
				small := &item{address: k.it.address, places: make([]place, len(k.it.places)), failed: dice.IntN(2) == 0, where: waiting}
				l.replace(k.it, small)
				k.it = small
				l.moved(small)
			default: // holds end: the first of each lane that failed and holds others up
				released := 0
				for p := range uint64(20) {
					in := func(k *known) bool { return k.persons[p] }
					for n := len(model); n > 0; n-- {
						i := slices.IndexFunc(model, in)
						if i < 0 || model[i].it.where != waiting || !slices.ContainsFunc(model[i+1:], in) {
							break
						}
						delete(model[i].persons, p)
						released++
					}
				}
				if n, _ := l.release(time.Hour); n != released {
					t.Fatalf("seed %d, step %d: %d released, want %d", seed, step, n, released)
				}
			}
			check(step)
		}
		for _, k := range model {
			l.leave(k.it)
		}
		if len(l.byPerson) != 0 || len(l.crowded) != 0 || len(l.holding) != 0 {
			t.Fatalf("seed %d: %d lanes, %d crowded, %d holding when all have left", seed, len(l.byPerson), len(l.crowded), len(l.holding))
		}
	}
}

func TestAHoldEndsAfterOpenTimeAndNeverWhileTheFirstIsOnItsWay(t *testing.T) {
	l := newLanes(5 * time.Minute)
	first, second := newItem(queue.Delivery{Address: at(1)}), newItem(queue.Delivery{Address: at(2)})
	l.enter(first, event.Persons{7})
	first.failed, first.failedAt = true, 2*time.Minute
	second.entered = time.Minute
	l.enter(second, event.Persons{7})
	if n, _ := l.release(6*time.Minute - 1); n != 0 {
		t.Error("released before the second has waited for the hold")
	}
	first.where = launched
	l.moved(first)
	if n, _ := l.release(time.Hour); n != 0 {
		t.Error("released while the first is on its way")
	}
	first.where = waiting
	l.moved(first)
	if n, ready := l.release(6 * time.Minute); n != 1 || len(ready) != 1 || ready[0] != second {
		t.Errorf("%d released, %d ready; want the second", n, len(ready))
	}
	// A third waits no more for the first than the second did.
	if l.enter(newItem(queue.Delivery{Address: at(3)}), event.Persons{7}); l.byPerson[7].first.item != second {
		t.Error("the first is back")
	}
}

func TestTheLongestLaneIsRelievedAndRatherOneThatMoves(t *testing.T) {
	l := newLanes(time.Minute)
	var firsts []*item
	add := func(n uint64, person uint64) *item {
		it := newItem(queue.Delivery{Address: at(n)})
		l.enter(it, event.Persons{person})
		return it
	}
	for n := range uint64(30) { // five, ten and fifteen
		it := add(n+1, []uint64{1, 2, 2, 3, 3, 3}[n%6])
		if it.blocked == 0 {
			it.where = launched
			firsts = append(firsts, it)
		}
	}
	if it := l.relieve(); it.address != at(5) {
		t.Errorf("relieved by %v, want the second of the longest", it.address)
	}
	firsts[2].where, firsts[2].failed = waiting, true
	l.moved(firsts[2])
	if it := l.relieve(); it.address != at(3) {
		t.Errorf("relieved by %v, want the second of the longest whose first is on its way", it.address)
	}
	if it := l.behind(firsts[0]); it.address != at(7) {
		t.Errorf("behind the first is %v, want 7", it.address)
	}
}
