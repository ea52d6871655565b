package ingest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackd/event"
	"trackd/internal/listen"
)

// overHTTP runs f with the HTTP handler of a server over q, in virtual time.
func overHTTP(t *testing.T, q Appender, f func(t *testing.T, ln *pipes, s *Server), tune ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, ln := open(t, q, tune...), newPipes()
		stop := serve(t, s, Listeners{HTTP: []net.Listener{ln}})
		f(t, ln, s)
		stop()
	})
}

// answer reads one response; its status is 0 when the server hung up instead.
func (c *client) answer() (status int, body string, header http.Header) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, "", nil
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("read the answer: %v", err)
	}
	if resp.Close { // where ReadResponse moves it
		resp.Header.Set("Connection", "close")
	}
	return resp.StatusCode, string(text), resp.Header
}

const postTrack = "POST /v1/track HTTP/1.1\r\nHost: x\r\n"

func TestHTTPClientsThatDawdleAreBoundedInTime(t *testing.T) {
	for _, c := range []struct {
		name, first, drip string
		status            int
		after             time.Duration
	}{
		{"says nothing", "", "", 0, 10 * time.Second},
		{"headers that never end", postTrack, "X", 400, 10 * time.Second},
		{"a body that stops", postTrack + "Content-Length: 100\r\n\r\n{", "", 408, 30 * time.Second},
		{"a body that drips", postTrack + "Content-Length: 1000\r\n\r\n{", " ", 408, 30 * time.Second},
		{"chunks that stop", postTrack + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "", 408, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := &shelf{}
			overHTTP(t, q, func(t *testing.T, ln *pipes, _ *Server) {
				cl, began := ln.dial(t), time.Now()
				ended := make(chan struct{})
				go func() {
					defer close(ended)
					cl.Write([]byte(c.first))
					for c.drip != "" {
						time.Sleep(time.Second)
						if _, err := cl.Write([]byte(c.drip)); err != nil {
							return
						}
					}
				}()
				status, body, _ := cl.answer()
				if status != c.status || status == 408 && !strings.Contains(body, codeUnfinished) {
					t.Errorf("answer %d %s, want %d", status, body, c.status)
				}
				if took := time.Since(began).Truncate(time.Second); took != c.after {
					t.Errorf("ended after %v, want %v", took, c.after)
				}
				cl.Close()
				<-ended
			})
			q.checkKept(t, 0, 0)
		})
	}
}

func TestIdleHTTPConnectionIsClosedAndTellsNothing(t *testing.T) {
	overHTTP(t, &shelf{}, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		for range 3 {
			go c.send(postTrack + "Content-Length: 44\r\n\r\n" + opened)
			if status, body, _ := c.answer(); status != 200 {
				t.Fatalf("answer %d %s", status, body)
			}
			time.Sleep(time.Minute)
		}
		began := time.Now()
		if _, err := c.r.ReadByte(); !errors.Is(err, io.EOF) || time.Since(began) > time.Minute+time.Second {
			t.Errorf("idle connection: %v after %v, want EOF after another minute", err, time.Since(began))
		}
	})
}

func TestBodyWithoutEndIsAnsweredOnceItIsTooLarge(t *testing.T) {
	q := &shelf{}
	overHTTP(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			io.WriteString(c, "POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "1000\r\n"+strings.Repeat("x", 0x1000)+"\r\n"); err != nil {
					return
				}
			}
		}()
		status, body, header := c.answer()
		if status != 413 || !strings.Contains(body, "oversize") || header.Get("Connection") != "close" {
			t.Errorf("answer %d %s %v, want 413 and a close", status, body, header)
		}
		c.Close()
		<-ended
	})
	q.checkKept(t, 0, 0)
}

