package ingest_test

import (
	"errors"
	"testing"

	"trackd/event"
	"trackd/ingest"
	"trackd/queue"
	"trackd/queue/queuetest"
)

// What an operator imports is judged by the rules for clients, but needs no key,
// and leaves nothing behind where it is bad: the operator has it.
func TestWhatAnOperatorImportsIsTakenOrTold(t *testing.T) {
	q := queuetest.NewMemory(queuetest.Options{MaxEvents: 1})
	in, err := ingest.New(ingest.Options{Queue: q, Rules: ingest.Rules{Key: "k"}})
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]string{"an unknown event": `{"event":"Nope","userId":"ann"}`, "no JSON": "\xa0", "nothing": ""} {
		if _, bad := errors.AsType[*event.Error](in.Take([]byte(raw))); !bad {
			t.Errorf("%s: want what is wrong with it", name)
		}
	}
	good := []byte(`{"event":"Application Opened","messageId":"m-1","userId":"ann"}`)
	if err := in.Take(good); err != nil {
		t.Errorf("good: got %v", err)
	}
	err = in.Take(good)
	if _, bad := errors.AsType[*event.Error](err); bad || err == nil {
		t.Errorf("with a full queue: got %v, want an error that is not the event's", err)
	}
	stats, err := q.Stats(t.Context())
	if want := (queue.Account{Taken: 1, Queued: 1}); err != nil || stats.Account != want {
		t.Errorf("account %+v, %v, want %+v", stats.Account, err, want)
	}
}
