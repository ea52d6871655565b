package ingest

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"trackd/queue"
)

// slowDisk is a queue that serves one Append after the other, for a millisecond
// each: no commit is shared, so that every one given to a client is one that
// another has not.
type slowDisk struct {
	turn    chan struct{} // capacity 1: held while a commit is on
	commits map[string]int
}

// Append implements Appender.
func (d *slowDisk) Append(_ context.Context, b queue.Batch) error {
	d.turn <- struct{}{}
	time.Sleep(time.Millisecond)
	who := "polite"
	if strings.Contains(string(b.Events[0].Body), "flood") {
		who = "flood"
	}
	d.commits[who]++
	<-d.turn
	return nil
}

// Reserve implements Appender.
func (*slowDisk) Reserve(context.Context, int64) (*queue.Reservation, error) { return nil, nil }

// One client sends as much as it can, the other one event at a time, and waits
// for each answer. Every second commit is the polite one's.
func TestAFloodLeavesAPoliteClientItsShare(t *testing.T) {
	const rounds = 200
	var took time.Duration
	q := &slowDisk{commits: map[string]int{}}
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		q.turn = make(chan struct{}, 1) // of this bubble's time
		flooder, polite := ln.dial(t), ln.dial(t)
		line := `{"event":"Application Opened","userId":"u","messageId":"flood"}` + "\n"
		flooding := make(chan struct{})
		go func() {
			defer close(flooding)
			for err := error(nil); err == nil; {
				_, err = io.WriteString(flooder, strings.Repeat(line, 100))
			}
		}()
		from := time.Now()
		for range rounds {
			polite.send(opened + "\n")
			polite.next()
		}
		took = time.Since(from)
		flooder.Close()
		<-flooding
	})
	if took > 2*rounds*time.Millisecond+10*time.Millisecond || q.commits["flood"] < rounds/2 {
		t.Errorf("%d events of the polite client took %v beside %d commits of the flood, want one each in turn", rounds, took, q.commits["flood"])
	}
}
