package ingest

import (
	"fmt"
	"net"
	"testing"
	"testing/synctest"

	"trackd/queue/boltqueue"
)

// OnCommit is told of the first commit by the writer itself, so that the disk
// is busy for as long as it is held. All requests that come meanwhile are one
// commit, whatever the speed of the machine: 64 requests cost two.
func TestRequestsThatWaitForTheDiskShareOneCommit(t *testing.T) {
	const conns = 64
	synctest.Test(t, func(t *testing.T) {
		busy, proceed := make(chan struct{}), make(chan struct{})
		var commits []int // owned by the writer until the queue is closed
		q, err := boltqueue.Open(boltqueue.Options{Dir: t.TempDir(), MinFreeBytes: -1, OnCommit: func(c boltqueue.Commit) {
			if commits = append(commits, c.Events); len(commits) == 1 {
				close(busy)
				<-proceed
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		ln := newPipes()
		stop := serve(t, open(t, q), Listeners{HTTP: []net.Listener{ln}})
		post := func() *client {
			c := ln.dial(t)
			c.send(fmt.Sprintf("POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(typical), typical))
			return c
		}
		clients := []*client{post()}
		<-busy
		for range conns - 1 {
			clients = append(clients, post())
		}
		synctest.Wait() // all of them are in the queue's hands
		close(proceed)
		for i, c := range clients {
			if status, body, _ := c.answer(); status != 200 || body != "{}" {
				t.Errorf("request %d: %d %s, want 200 {}", i, status, body)
			}
		}
		stop()
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		if got := fmt.Sprint(commits); got != fmt.Sprintf("[1 %d]", conns-1) {
			t.Errorf("events by commit %s, want [1 %d]", got, conns-1)
		}
	})
}
