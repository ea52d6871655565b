package sandbox

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// fates decides what becomes of each call. All fields are guarded by mu.
type fates struct {
	mu    sync.Mutex
	asSet Trouble
	since time.Time // when it was set
	rules []*fate
	rng   *rand.Rand
}

// fate is a rule at work.
type fate struct {
	rule   Rule
	bucket *rate.Limiter // of rule.Over; nil without one
	hits   uint64
}

func newFates(seed uint64) *fates {
	return &fates{rng: rand.New(rand.NewPCG(seed, seed))}
}

// set replaces the trouble, or changes nothing and says what is wrong with t.
func (f *fates) set(t Trouble, now time.Time) error {
	resolved, err := t.resolve()
	if err != nil {
		return err
	}
	var rules []*fate
	for _, rule := range resolved {
		rules = append(rules, newFate(rule))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asSet, f.since, f.rules = slices.Clone(t), now, rules
	return nil
}

func newFate(rule Rule) *fate {
	f := &fate{rule: rule}
	if over := rule.Over; over != (Limit{}) {
		f.bucket = rate.NewLimiter(rate.Limit(float64(over.Calls)/over.Per.Seconds()), over.Calls)
	}
	return f
}

// trouble returns what was set.
func (f *fates) trouble() Trouble {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asSet)
}

// decide returns what happens to c; the zero Action is the honest answer.
func (f *fates) decide(c *call) Action {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fate := range f.rules {
		if fate.hit(c, c.at.Sub(f.since), f.rng) {
			return fate.rule.Do
		}
	}
	return Action{}
}

// hit reports whether the rule applies to c, heard so long after the trouble
// was set. Conditions that change when asked come last.
func (f *fate) hit(c *call, age time.Duration, rng *rand.Rand) bool {
	r := f.rule
	switch {
	case age < r.After,
		r.For > 0 && age >= r.After+r.For,
		r.Count > 0 && f.hits >= r.Count,
		!r.Match.call(c),
		f.bucket != nil && f.bucket.AllowN(c.at, 1),
		r.Rate > 0 && rng.Float64() >= r.Rate:
		return false
	}
	f.hits++
	return true
}

// call reports whether m selects c.
func (m Match) call(c *call) bool {
	return m == Match{} || slices.ContainsFunc(c.events, m.event)
}

// event reports whether every field of m that is set equals e's.
func (m Match) event(e heard) bool {
	return (m.Event == "" || m.Event == e.name) &&
		(m.MessageID == "" || m.MessageID == e.messageID) &&
		(m.UserID == "" || m.UserID == e.userID || m.UserID == e.anonymousID)
}
