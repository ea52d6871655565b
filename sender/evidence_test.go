package sender

import (
	"math"
	"testing"
	"time"

	"trackd/queue"
)

func TestStrikesWeighHowSurprisingAFailureIs(t *testing.T) {
	const successes = 100
	long := time.Now().Add(-time.Hour)
	failedBefore := queue.Delivery{Attempts: 4, Strikes: 2, FirstFailed: long, Successes: 99}
	for _, c := range []struct {
		name    string
		failing float64 // share of first attempts
		d       queue.Delivery
		strikes float64
		own     bool
	}{
		{"a first failure tells nothing", 0, queue.Delivery{}, 0, false},
		{"nor does a first one after throttling", 0, queue.Delivery{Attempts: 3}, 0, false},
		{"others passed since", 0, queue.Delivery{Attempts: 1, FirstFailed: long, Successes: 99}, 1, true},
		{"nobody passed since", 0, queue.Delivery{Attempts: 1, FirstFailed: long, Successes: 100}, 0, false},
		{"nobody passed since, but it has strikes", 0, queue.Delivery{Attempts: 4, Strikes: 2, FirstFailed: long, Successes: 100}, 2, true},
		{"the first failure after a restart", 0, queue.Delivery{Strikes: 2, FirstFailed: long}, 2, true},
		{"half of all fail", 0.5, failedBefore, 2.83, true},
		{"nine in ten fail", 0.9, failedBefore, 2.1, true},
		{"all fail", 1, failedBefore, 2, true},
	} {
		e := newEvidence()
		e.successes, e.failing = successes, average{share: c.failing, seen: mostSeen}
		if strikes, own := e.failed(time.Now(), c.d, 0); math.Abs(strikes-c.strikes) > 0.01 || own != c.own {
			t.Errorf("%s: %.2f strikes, own %t; want %.2f, %t", c.name, strikes, own, c.strikes, c.own)
		}
	}
}

func TestOnlyFirstAttemptsCountForTheShareThatFails(t *testing.T) {
	e, now := newEvidence(), time.Now()
	retried := queue.Delivery{FirstFailed: now}
	for range 100 {
		e.passed(queue.Delivery{})
	}
	for range 100 {
		e.failed(now, retried, 0)
	}
	if e.failing.share > 0.05 || e.mixed(now) || e.retryShare() != 0.1 {
		t.Errorf("after a hundred failed retries the share of first attempts that fail is %.2f, mixed %t, retries get %.2f", e.failing.share, e.mixed(now), e.retryShare())
	}
	for range 100 {
		e.passed(retried)
	}
	for range 16 {
		e.failed(now, queue.Delivery{}, 0)
	}
	if e.failing.share < 0.3 || !e.mixed(now) || e.retryShare() != 0.5 {
		t.Errorf("after sixteen failed first attempts the share is %.2f, mixed %t, retries get %.2f", e.failing.share, e.mixed(now), e.retryShare())
	}
	if e.mixed(now.Add(mixedFor)) {
		t.Errorf("still mixed after %v", mixedFor)
	}
}

func TestNobodyIsSuspectedBeforeAnythingPassed(t *testing.T) {
	e := newEvidence()
	for n, least := 0, 1.0; n < 40; n++ {
		upper := e.failing.upper()
		if n == 0 && upper != 1 || upper > least {
			t.Errorf("after %d passes at most %.2f of first attempts fail, want less and less from 1", n, upper)
		}
		least = upper
		e.passed(queue.Delivery{})
	}
	if upper := e.failing.upper(); upper > 0.15 {
		t.Errorf("after forty passes at most %.2f of first attempts fail", upper)
	}
}

func TestAgeDoesNotBelieveAClockThatJumped(t *testing.T) {
	const year = 365 * 24 * time.Hour
	now := time.Now()
	for _, c := range []struct {
		name                 string
		taken, wall, carried time.Time
		want                 time.Duration
	}{
		{"steady", now.Add(-3 * time.Hour), now, now, 3 * time.Hour},
		{"taken in the future", now.Add(year), now, now, 0},
		{"jumped forward since it was taken", now.Add(-time.Hour), now.Add(year), now, time.Hour},
		{"jumped forward before it was taken", now.Add(year), now.Add(year), now, 0},
		{"jumped back", now.Add(-time.Hour), now.Add(-year), now, 0},
		{"was set right after the start", now.Add(-time.Hour), now, now.Add(year), time.Hour},
	} {
		if got := age(c.taken, c.wall, c.carried); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
