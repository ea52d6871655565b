package boltqueue_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"trackd/event"
	"trackd/queue"
	"trackd/queue/boltqueue"
)

// That there is no room is told by whoever refuses an event for it, with how
// many; here it is only known, in units that people read.
func TestAFullQueueSaysWhyInUnitsAndLogsNothing(t *testing.T) {
	var log bytes.Buffer
	q, err := boltqueue.Open(boltqueue.Options{Dir: t.TempDir(), MinFreeBytes: 1 << 50,
		Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	err = q.Append(t.Context(), queue.Batch{Events: []event.Event{{ID: "m", Name: "n", Body: []byte("{}")}}})
	if err == nil || !strings.Contains(err.Error(), "min_free_bytes is 1024 TiB; free some space") {
		t.Errorf("got %v", err)
	}
	if strings.Contains(log.String(), "full") {
		t.Errorf("logged %s", log.String())
	}
}
