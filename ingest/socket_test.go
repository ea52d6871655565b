package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"trackd/event"
	"trackd/queue"
)

// overPipes runs f with the socket of a server over q, in virtual time.
func overPipes(t *testing.T, q Appender, f func(t *testing.T, ln *pipes, s *Server), tune ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, ln := open(t, q, tune...), newPipes()
		stop := serve(t, s, Listeners{Lines: []net.Listener{ln}})
		f(t, ln, s)
		stop()
	})
}

func TestEveryCommitIsAnsweredWithAllCountsSoFar(t *testing.T) {
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		c.send(opened + "\n")
		c.await("1/0/0")
		c.send(opened + "\n" + opened + "\n")
		c.await("3/0/0")
		c.send("not json\n")
		c.await("malformed@4")
		c.await("3/1/0")
		c.hangUp()
		if got := render(c.rest()); got != "" {
			t.Errorf("after all was said: %s", got)
		}
	})
	q.checkKept(t, 3, 1)
}

func TestSocketProtocol(t *testing.T) {
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	long := func(n int) string {
		return `{"event":"Application Opened","userId":"u","context":{"x":"` + strings.Repeat("x", n) + `"}}`
	}
	for _, c := range []struct {
		name, stream, want string
		events, rejects    int
	}{
		{"nothing at all", "", "0/0/0", 0, 0},
		{"one line", opened + "\n", "1/0/0", 1, 0},
		{"the last newline is optional", opened + "\n" + opened, "2/0/0", 2, 0},
		{"carriage returns are white space", opened + "\r\n" + opened + "\r\n", "2/0/0", 2, 0},
		{"blank lines have numbers and nothing else", "\n  \t\r\n" + opened + "\nx\n", "malformed@4 1/1/0", 1, 1},
		{"a last line that was cut off", opened + "\n" + opened[:20], "malformed@2 1/1/0", 1, 1},
		{"malformed", "{\n" + opened + "\n", "malformed@1 1/1/0", 1, 1},
		{"not an object", "[]\n", "malformed@1 0/1/0", 0, 1},
		{"no id", `{"event":"Application Opened"}` + "\n", "invalid@1 0/1/0", 0, 1},
		{"unknown event", `{"event":"Order Placed","userId":"u"}` + "\n", "not_lifecycle@1 0/1/0", 0, 1},
		{"invalid UTF-8", `{"event":"Application Opened","userId":"` + "\xff" + `"}` + "\n", "malformed@1 0/1/0", 0, 1},
		{"duplicate keys", `{"event":"Application Opened","userId":"u","userId":"v"}` + "\n", "malformed@1 0/1/0", 0, 1},
		{"nested 10,000 deep", `{"event":"Application Opened","userId":"u","context":{"x":` + deep + "}}\n", "malformed@1 0/1/0", 0, 1},
		{"larger than the destination takes", long(33_000) + "\n" + opened + "\n", "oversize@1 1/1/0", 1, 1},
		{"larger than ingest reads", long(maxLine) + "\n" + opened + "\n", "oversize@1 1/1/0", 1, 1},
		{"many times larger", long(40*maxLine) + "\n" + opened + "\n", "oversize@1 1/1/0", 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &shelf{}
			overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
				cl := ln.dial(t)
				go func() {
					cl.send(c.stream)
					cl.hangUp()
				}()
				if got := render(cl.rest()); got != c.want {
					t.Errorf("replies %s, want %s", got, c.want)
				}
			})
			q.checkKept(t, c.events, c.rejects)
		})
	}
}

