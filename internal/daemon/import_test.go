package daemon

import (
	"errors"
	"testing"

	"trackd/admin"
	"trackd/ingest"
	"trackd/queue/queuetest"
)

// What is imported passes the door as any client's event does, key and all.
func TestAnImportIsJudgedByTheDoor(t *testing.T) {
	q := queuetest.NewMemory(queuetest.Options{MaxEvents: 1})
	in, err := ingest.New(ingest.Options{Queue: q, Rules: ingest.Rules{Key: "k"}})
	if err != nil {
		t.Fatal(err)
	}
	good := []byte(`{"event":"Application Opened","messageId":"m-1","userId":"ann"}`)
	if err := takeIn(t.Context(), in.Handler(), "k", []byte(`{"event":"Nope"}`)); err == nil {
		t.Error("bad: got no error")
	} else if bad, ok := errors.AsType[*admin.BadEventError](err); !ok || bad.Code != "not_lifecycle" {
		t.Errorf("bad: got %v", err)
	}
	if err := takeIn(t.Context(), in.Handler(), "k", good); err != nil {
		t.Errorf("good: got %v", err)
	}
	for key, want := range map[string]string{"k": "the queue is full; nothing of this request was kept", "wrong": "the ingest key is missing or wrong; send it as the user name of Basic auth"} {
		err := takeIn(t.Context(), in.Handler(), key, good)
		if _, bad := errors.AsType[*admin.BadEventError](err); bad || err == nil || err.Error() != want {
			t.Errorf("key %s: got %v, want %q, and not as the event's fault", key, err, want)
		}
	}
}
