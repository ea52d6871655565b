package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

const (
	socketClients = 3
	httpClients   = 4

	// inFlight is how many lines a socket client sends ahead of its replies.
	inFlight = 64

	// paddingBytes makes events large enough for the line of segments to roll
	// within one crash test.
	paddingBytes = 4 << 10
)

// crowd is a load: clients at both doors that send events as fast as they are
// answered, and note which of them got a yes.
type crowd struct {
	tb testing.TB

	pace      *rate.Limiter // of all clients together; nil: as fast as they are answered
	padding   int           // bytes that make events large
	mayBeFull bool          // the queue may have no room; who is told so comes again

	mu      sync.Mutex
	sent    int             // events made so far
	yes     map[string]bool // ids of the acknowledged
	full    int             // times somebody was told that the queue is full
	goal    int             // of len(yes)
	reached chan struct{}   // closed when it is reached
}

func newCrowd(tb testing.TB) *crowd {
	return &crowd{tb: tb, padding: paddingBytes, yes: map[string]bool{}, reached: make(chan struct{})}
}

// expect returns a channel that is closed when n more events got a yes.
func (c *crowd) expect(n int) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goal, c.reached = len(c.yes)+n, make(chan struct{})
	return c.reached
}

// acknowledged notes that ids got a yes.
func (c *crowd) acknowledged(ids ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.yes)
	for _, id := range ids {
		c.yes[id] = true
	}
	if before < c.goal && len(c.yes) >= c.goal {
		close(c.reached)
	}
}

// turnedAway notes that the queue had no room, and waits a little.
func (c *crowd) turnedAway() {
	c.mu.Lock()
	c.full++
	c.mu.Unlock()
	<-time.After(20 * time.Millisecond)
}

// event makes an event that nobody sent before. Its padding does not compress.
func (c *crowd) event() (id string, body []byte) {
	if c.pace != nil {
		_ = c.pace.Wait(c.tb.Context()) // it ends with the test, and so do the clients
	}
	c.mu.Lock()
	number := c.sent
	c.sent++
	c.mu.Unlock()
	var seed [32]byte
	copy(seed[:], fmt.Sprint(number))
	padding := make([]byte, c.padding/2)
	rand.NewChaCha8(seed).Read(padding)
	id = fmt.Sprintf("crowd-%06d", number)
	return id, fmt.Appendf(nil, `{"event":"Application Opened","messageId":%q,"userId":"user-%d","properties":{"padding":%q}}`,
		id, number%100, hex.EncodeToString(padding))
}

// rush sends to d from every client until d hangs up, and returns when all
// clients are gone.
func (c *crowd) rush(d *process) {
	var clients sync.WaitGroup
	for range socketClients {
		clients.Go(func() {
			for c.overSocket(d.path("events.sock")) {
				c.turnedAway()
			}
		})
	}
	for range httpClients {
		clients.Go(func() { c.overHTTP(d.path("http.sock")) })
	}
	clients.Wait()
}

// overSocket pipelines lines and reads the replies, whose counts are
// cumulative: the first so many lines are on disk. It reports whether the
// connection ended because the queue was full.
func (c *crowd) overSocket(path string) (full bool) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		return false // it was killed first
	}
	defer conn.Close()
	slots, lines := make(chan struct{}, inFlight), make(chan string, inFlight)
	gone := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case slots <- struct{}{}:
			case <-gone:
				return
			}
			id, body := c.event()
			lines <- id
			if _, err := conn.Write(append(body, '\n')); err != nil {
				return
			}
		}
	})
	told := 0
	for replies := bufio.NewScanner(conn); replies.Scan(); {
		accepted, code := c.readReply(replies.Bytes())
		full = full || code == "queue_full"
		for ; told < accepted; told++ {
			c.acknowledged(<-lines)
			<-slots
		}
	}
	close(gone)
	conn.Close() // wakes the writer
	writer.Wait()
	return full
}

// readReply returns how many lines a reply accepts, or why the connection
// ends. Every line of a crowd is good, so anything but a yes, or word that the
// daemon stops or may have no room, is an error.
func (c *crowd) readReply(line []byte) (accepted int, code string) {
	var reply struct {
		Accepted, Rejected, Refused int
		Line                        int
		Code                        string
	}
	switch err := json.Unmarshal(line, &reply); {
	case err != nil:
		c.tb.Errorf("the reply %.200q: %v", line, err)
	case reply.Code == "stopping", reply.Code == "queue_full" && c.mayBeFull:
	case reply.Rejected > 0, reply.Line > 0, reply.Code != "":
		c.tb.Errorf("a good line was not accepted: %s", line)
	}
	return reply.Accepted, reply.Code
}

// overHTTP posts events one by one on one connection.
func (c *crowd) overHTTP(path string) {
	client := unixClient(path)
	defer client.CloseIdleConnections()
	for {
		id, body := c.event()
		resp, err := client.Post("http://trackd/v1/track", "application/json", strings.NewReader(string(body)))
		if err != nil {
			return
		}
		answer, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusServiceUnavailable && c.mayBeFull && bytes.Contains(answer, []byte(`"queue_full"`)):
			c.turnedAway()
			continue
		case resp.StatusCode != http.StatusOK:
			c.tb.Errorf("a good event was answered %s: %s", resp.Status, answer)
			return
		case err != nil:
			return
		}
		c.acknowledged(id)
	}
}
