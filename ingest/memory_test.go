package ingest

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"golang.org/x/sync/semaphore"

	"trackd/event"
	"trackd/queue"
)

// liveBound is what requests may hold in all: the budgets, and what is free for
// each of those at work in these tests.
const liveBound = lineBytes + bodyBytes + largeBodyBytes + workBytes + replyBytes + 8<<20

// checkReleased fails the test unless every budget of s is whole again.
func checkReleased(t *testing.T, s *Server) {
	t.Helper()
	b := s.budgets
	for name, budget := range map[string]struct {
		*semaphore.Weighted
		bytes int64
	}{
		"lines": {b.lines, lineBytes}, "bodies": {b.bodies, bodyBytes}, "large bodies": {b.largeBodies, largeBodyBytes},
		"work": {b.work, workBytes}, "replies": {b.replies, replyBytes},
	} {
		if !budget.TryAcquire(budget.bytes) {
			t.Errorf("memory for %s is still charged", name)
		} else if budget.TryAcquire(1) {
			t.Errorf("more memory for %s was given back than was charged", name)
		}
	}
}

// The queue takes nothing until all requests have got as far as they can: so
// many do not happen to be in work at once, they are.
func TestRequestsAtWorkHoldBoundedMemory(t *testing.T) {
	items := func(members, item string, n int) string {
		return `{` + members + `"batch":[` + strings.TrimSuffix(strings.Repeat(item+",", n), ",") + `]}`
	}
	context := `"context":{"x":"` + strings.Repeat("c", 31_000) + `"},`
	wrong := `{"event":1,"userId":[],"anonymousId":{},"messageId":1,"timestamp":1,"properties":1,"context":1,"integrations":1}`
	for _, shape := range []struct {
		name, path, body string
		n                int
	}{
		{"a large context for all items", "/v1/batch", items(context, opened, 540), 100},
		{"a large context for bad items", "/v1/batch", items(context, `{}`, 540), 100},
		{"a context of many members", "/v1/batch", items(`"context":{`+strings.TrimSuffix(manyMembers(5_000), ",")+`},`, opened, 50), 100},
		{"empty objects", "/v1/batch", items("", `{}`, 20_000), 150},
		{"a megabyte of zeros", "/v1/batch", items("", `0`, 150_000), 100},
		{"every mistake", "/v1/batch", items("", wrong, 9_000), 100},
		{"deep nesting", "/v1/batch", items("", strings.Repeat(`{"a":`, 9_000)+"1"+strings.Repeat("}", 9_000), 16), 100},
		{"good items", "/v1/batch", items("", typical, 9_000), 100},
		{"a few good items each", "/v1/batch", items("", typical, 10), 900},
		{"events of 30 KB", "/v1/track", strings.Replace(opened, "}", `,"x":"`+strings.Repeat("x", 30_000)+`"}`, 1), 900},
		{"bad events of 60 KB", "/v1/track", strings.Repeat("x", 60_000), 900},
		{"events of many members", "/v1/track", `{` + manyMembers(5_000) + opened[1:], 900},
		{"small events", "/v1/track", typical, 900},
		{"gzip", "/v1/batch", zipped(t, items("", typical, 9_000)), 300},
	} {
		t.Run(shape.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hold := make(chan struct{})
				s := open(t, appendFunc(func(queue.Batch) error { <-hold; return queue.ErrFull })) // which ends a request
				header := []string{}
				if shape.name == "gzip" {
					header = append(header, "Content-Encoding: gzip")
				}
				before := memory()
				var requests sync.WaitGroup
				for range shape.n {
					requests.Go(func() {
						s.Handler().ServeHTTP(httptest.NewRecorder(), request("POST", shape.path, shape.body, header...))
					})
				}
				synctest.Wait()
				live := int64(memory() - before)
				t.Logf("%d requests of %d bytes hold %.1f MiB", shape.n, len(shape.body), float64(live)/(1<<20))
				if live > liveBound {
					t.Errorf("%d requests hold %d bytes, want at most %d", shape.n, live, liveBound)
				}
				close(hold)
				requests.Wait()
				checkReleased(t, s)
			})
		})
	}
}

// manyMembers returns n members with a comma behind each.
func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`"` + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)) + `":1,`)
	}
	return b.String()
}

