package sender

import (
	"log/slog"
	"testing"
	"time"

	"trackd/queue"
)

// answers are the ways an attempt can end, as judged.
var answers = map[string]answer{
	"200":      {status: 200, kind: bodyObject},
	"400 JSON": {status: 400, kind: bodyObject, text: `{"meta":{}}`},
	"413":      {status: 413, kind: bodyObject, text: `{"code":"oversize"}`},
	"429":      {status: 429},
	"401":      {status: 401},
	"503":      {status: 503},
	"503 ask":  {status: 503, retryAfter: time.Minute},
	"500 ask":  {status: 500, retryAfter: time.Minute},
}

// attempted feeds h the answer to d.
func attempted(h *health, now time.Time, d queue.Delivery, name string) queue.Outcome {
	a := answers[name]
	v, r := judge(a)
	return h.learn(now, report{item: &item{address: d.Address, delivery: &d}, answer: a, verdict: v, result: r, epoch: h.breaker.epoch, began: now})
}

func healthy() *health {
	o := Options{MaxAttempts: 3, PoisonAfter: time.Hour, Log: slog.New(slog.DiscardHandler)}.withDefaults()
	return newHealth(o, time.Now())
}

func TestWhatAProbeBringsBackDecidesOnTheBreaker(t *testing.T) {
	for _, c := range []struct {
		tripped string // by these answers
		probe   string
		want    State
	}{
		{"503", "200", Open},
		{"503", "429", Open},      // it is there and has only too much to do
		{"503", "400 JSON", Open}, // it is there and judges events
		{"503", "413", Open},
		{"503", "503", Probing},
		{"503", "401", Denied},
		{"401", "200", Open},
		{"401", "429", Denied}, // said by whatever stands before the check of the key
		{"401", "400 JSON", Denied},
		{"401", "413", Denied},
		{"401", "503", Denied},
		{"401", "401", Denied},
	} {
		h, now := healthy(), time.Now()
		for n := range uint64(tripAfter) {
			attempted(h, now, fresh(n), c.tripped)
		}
		if h.state(now) == Open {
			t.Fatalf("a run of %s did not trip the breaker", c.tripped)
		}
		h.breaker.launch(now)
		attempted(h, now, fresh(99), c.probe)
		if h.state(now) != c.want {
			t.Errorf("tripped by %s, probe brought %s: it is %s, want %s", c.tripped, c.probe, h.state(now), c.want)
		}
		if h.breaker.out {
			t.Errorf("tripped by %s, probe brought %s: the probe still counts as out", c.tripped, c.probe)
		}
		if c.want != Open && !h.breaker.next.After(now) {
			t.Errorf("tripped by %s, probe brought %s: the next follows at once", c.tripped, c.probe)
		}
	}
}

func TestWhatAnAnswerMeansForItsEvent(t *testing.T) {
	now := time.Now()
	first := now.Add(-2 * time.Hour)
	tried := queue.Delivery{Address: at(7), Attempts: 4, Strikes: 2, FirstFailed: first, Successes: 1}
	young := tried
	young.FirstFailed = now.Add(-time.Minute)
	for _, c := range []struct {
		answer string
		d      queue.Delivery
		want   queue.Outcome
		least  time.Duration // of Delay, which is left out of want
	}{
		{"200", tried, queue.Outcome{Address: at(7), Verb: queue.Delivered}, 0},
		{"400 JSON", tried, queue.Outcome{Address: at(7), Verb: queue.Bury, Attempts: 5, Reason: queue.Rejected, Status: 400, Detail: `{"meta":{}}`}, 0},
		{"413", tried, queue.Outcome{Address: at(7), Verb: queue.Bury, Attempts: 5, Reason: queue.TooLarge, Status: 413, Detail: `{"code":"oversize"}`}, 0},
		{"429", tried, queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 5, Strikes: 2, FirstFailed: first, Successes: 1, Status: 429, Detail: "HTTP 429 Too Many Requests"}, 500 * time.Millisecond},
		{"503", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41, FirstFailed: now, Status: 503, Detail: "HTTP 503 Service Unavailable"}, 500 * time.Millisecond},
		{"503", tried, queue.Outcome{Address: at(7), Verb: queue.Bury, Attempts: 5, Reason: queue.Poison, Status: 503, Detail: "HTTP 503 Service Unavailable"}, 0},
		{"503", young, queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 5, Strikes: 3, FirstFailed: young.FirstFailed, Successes: 41, Status: 503, Detail: "HTTP 503 Service Unavailable"}, 500 * time.Millisecond},
		{"500 ask", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41, FirstFailed: now, Status: 500, Detail: "HTTP 500 Internal Server Error"}, time.Minute},
		{"503 ask", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41, FirstFailed: now, Status: 503, Detail: "HTTP 503 Service Unavailable"}, time.Minute},
		{"401", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41, FirstFailed: now, Status: 401, Detail: "HTTP 401 Unauthorized"}, 500 * time.Millisecond},
	} {
		h := healthy()
		for n := range uint64(40) {
			attempted(h, now, fresh(100+n), "200")
		}
		got := attempted(h, now, c.d, c.answer)
		if got.Delay < c.least {
			t.Errorf("%s: delay %v, want at least %v", c.answer, got.Delay, c.least)
		}
		if got.Delay = 0; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.answer, got, c.want)
		}
	}
}
