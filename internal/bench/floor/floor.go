// Package floor is what durability costs at the least: a group commit of raw
// bytes to bbolt, a key per event. No parsing, no checks, no way out. Benchmarks
// set trackd beside it.
package floor

import (
	"encoding/binary"

	bolt "go.etcd.io/bbolt"
)

// Committer takes everything waiting, commits it, wakes everyone, and repeats.
type Committer struct {
	db       *bolt.DB
	requests chan request
	stopped  chan struct{}
	next     uint64 // owned by run
}

// request is what one caller wants durable.
type request struct {
	events [][]byte
	done   chan error
}

// Open begins a file at path and starts the committer. Close ends both.
func Open(path string) (*Committer, error) {
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return nil, err
	}
	c := &Committer{db: db, requests: make(chan request, 4096), stopped: make(chan struct{})}
	go c.run()
	return c, nil
}

// Close waits for the last commit. No Append may follow or be in progress.
func (c *Committer) Close() error {
	close(c.requests)
	<-c.stopped
	return c.db.Close()
}

// Append returns when events are durable.
func (c *Committer) Append(events ...[]byte) error {
	r := request{events: events, done: make(chan error, 1)}
	c.requests <- r
	return <-r.done
}

func (c *Committer) run() {
	defer close(c.stopped)
	for r := range c.requests {
		c.commit(r)
	}
}

func (c *Committer) commit(first request) {
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