func TestExpectContinueIsAnsweredBeforeTheBodyComes(t *testing.T) {
	q := &shelf{}
	overHTTP(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		c := ln.dial(t)
		go c.send(postTrack + "Expect: 100-continue\r\nContent-Length: 44\r\n\r\n")
		if line, err := c.r.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
			t.Fatalf("got %q (%v), want to be told to go on", line, err)
		}
		c.r.ReadString('\n')
		go c.send(opened)
		if status, body, _ := c.answer(); status != 200 {
			t.Errorf("answer %d %s, want 200", status, body)
		}
	})
	q.checkKept(t, 1, 0)

	overHTTP(t, q, func(t *testing.T, ln *pipes, _ *Server) { // and a refusal spares the client its body
		c := ln.dial(t)
		go c.send(postTrack + "Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
		if status, body, _ := c.answer(); status != 413 {
			t.Errorf("answer %d %s, want 413", status, body)
		}
	})
}

// PHP's way of not waiting: post, close. The event is kept all the same.
func TestClientThatDoesNotWaitForTheAnswerIsServed(t *testing.T) {
	q := &shelf{}
	overHTTP(t, q, func(t *testing.T, ln *pipes, _ *Server) {
		q.hold = make(chan struct{})
		c := ln.dial(t)
		c.send(postTrack + "Content-Length: 44\r\n\r\n" + opened)
		c.Close()
		synctest.Wait() // the server has noticed
		close(q.hold)
		synctest.Wait()
		q.checkKept(t, 1, 0)
	})
}

