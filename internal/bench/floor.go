package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sync/errgroup"
)

// playFloor serves both doors with the least that is durable: a group commit
// of the raw bytes to bbolt, a key per event. No parsing, no checks, no way
// out.
//
//	floor DIR ADDRESS
func playFloor(ctx context.Context, args []string) error {
	db, err := bolt.Open(filepath.Join(args[0], "floor.db"), 0o600, nil)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // killed before it comes to that
	c := &committer{db: db, requests: make(chan request, 4096)}
	lines, err := net.Listen("unix", filepath.Join(args[0], "events.sock"))
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", args[1])
	if err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error { return c.run(ctx) })
	group.Go(func() error { return http.Serve(web, http.HandlerFunc(c.post)) })
	group.Go(func() error { return c.accept(lines) })
	fmt.Fprintln(os.Stderr, "ready")
	return group.Wait()
}

// request is what one caller wants durable.
type request struct {
	events [][]byte
	done   chan error
}

// committer takes everything waiting, commits it, wakes everyone, and repeats.
type committer struct {
	db       *bolt.DB
	requests chan request
	next     uint64
}

func (c *committer) run(ctx context.Context) error {
	for {
		select {
		case r := <-c.requests:
			c.commit(r)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *committer) commit(first request) {
	group := []request{first}
	for len(c.requests) > 0 {
		group = append(group, <-c.requests)
	}
	err := c.db.Update(func(tx *bolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte("events"))
		if err != nil {
			return err
		}
		bucket.FillPercent = 1
		for _, r := range group {
			for _, ev := range r.events {
				c.next++
				if err := bucket.Put(binary.BigEndian.AppendUint64(nil, c.next), ev); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, r := range group {
		r.done <- err
	}
}

func (c *committer) append(events ...[]byte) error {
	r := request{events: events, done: make(chan error, 1)}
	c.requests <- r
	return <-r.done
}

func (c *committer) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = c.append(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

func (c *committer) accept(ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go c.lines(conn)
	}
}

// lines commits all complete lines at hand and answers how many there are.
func (c *committer) lines(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 256<<10)
	total := 0
	for {
		first, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		events := [][]byte{first}
		for len(events) < 1000 {
			ahead, _ := in.Peek(in.Buffered())
			end := bytes.IndexByte(ahead, '\n')
			if end < 0 {
				break
			}
			events = append(events, bytes.Clone(ahead[:end+1]))
			_, _ = in.Discard(end + 1)
		}
		if c.append(events...) != nil {
			return
		}
		total += len(events)
		if _, err := fmt.Fprintf(conn, "{\"accepted\":%d}\n", total); err != nil {
			return
		}
	}
}