func TestRejectedLineIsKeptAsItCameWithItsReason(t *testing.T) {
	q := &shelf{}
	bad := `{"event":"Application Installed","properties":{"version":{}}}`
	huge := strings.Repeat("y", 3*maxLine)
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		go func() {
			c.send(bad + "\r\n" + huge + "\n")
			c.hangUp()
		}()
		first, _ := c.next()
		for first.Line == 0 {
			first, _ = c.next()
		}
		if first.Code != "invalid" || len(first.Meta.Errors) < 2 || !strings.Contains(first.Message, first.Meta.Errors[0]) {
			t.Errorf("reply %+v, want code invalid and every problem", first)
		}
		c.rest()
	})
	_, rejects := q.kept()
	if len(rejects) != 2 {
		t.Fatalf("%d rejects, want 2", len(rejects))
	}
	if got := string(rejects[0].Body); got != bad || rejects[0].Reason != queue.Invalid || rejects[0].Detail == "" {
		t.Errorf("kept %q, reason %s, detail %q", got, rejects[0].Reason, rejects[0].Detail)
	}
	if got := string(rejects[1].Body); got != huge[:event.MaxInputBytes] || rejects[1].Reason != queue.Oversize {
		t.Errorf("kept %d bytes for reason %s, want the first %d of the oversize line", len(got), rejects[1].Reason, event.MaxInputBytes)
	}
}

func TestNothingIsConfirmedBeforeItIsDurable(t *testing.T) {
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		q.hold = make(chan struct{})
		c := ln.dial(t)
		c.send(opened + "\nnot json\n")
		said := make(chan reply, 100)
		go func() {
			defer close(said)
			for {
				r, ok := c.next()
				if !ok {
					return
				}
				said <- r
			}
		}()
		synctest.Wait()
		if n := len(said); n != 0 {
			t.Errorf("%v was said while the commit had not ended", <-said)
		}
		q.hold <- struct{}{}
		synctest.Wait()
		if len(said) != 2 {
			t.Errorf("%d replies after the commit, want the reject and the counts", len(said))
		}
		c.hangUp()
		for range said {
		}
	})
}

func TestWhatTheQueueDidNotTakeIsRefusedAndEndsTheConnection(t *testing.T) {
	broken := errors.New("disk on fire")
	for _, c := range []struct {
		name       string
		before     error
		after      error
		want, said string
		kept       int
	}{
		{"full", fmt.Errorf("append: %w", queue.ErrFull), nil, "queue_full 2/0/2", "send line 3 and", 2},
		{"failed before its effect", broken, nil, "unavailable 2/0/2", "line 3 and those after it may or may not", 2},
		{"failed after its effect", nil, broken, "unavailable 2/0/2", "line 3 and those after it may or may not", 4},
		{"closed", queue.ErrClosed, nil, "unavailable 2/0/2", "line 3", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &shelf{}
			overPipes(t, q, func(t *testing.T, ln *pipes, s *Server) {
				cl := ln.dial(t)
				cl.send(opened + "\n" + opened + "\n")
				cl.await("2/0/0")
				q.before, q.after = func(queue.Batch) error { return c.before }, c.after
				cl.send(opened + "\nnot json\n")
				all := cl.rest()
				if got := render(all); got != c.want {
					t.Errorf("replies %s, want %s", got, c.want)
				}
				for _, r := range all {
					if r.Code != "" && !strings.Contains(r.Message, c.said) {
						t.Errorf("message %q, want %q in it", r.Message, c.said)
					}
				}
				if _, err := io.WriteString(cl, "x"); err == nil {
					t.Error("the server still reads")
				}
			})
			if events, rejects := q.kept(); len(events)+len(rejects) != c.kept {
				t.Errorf("%d kept, want %d", len(events)+len(rejects), c.kept)
			}
		})
	}
}

// A batch that waits behind the one that failed must not be tried: what was
// kept would not be a prefix of what was sent.
func TestWhatWasKeptIsAPrefix(t *testing.T) {
	q := &shelf{}
	full := true
	q.before = func(queue.Batch) error {
		if full {
			full = false
			return queue.ErrFull
		}
		return nil
	}
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		q.hold = make(chan struct{})
		c := ln.dial(t)
		c.send(opened + "\n")
		c.send(opened + "\n" + opened + "\n") // parsed while the first is at the queue
		go c.Write([]byte(opened + "\n"))     // stays in the kernel, or fails
		synctest.Wait()
		q.hold <- struct{}{}
		if got := render(c.rest()); got != "queue_full 0/0/3" {
			t.Errorf("replies %s, want queue_full 0/0/3", got)
		}
	})
	q.checkKept(t, 0, 0)
}

