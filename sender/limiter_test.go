package sender

import (
	"testing"
	"time"
)

func TestTheLimiterAsATable(t *testing.T) {
	begin := time.Now()
	type step struct {
		after time.Duration // since the last step
		op    string
		want  float64
	}
	for _, c := range []struct {
		name  string
		full  float64
		steps []step
	}{
		{"429 halves", 200, []step{{0, "429", 100}, {time.Second, "429", 50}}},
		{"but not at once again", 200, []step{{0, "429", 100}, {holdDown - time.Millisecond, "429", 100}}},
		{"and not for what was out already", 200, []step{{0, "429", 100}, {9 * time.Second, "old 429", 100}, {0, "429", 50}}},
		{"down to a floor", 0.1, []step{{0, "429", 0.05}, {time.Second, "429", 1. / 30}, {time.Second, "429", 1. / 30}}},
		{"that is not above full", 0.02, []step{{0, "429", 0.02}}},
		{"climbs by a hundredth a second", 200, []step{{0, "429", 100}, {time.Second, "pass", 102}, {500 * time.Millisecond, "pass", 103}}},
		{"an idle minute earns a second", 200, []step{{0, "429", 100}, {time.Minute, "pass", 102}}},
		{"not beyond full", 200, []step{{0, "429", 100}, {time.Second, "pass", 102}, {0, "open", 20}, {time.Hour, "pass", 40}}},
		{"a full pace stays", 200, []step{{time.Second, "pass", 200}}},
		{"doubles after an outage", 200, []step{{0, "open", 20}, {time.Second, "pass", 40}, {time.Second, "pass", 80}, {time.Second, "pass", 160}, {time.Second, "pass", 200}}},
		{"gently again where it was too much", 200, []step{{0, "429", 100}, {0, "open", 20}, {time.Second, "pass", 40}, {time.Second, "pass", 80}, {time.Second, "pass", 100}, {time.Second, "pass", 102}}},
		{"429 ends the doubling", 200, []step{{0, "open", 20}, {time.Second, "pass", 40}, {0, "429", 20}, {time.Second, "pass", 22}}},
		{"the first pass restarts it at a tenth", 200, []step{{0, "429", 100}, {time.Second, "429", 50}, {time.Second, "429", 25}, {time.Second, "429", 12.5}, {time.Minute, "pass", 20}, {time.Second, "pass", 40}, {time.Second, "pass", 80}, {time.Second, "pass", 100}, {time.Second, "pass", 102}}},
		{"at the soft ceiling if that is lower", 200, []step{{0, "429", 100}, {0, "pass", 100}, {time.Second, "429", 50}, {0, "pass", 50}, {time.Second, "429", 25}, {0, "pass", 25}, {time.Second, "429", 12.5}, {time.Second, "429", 6.25}, {0, "pass", 12.5}, {time.Second, "pass", 14.5}}},
		{"opening does not raise it", 200, []step{{0, "429", 100}, {time.Second, "429", 50}, {time.Second, "429", 25}, {time.Second, "429", 12.5}, {0, "open", 12.5}}},
		{"a lower rate holds at once", 200, []step{{0, "rate 50", 50}}},
		{"a higher one too", 200, []step{{0, "rate 400", 400}}},
		{"unless throttled", 200, []step{{0, "429", 100}, {0, "rate 400", 100}, {time.Second, "pass", 104}}},
	} {
		now := begin
		l := newLimiter(c.full, 50)
		for i, s := range c.steps {
			now = now.Add(s.after)
			switch s.op {
			case "429":
				l.throttled(now, now)
			case "old 429":
				l.throttled(now, begin.Add(-time.Second))
			case "pass":
				l.passed(now)
			case "open":
				l.ramp(now)
			case "rate 50":
				l.reset(now, 50, 50)
			case "rate 400":
				l.reset(now, 400, 50)
			}
			if l.rate < s.want-0.001 || l.rate > s.want+0.001 || float64(l.bucket.Limit()) != l.rate {
				t.Errorf("%s: after step %d (%s) the rate is %v (limiter %v), want %v", c.name, i, s.op, l.rate, l.bucket.Limit(), s.want)
			}
		}
	}
}

func TestTokensComeAtTheRate(t *testing.T) {
	now := time.Now()
	l := newLimiter(10, 3)
	for range 3 {
		if wait := l.take(now); wait != 0 {
			t.Fatalf("a token of the burst costs %v", wait)
		}
	}
	wait := l.take(now)
	if wait < 99*time.Millisecond || wait > 101*time.Millisecond {
		t.Errorf("the next token comes after %v, want 100ms", wait)
	}
	if again := l.take(now); again != wait {
		t.Errorf("asking took something: %v, then %v", wait, again)
	}
	if wait := l.take(now.Add(wait)); wait > time.Microsecond {
		t.Errorf("and then after %v more", wait)
	}
}

func TestTheBurstShrinksWithTheRate(t *testing.T) {
	now := time.Now()
	l := newLimiter(200, 50)
	l.throttled(now, now)
	if got := l.bucket.Burst(); got != 1 {
		t.Errorf("burst when throttled is %d, want 1: what had gathered is too much as well", got)
	}
	l.passed(now.Add(time.Second))
	if got := l.bucket.Burst(); got != 25 {
		t.Errorf("burst at half the rate is %d, want 25", got)
	}
	l.ramp(now)
	if got := l.bucket.Burst(); got != 1 {
		t.Errorf("burst after an outage is %d, want 1", got)
	}
}

func TestNothingBut429IsThrottled(t *testing.T) {
	begin := time.Now()
	for _, c := range []struct {
		name string
		at   []time.Duration // of each 429
		pass bool            // in the middle of them
		want bool
	}{
		{"sixteen at once", make([]time.Duration, 16), false, true},
		{"fifteen at once", make([]time.Duration, 15), false, false},
		{"three in as many seconds", []time.Duration{0, time.Second, 3 * time.Second}, false, false},
		{"three in fifteen seconds", []time.Duration{0, time.Second, 15 * time.Second}, false, true},
		{"two in a minute", []time.Duration{0, time.Minute}, false, false},
		{"sixteen with a pass between", make([]time.Duration, 16), true, false},
	} {
		l, now := newLimiter(200, 50), begin
		for i, after := range c.at {
			now = begin.Add(after)
			l.throttled(now, now)
			if c.pass && i == len(c.at)/2 {
				l.passed(now)
			}
		}
		if got := l.isThrottled(now); got != c.want {
			t.Errorf("%s: throttled is %t, want %t", c.name, got, c.want)
		}
	}
}

func TestTheHoldIsTheLongestThatWasAsked(t *testing.T) {
	now := time.Now()
	l := newLimiter(200, 50)
	l.holdUntil(now, time.Minute)
	l.holdUntil(now, time.Second)
	if got := l.take(now); got != time.Minute {
		t.Errorf("wait = %v, want 1m", got)
	}
	l.holdUntil(now, time.Hour)
	if got := l.take(now); got != longestAsk {
		t.Errorf("wait = %v, want %v", got, longestAsk)
	}
	if got := l.take(now.Add(longestAsk)); got != 0 {
		t.Errorf("wait = %v after the silence", got)
	}
}
