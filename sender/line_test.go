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

// attempted feeds l the answer to d.
func attempted(l *line, now time.Time, d queue.Delivery, name string) queue.Outcome {
	a := answers[name]
	v, r := judge(a)
	return l.learn(now, report{delivery: d, answer: a, verdict: v, result: r, epoch: l.gate.epoch, began: now})
}

func lineOf(workers int) *line {
	o := Options{Workers: workers, MaxAttempts: 3, Log: slog.New(slog.DiscardHandler)}.withDefaults()
	return newLine(o, time.Now())
}

func TestWhatAProbeBringsBackDecidesOnTheGate(t *testing.T) {
	for _, c := range []struct {
		closed string // by these answers
		probe  string
		want   State
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
		l, now := lineOf(10), time.Now()
		for n := range uint64(10) {
			attempted(l, now, fresh(n), c.closed)
		}
		if l.state() == Open {
			t.Fatalf("ten times %s did not close the line", c.closed)
		}
		l.gate.launch()
		attempted(l, now, fresh(99), c.probe)
		if l.state() != c.want {
			t.Errorf("closed by %s, probe brought %s: line is %s, want %s", c.closed, c.probe, l.state(), c.want)
		}
		if l.gate.out {
			t.Errorf("closed by %s, probe brought %s: the probe still counts as out", c.closed, c.probe)
		}
		if c.want != Open && !l.gate.next.After(now) {
			t.Errorf("closed by %s, probe brought %s: the next follows at once", c.closed, c.probe)
		}
	}
}

func TestWhatAnAnswerMeansForItsEvent(t *testing.T) {
	tried := queue.Delivery{Address: at(7), Attempts: 4, Strikes: 2, Successes: 1}
	for _, c := range []struct {
		answer string
		d      queue.Delivery
		want   queue.Outcome
		least  time.Duration // of Delay, which is left out of want
	}{
		{"200", tried, queue.Outcome{Address: at(7), Verb: queue.Delivered}, 0},
		{"400 JSON", tried, queue.Outcome{Address: at(7), Verb: queue.Bury, Attempts: 5, Reason: queue.Rejected, Status: 400, Detail: `{"meta":{}}`}, 0},
		{"413", tried, queue.Outcome{Address: at(7), Verb: queue.Bury, Attempts: 5, Reason: queue.TooLarge, Status: 413, Detail: `{"code":"oversize"}`}, 0},
		{"429", tried, queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 5, Strikes: 2, Successes: 1}, 500 * time.Millisecond},
		{"503", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41}, 500 * time.Millisecond},
		{"503", tried, queue.Outcome{Address: at(7), Verb: queue.Bury, Attempts: 5, Reason: queue.Poison, Status: 503, Detail: "HTTP 503 Service Unavailable"}, 0},
		{"500 ask", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41}, time.Minute},
		{"503 ask", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41}, time.Minute},
		{"401", fresh(7), queue.Outcome{Address: at(7), Verb: queue.Retry, Attempts: 1, Successes: 41}, 500 * time.Millisecond},
	} {
		l, now := lineOf(10), time.Now()
		for n := range uint64(40) { // a healthy line
			attempted(l, now, fresh(100+n), "200")
		}
		got := attempted(l, now, c.d, c.answer)
		if got.Delay < c.least {
			t.Errorf("%s: delay %v, want at least %v", c.answer, got.Delay, c.least)
		}
		if got.Delay = 0; got != c.want {
			t.Errorf("%s: %+v, want %+v", c.answer, got, c.want)
		}
	}
}