func TestRejectsThatFindNoRoomAreRefusedAndTheEventsStay(t *testing.T) {
	q := &shelf{after: queue.ErrRejectsFull}
	overPipes(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		c.send(opened + "\nnot json\n" + opened + "\n")
		c.await("malformed@2")
		c.await("2/0/1")
		c.hangUp()
		c.rest()
	})
}

func TestClientThatNeverReadsLosesNothingAndKeepsNothingWaiting(t *testing.T) {
	q := &shelf{}
	ln, path := unixListener(t)
	stop := serve(t, open(t, q), Listeners{Lines: []net.Listener{ln}})
	c := dialUnix(t, path)
	const bad, good = 15_000, 1_000 // far more notes than the socket can hold
	c.send(strings.Repeat("{\n", bad))
	c.send(strings.Repeat(opened+"\n", good))
	c.Close() // unread replies make this a reset
	stop()
	q.checkKept(t, good, bad)
}

// A client takes the last line for the final counts, however its reads fell.
func TestTheLastReplyLineIsAlwaysTheCounts(t *testing.T) {
	r := newReplies(newBudgets().replies)
	const many = 18 // at most 17 are written at once
	why := &event.Error{Code: event.Malformed, Problems: []event.Problem{{Found: strings.Repeat("x", 100)}}}
	r.add(counts{rejected: many + 1}, slices.Repeat([]note{{line: 1, why: why}}, many+1))
	var said []byte
	for range 2 { // both written before the connection ends
		said, _ = r.take(said)
	}
	r.finish()
	said, final := r.take(said)
	last := said[bytes.LastIndexByte(said[:len(said)-1], '\n')+1:]
	if want := `{"accepted":0,"rejected":19,"refused":0}` + "\n"; !final || string(last) != want {
		t.Errorf("final: %t, last line %s, want %s", final, last, want)
	}
}

func TestNotesPastTheirBoundAreOnlyCounted(t *testing.T) {
	r := newReplies(newBudgets().replies)
	notes := make([]note, 700)
	for i := range notes {
		notes[i].why = tooLong()
	}
	for i := range 3 {
		r.add(counts{rejected: 700}, notes)
		if want := min(700*(i+1), maxNotes); len(r.notes) != want {
			t.Errorf("%d notes wait, want %d", len(r.notes), want)
		}
	}
	r.finish()
	var out strings.Builder
	if err := r.writeTo(&out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), `"code":"oversize"`); n != maxNotes {
		t.Errorf("%d notes are written, want %d", n, maxNotes)
	}
	if want := `{"accepted":0,"rejected":2100,"refused":0}` + "\n"; !strings.HasSuffix(out.String(), want) {
		t.Errorf("the last line is not %s", want)
	}
}

func TestLinesGatherIntoBatchesOfBoundedSize(t *testing.T) {
	q := &shelf{}
	ln, path := unixListener(t)
	stop := serve(t, open(t, q), Listeners{Lines: []net.Listener{ln}})
	c := dialUnix(t, path)
	const n = 20_000
	c.send(strings.Repeat(opened+"\n", n))
	c.hangUp()
	c.rest()
	stop()
	q.checkKept(t, n, 0)
	for _, size := range q.sizes {
		if size > maxBatch {
			t.Fatalf("a batch of %d events, want at most %d", size, maxBatch)
		}
	}
	if len(q.sizes) > n/10 {
		t.Errorf("%d batches for %d events", len(q.sizes), n)
	}
}