func TestSocketClientsAtWorkHoldBoundedMemory(t *testing.T) {
	for _, shape := range []struct {
		name, text string
		unread     bool // the queue takes all, and the clients do not read what is said of it
	}{
		{"good lines", strings.Repeat(typical+"\n", 600), false},
		{"bad lines", strings.Repeat(`{"userId":[],"timestamp":1,"properties":1}`+"\n", 1_500), false},
		{"lines of one byte", strings.Repeat("0\n", 6_000), false},
		{"bad lines, replies unread", strings.Repeat(`{"userId":[],"timestamp":1,"properties":1}`+"\n", 500), true},
		{"lines that do not end", strings.Repeat("x", 60_000), false},
		{"long lines", strings.Repeat(`{"x":"`+strings.Repeat("x", 60_000)+"\n", 2), false},
	} {
		t.Run(shape.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hold := make(chan struct{})
				if shape.unread {
					close(hold)
				}
				s := open(t, appendFunc(func(queue.Batch) error {
					<-hold
					if shape.unread {
						return nil
					}
					return queue.ErrFull // which ends a client
				}))
				const clients = 100
				before := memory()
				var served sync.WaitGroup
				reading, stop := context.WithCancel(t.Context())
				for range clients {
					theirs, ours := newDuplex()
					served.Go(func() { s.serveConn(reading, placed(t, s, theirs)) })
					go func() { // as much as is read of it
						ours.Write([]byte(shape.text))
						<-reading.Done()
						ours.Close()
					}()
				}
				synctest.Wait()
				texts := clients * (len(shape.text) + 8<<10) // of the clients, in this process
				live := int64(memory()-before) - int64(texts)
				t.Logf("%d clients hold %.1f MiB", clients, float64(live)/(1<<20))
				if bound := int64(liveBound + clients*40<<10); live > bound { // stacks and small buffers
					t.Errorf("%d clients hold %d bytes, want at most %d", clients, live, bound)
				}
				stop()
				if !shape.unread {
					close(hold)
				}
				served.Wait()
				checkReleased(t, s)
			})
		})
	}
}

// A client whose line is too long for what is free waits for memory as long as
// it would for the line, and is told.
func TestALongLineWaitsForMemory(t *testing.T) {
	long := strings.Replace(opened, "}", `,"x":"`+strings.Repeat("x", 2*smallRead)+`"}`, 1) + "\n"
	q := &shelf{}
	overPipes(t, q, func(t *testing.T, ln *pipes, s *Server) {
		hog := s.budgets.lines
		if err := hog.Acquire(t.Context(), lineBytes); err != nil {
			t.Fatal(err)
		}
		c := ln.dial(t)
		c.send(opened + "\n") // short ones pass
		c.await("1/0/0")
		go c.send(long)
		synctest.Wait()
		hog.Release(largeRead)
		c.await("2/0/0")
		c.hangUp()
		c.rest()
		if !hog.TryAcquire(largeRead) {
			t.Error("its memory was not given back")
		}

		c = ln.dial(t)
		go io.WriteString(c, opened+"\n"+long) // which is not read to its end
		if got, want := render(c.rest()), codeBusy+" 1/0/1"; got != want {
			t.Errorf("without memory: told %q, want %q", got, want)
		}
	})
	q.checkKept(t, 3, 0)
}

// Notes that find no memory are not told; the counts are.
func TestReasonsAreToldWhileThereIsMemoryForThem(t *testing.T) {
	const n = 300
	q := &shelf{}
	s := open(t, q)
	if err := s.budgets.replies.Acquire(t.Context(), replyBytes); err != nil {
		t.Fatal(err)
	}
	_, _, told, reply := postBatch(t, s, `{"batch":[0`+strings.Repeat(",0", n-1)+`]}`)
	if told != "0/300/0" || len(reply.Errors) == 0 || len(reply.Errors) == n {
		t.Errorf("counts %s, %d faults, want 0/300/0 and the first few", told, len(reply.Errors))
	}
	r := newReplies(s.budgets.replies)
	notes := make([]note, n)
	for i := range notes {
		notes[i] = note{line: uint64(i + 1), why: &event.Error{Code: event.Malformed}}
	}
	r.add(counts{rejected: n}, notes)
	if len(r.notes) == 0 || len(r.notes) == n || r.total.rejected != n {
		t.Errorf("%d notes wait and %d are counted, want the first few and all", len(r.notes), r.total.rejected)
	}
}