func TestLargeBodiesWaitForMemoryAndSmallOnesPass(t *testing.T) {
	q := &shelf{}
	overHTTP(t, q, func(t *testing.T, ln *pipes, s *Server) {
		hog := s.budgets.largeBodies
		if err := hog.Acquire(t.Context(), largeBodyBytes); err != nil {
			t.Fatal(err)
		}
		c := ln.dial(t)
		post := func(body string) (int, string) {
			go io.WriteString(c, "POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body)
			status, reply, _ := c.answer()
			return status, reply
		}
		large := `{"batch":[` + opened + strings.Repeat(" ", event.MaxInputBytes) + `]}`
		for _, small := range []string{`{"batch":[` + opened + `]}`, `{"batch":[` + opened + strings.Repeat(" ", event.MaxInputBytes/2) + `]}`} {
			if status, body := post(small); status != 200 {
				t.Errorf("a small batch: %d %s, want 200", status, body)
			}
		}
		time.AfterFunc(bodyWait-time.Second, func() { hog.Release(1 << 20) })
		if status, body := post(large); status != 200 {
			t.Errorf("a large batch that gets memory in time: %d %s, want 200", status, body)
		}
		if !hog.TryAcquire(1 << 20) {
			t.Fatal("its memory was not given back")
		}
		if status, body := post(large); status != 503 || !strings.Contains(body, codeBusy) {
			t.Errorf("a large batch that gets none: %d %s, want 503 busy", status, body)
		}
		if s.budgets.bodies.TryAcquire(bodyBytes+1) || !s.budgets.bodies.TryAcquire(bodyBytes) {
			t.Error("memory of bodies is still charged")
		}
	})
	q.checkKept(t, 3, 0)
}

// ask posts an event and returns the status of the answer, 0 for none.
func (c *client) ask() int {
	go io.WriteString(c, postTrack+"Content-Length: 44\r\n\r\n"+opened)
	status, body, header := c.answer()
	if status == 503 && (header.Get("Retry-After") == "" || header.Get("Connection") != "close" || !strings.Contains(body, codeTooMany)) {
		c.t.Errorf("answer %s %v", body, header)
	}
	return status
}

// httpPlaces lets HTTP have so many connections.
func httpPlaces(n int) func(*Options) {
	return func(o *Options) { o.HTTPConns = listen.NewLimiter("http", n, o.Log) }
}

func TestTheLongestIdleHTTPClientMakesRoom(t *testing.T) {
	q := &shelf{}
	overHTTP(t, q, func(t *testing.T, ln *pipes, s *Server) {
		first, second := ln.dial(t), ln.dial(t)
		time.Sleep(time.Second)
		if got := first.ask(); got != 200 {
			t.Errorf("the first: %d", got)
		}
		time.Sleep(time.Second)
		third := ln.dial(t)
		synctest.Wait()
		if got := second.ask(); got != 0 {
			t.Errorf("the longest idle: %d, want it closed", got)
		}
		for _, c := range []*client{first, third} {
			if got := c.ask(); got != 200 {
				t.Errorf("one that has a place: %d, want 200", got)
			}
		}
	}, httpPlaces(2))
	q.checkKept(t, 3, 0)
}

func TestTooManyHTTPConnectionsAreToldToComeBackWhileNobodyIsIdle(t *testing.T) {
	q := &shelf{}
	overHTTP(t, q, func(t *testing.T, ln *pipes, s *Server) {
		q.hold = make(chan struct{})
		busy := make(chan int)
		for range 2 {
			c := ln.dial(t)
			go func() { busy <- c.ask() }()
		}
		synctest.Wait()
		if got := ln.dial(t).ask(); got != 503 {
			t.Errorf("one too many: %d, want 503", got)
		}
		for range listen.ExtraOf(2) {
			ln.dial(t)
		}
		if got := ln.dial(t).ask(); got != 0 {
			t.Errorf("one far too many: %d, want it closed", got)
		}
		time.Sleep(11 * time.Second) // those that say nothing are gone
		close(q.hold)
		for range 2 {
			if got := <-busy; got != 200 {
				t.Errorf("one that was there: %d, want 200", got)
			}
		}
		synctest.Wait() // until the server sees that they are idle
		if got := ln.dial(t).ask(); got != 200 {
			t.Errorf("one that comes when they are idle: %d, want 200", got)
		}
	}, httpPlaces(2))
	q.checkKept(t, 3, 0)
}

func TestStopAnswersRequestsInProgress(t *testing.T) {
	q := &shelf{}
	synctest.Test(t, func(t *testing.T) {
		q.hold = make(chan struct{})
		ln := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := open(t, q)
		go func() { done <- s.Run(ctx, Listeners{HTTP: []net.Listener{ln}}) }()
		c := ln.dial(t)
		c.send(postTrack + "Content-Length: 44\r\n\r\n" + opened)
		synctest.Wait()
		cancel()
		time.Sleep(5 * time.Second)
		q.hold <- struct{}{}
		if status, body, _ := c.answer(); status != 200 {
			t.Errorf("answer %d %s, want 200", status, body)
		}
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	q.checkKept(t, 1, 0)
}

func TestStopCutsOffRequestsThatTakeTooLong(t *testing.T) {
	q := &shelf{}
	synctest.Test(t, func(t *testing.T) {
		q.hold = make(chan struct{})
		ln := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		s := open(t, q)
		go func() { done <- s.Run(ctx, Listeners{HTTP: []net.Listener{ln}}) }()
		c := ln.dial(t)
		c.send(postTrack + "Content-Length: 44\r\n\r\n" + opened)
		synctest.Wait() // net/http hangs up on a request it has not begun
		began := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(began) != 20*time.Second {
			t.Errorf("Run ended after %v with %v, want the shutdown timeout and nil", time.Since(began), err)
		}
	})
	q.checkKept(t, 0, 0)
}

func TestDoorThatBreaksEndsRunWithItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, lines := range []bool{true, false} {
			broken, sound := newPipes(), newPipes()
			listeners := Listeners{Lines: []net.Listener{broken}, HTTP: []net.Listener{sound}}
			if !lines {
				listeners = Listeners{Lines: []net.Listener{sound}, HTTP: []net.Listener{broken}}
			}
			done := make(chan error, 1)
			s := open(t, &shelf{})
			go func() { done <- s.Run(t.Context(), listeners) }()
			go broken.dial(t).rest() // it has a client
			synctest.Wait()
			broken.Close()
			if err := <-done; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Run: %v, want the error of the listener", err)
			}
		}
	})
}
