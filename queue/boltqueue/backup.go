package boltqueue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"trackd/queue"
)

// Copied tells what a backup holds.
type Copied struct {
	Files   int
	Bytes   int64
	Account queue.Account // of what was copied
}

// Backup copies the queue into dir, which must not exist or be empty, while it
// is at work. Each segment is copied between two of its transactions, by
// reference where the filesystem can; nothing moves between segments, so the
// copies together are a queue, as it was at moments during the call. Durable at
// return. What is delivered after its segment was copied is sent again by
// whoever starts the copy. After an error dir holds nothing that looks whole.
func (q *Queue) Backup(ctx context.Context, dir string) (done Copied, err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return done, fmt.Errorf("back up to %s: the directory is not empty; name another", dir)
	}
	if err := makeDir(dir); err != nil {
		return done, fmt.Errorf("back up to %s: %w", dir, err)
	}
	var made []string
	for _, seg := range q.segments() {
		if err = ctx.Err(); err != nil {
			break
		}
		to := segmentPath(dir, seg.number)
		var counted book
		var size int64
		if err = q.learn(seg); err == nil {
			counted, size, err = seg.copyTo(to)
		}
		q.closeIdle()
		if errors.Is(err, errGone) || errors.Is(err, errAside) {
			err = nil // nothing is left in it, or an alarm tells of it
			continue
		}
		if err != nil {
			break
		}
		made = append(made, to)
		done.Files++
		done.Bytes += size
		done.Account = done.Account.Add(counted.account())
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		for _, path := range made {
			err = errors.Join(err, remove(path))
		}
		return Copied{}, fmt.Errorf("back up to %s: %w", dir, err)
	}
	return done, nil
}

// copyTo copies the segment to a new file, durably but for its name, and
// returns the counters in it and its length. Nobody else enters meanwhile.
func (s *segment) copyTo(path string) (b book, size int64, err error) {
	tmp := filepath.Join(filepath.Dir(path), filepath.Base(path)+".tmp")
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return b, 0, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		f, err := parseFrame(tx.Bucket([]byte(bucketSegment)).Get([]byte(keyBook)), kindBook, s.identity, 0)
		if err != nil {
			return err
		}
		if b, err = decodeBook(f.payload); err != nil {
			return err
		}
		size, err = tx.WriteTo(file)
		return err
	})
	if err == nil {
		err = file.Sync() // others are in the segment again
	}
	if err = errors.Join(err, file.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		err = errors.Join(err, remove(tmp))
	}
	return b, size, err
}
