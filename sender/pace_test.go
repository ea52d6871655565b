package sender

import (
	"testing"
	"time"
)

func TestThePaceAsATable(t *testing.T) {
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
		{"but once a second", 200, []step{{0, "429", 100}, {999 * time.Millisecond, "429", 100}}},
		{"and not for what was out already", 200, []step{{0, "429", 100}, {9 * time.Second, "old 429", 100}, {0, "429", 50}}},
		{"down to a floor", 4, []step{{0, "429", 2}, {time.Second, "429", 1}, {time.Second, "429", 1}}},
		{"that is not above full", 0.5, []step{{0, "429", 0.5}}},
		{"climbs by a hundredth a second", 200, []step{{0, "429", 100}, {time.Second, "pass", 102}, {500 * time.Millisecond, "pass", 103}}},
		{"an idle minute earns a second", 200, []step{{0, "429", 100}, {time.Minute, "pass", 102}}},
		{"not beyond full", 200, []step{{0, "429", 100}, {time.Second, "pass", 102}, {0, "open", 20}, {time.Hour, "pass", 40}}},
		{"a full pace stays", 200, []step{{time.Second, "pass", 200}}},
		{"doubles after an outage", 200, []step{{0, "open", 20}, {time.Second, "pass", 40}, {time.Second, "pass", 80}, {time.Second, "pass", 160}, {time.Second, "pass", 200}}},
		{"gently again where it was too much", 200, []step{{0, "429", 100}, {0, "open", 20}, {time.Second, "pass", 40}, {time.Second, "pass", 80}, {time.Second, "pass", 100}, {time.Second, "pass", 102}}},
		{"429 ends the doubling", 200, []step{{0, "open", 20}, {time.Second, "pass", 40}, {0, "429", 20}, {time.Second, "pass", 22}}},
		{"opening does not raise it", 200, []step{{0, "429", 100}, {time.Second, "429", 50}, {time.Second, "429", 25}, {time.Second, "429", 12.5}, {0, "open", 12.5}}},
		{"a lower rate holds at once", 200, []step{{0, "rate 50", 50}}},
		{"a higher one too", 200, []step{{0, "rate 400", 400}}},
		{"unless throttled", 200, []step{{0, "429", 100}, {0, "rate 400", 100}, {time.Second, "pass", 104}}},
	} {
		now := begin
		p := newPace(c.full, 50)
		for i, s := range c.steps {
			now = now.Add(s.after)
			switch s.op {
			case "429":
				p.throttled(now, now)
			case "old 429":
				p.throttled(now, begin.Add(-time.Second))
			case "pass":
				p.passed(now)
			case "open":
				p.ramp(now)
			case "rate 50":
				p.reset(now, 50, 50)
			case "rate 400":
				p.reset(now, 400, 50)
			}
			if p.rate < s.want-0.001 || p.rate > s.want+0.001 || float64(p.limiter.Limit()) != p.rate {
				t.Errorf("%s: after step %d (%s) the rate is %v (limiter %v), want %v", c.name, i, s.op, p.rate, p.limiter.Limit(), s.want)
			}
		}
	}
}

func TestTokensComeAtTheRate(t *testing.T) {
	now := time.Now()
	p := newPace(10, 3)
	for range 3 {
		if wait := p.take(now); wait != 0 {
			t.Fatalf("a token of the burst costs %v", wait)
		}
	}
	wait := p.take(now)
	if wait < 99*time.Millisecond || wait > 101*time.Millisecond {
		t.Errorf("the next token comes after %v, want 100ms", wait)
	}
	if again := p.take(now); again != wait {
		t.Errorf("asking took something: %v, then %v", wait, again)
	}
	if wait := p.take(now.Add(wait)); wait > time.Microsecond {
		t.Errorf("and then after %v more", wait)
	}
}

func TestTheBurstShrinksWithThePace(t *testing.T) {
	now := time.Now()
	p := newPace(200, 50)
	p.throttled(now, now)
	if got := p.limiter.Burst(); got != 25 {
		t.Errorf("burst at half pace is %d, want 25", got)
	}
	p.ramp(now)
	if got := p.limiter.Burst(); got != 1 {
		t.Errorf("burst when the line opens is %d, want 1", got)
	}
}

func TestQuietIsTheLongestThatWasAsked(t *testing.T) {
	now := time.Now()
	p := newPace(200, 50)
	p.hush(now, time.Minute)
	p.hush(now, time.Second)
	if got := p.take(now); got != time.Minute {
		t.Errorf("wait = %v, want 1m", got)
	}
	p.hush(now, time.Hour)
	if got := p.take(now); got != longestAsk {
		t.Errorf("wait = %v, want %v", got, longestAsk)
	}
	if got := p.take(now.Add(longestAsk)); got != 0 {
		t.Errorf("wait = %v after the silence", got)
	}
}
