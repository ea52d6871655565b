//go:build boot

package systemd_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// crowd is clients that each send one event on a new connection, over and over,
// and send an event again under the same id until it is acknowledged.
type crowd struct {
	mu      sync.Mutex
	made    int             // ids so far
	yes     map[string]bool // the acknowledged
	refused int             // connections that could not be made
	cut     int             // connections that ended without an answer
	last    error           // of those
}

func newCrowd() *crowd { return &crowd{yes: map[string]bool{}} }

func (c *crowd) newID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	return fmt.Sprintf("boot-%06d", c.made)
}

func (c *crowd) line(id string) string {
	return fmt.Sprintf(`{"event":"Application Opened","messageId":%q,"userId":"ann"}`+"\n", id)
}

func (c *crowd) acknowledged(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.yes[id] = true
}

func (c *crowd) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.yes)
}

// missing are the acknowledged events that are not in arrived.
func (c *crowd) missing(arrived map[string]uint32) (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.yes {
		if arrived[id] == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

func (c *crowd) takeFailures() (refused, cut int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused, cut = c.refused, c.cut
	c.refused, c.cut = 0, 0
	return refused, cut
}

func (c *crowd) wantNoneRefused(t *testing.T) {
	t.Helper()
	refused, cut := c.takeFailures()
	t.Logf("clients: none refused wanted, %d were; %d cut off and sent again; %d events acknowledged so far", refused, cut, c.total())
	if refused > 0 {
		t.Errorf("%d connections were refused, the last because %v", refused, c.last)
	}
}

// rush is a crowd at work.
type rush struct {
	stop    context.CancelFunc
	clients sync.WaitGroup
}

// rush starts clients of every kind.
func (c *crowd) rush() *rush {
	ctx, stop := context.WithCancel(context.Background())
	r := &rush{stop: stop}
	for _, send := range []func(id string) (dialled bool, err error){
		c.overSocket, c.overSocket,
		c.overHTTP("tcp", "127.0.0.1:8484"), c.overHTTP("unix", "/run/trackd/http.sock"),
	} {
		r.clients.Go(func() {
			for ctx.Err() == nil {
				c.insist(send)
			}
		})
	}
	return r
}

// end waits for the last answers.
func (r *rush) end(t *testing.T) {
	t.Helper()
	r.stop()
	done := make(chan struct{})
	go func() { r.clients.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("clients had no answer for %v", patience)
	}
}

// more waits until the crowd has had n more events acknowledged.
func (c *crowd) more(t *testing.T, n int) {
	t.Helper()
	goal := c.total() + n
	late := time.After(patience)
	for tick := time.Tick(10 * time.Millisecond); c.total() < goal; {
		select {
		case <-tick:
		case <-late:
			t.Fatalf("%d events were acknowledged in %v, want %d", c.total()+n-goal, patience, n)
		}
	}
}

// insist sends one event until it is acknowledged.
func (c *crowd) insist(send func(string) (bool, error)) {
	id := c.newID()
	for range 1000 {
		dialled, err := send(id)
		if err == nil {
			c.acknowledged(id)
			return
		}
		c.mu.Lock()
		c.last = err
		if dialled {
			c.cut++
		} else {
			c.refused++
		}
		c.mu.Unlock()
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *crowd) sendOne(t *testing.T) {
	t.Helper()
	id := c.newID()
	if _, err := c.overSocket(id); err != nil {
		t.Fatal(err)
	}
	c.acknowledged(id)
}

// sendOn sends one event on a connection made before.
func (c *crowd) sendOn(t *testing.T, conn net.Conn) {
	t.Helper()
	id := c.newID()
	if err := c.exchange(conn, id); err != nil {
		t.Fatal(err)
	}
	c.acknowledged(id)
}

func (c *crowd) overSocket(id string) (dialled bool, err error) {
	conn, err := net.DialTimeout("unix", "/run/trackd/events.sock", patience)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	return true, c.exchange(conn, id)
}

func (c *crowd) exchange(conn net.Conn, id string) error {
	conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, c.line(id)); err != nil {
		return err
	}
	reply, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && !strings.Contains(reply, `"accepted":1`) {
		err = fmt.Errorf("the reply is %s", reply)
	}
	return err
}

func (c *crowd) overHTTP(network, address string) func(string) (bool, error) {
	return func(id string) (dialled bool, err error) {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			dialled = err == nil
			return conn, err
		}}
		client := &http.Client{Transport: transport, Timeout: patience}
		resp, err := client.Post("http://trackd/v1/track", "application/json", strings.NewReader(c.line(id)))
		if err != nil {
			return dialled, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return true, fmt.Errorf("the answer is %s", resp.Status)
		}
		return true, nil
	}
}
