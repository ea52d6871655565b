package sandbox

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// ruleSet decides what becomes of each call. All fields are guarded by mu.
type ruleSet struct {
	mu    sync.Mutex
	asSet Trouble
	since time.Time // when it was set
	rules []*activeRule
	rng   *rand.Rand
}

// activeRule is a rule at work.
type activeRule struct {
	rule   Rule
	bucket *rate.Limiter // of rule.Over; nil without one
	hits   uint64
}

func newRuleSet(seed uint64) *ruleSet {
	return &ruleSet{rng: rand.New(rand.NewPCG(seed, seed))}
}

// set replaces the trouble, or changes nothing and says what is wrong with t.
func (s *ruleSet) set(t Trouble, now time.Time) error {
	resolved, err := t.resolve()
	if err != nil {
		return err
	}
	var rules []*activeRule
	for _, rule := range resolved {
		active := &activeRule{rule: rule}
		if over := rule.Over; over != (Limit{}) {
			active.bucket = rate.NewLimiter(rate.Limit(float64(over.Calls)/over.Per.Seconds()), over.Calls)
		}
		rules = append(rules, active)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asSet, s.since, s.rules = slices.Clone(t), now, rules
	return nil
}

// trouble returns what was set.
func (s *ruleSet) trouble() Trouble {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asSet)
}

// decide returns what happens to c; the zero Action is the documented answer.
func (s *ruleSet) decide(c *call) Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rule := range s.rules {
		if rule.applies(c, c.at.Sub(s.since), s.rng) {
			return rule.rule.Do
		}
	}
	return Action{}
}

// applies reports whether the rule applies to c, which came so long after the
// trouble was set. Conditions that change when asked come last.
func (a *activeRule) applies(c *call, age time.Duration, rng *rand.Rand) bool {
	r := a.rule
	switch {
	case age < r.After,
		r.For > 0 && age >= r.After+r.For,
		r.Count > 0 && a.hits >= r.Count,
		r.Match != Match{} && !slices.ContainsFunc(c.events, r.Match.matches),
		a.bucket != nil && a.bucket.AllowN(c.at, 1),
		r.Rate > 0 && rng.Float64() >= r.Rate:
		return false
	}
	a.hits++
	return true
}

// matches reports whether every field of m that is set equals e's.
func (m Match) matches(e event) bool {
	return (m.Type == "" || m.Type == e.callType) &&
		(m.Event == "" || m.Event == e.name) &&
		(m.MessageID == "" || m.MessageID == e.messageID) &&
		(m.UserID == "" || m.UserID == e.userID || m.UserID == e.anonymousID)
}
