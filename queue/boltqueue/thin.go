package boltqueue

import (
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// thinBytes is how large a segment must be to be worth rewriting.
	thinBytes = 1 << 20

	// thinShare is the part of a segment in use, one in so many, below which it
	// is rewritten.
	thinShare = 4

	// thinRetry is how long to wait after a rewrite failed: the disk may be full.
	thinRetry = time.Minute
)

// thin rewrites sealed segments of which little is left: stragglers and dead
// letters must not keep 32 MiB each. Called by the writer, which is held up
// for as long as writing a quarter of a segment takes.
func (q *Queue) thin(seg *segment) {
	if now := time.Now(); !q.thinnable(seg) || now.Before(seg.thinAfter) {
		return
	} else if err := q.rewrite(seg); err != nil {
		seg.thinAfter = now.Add(thinRetry)
		q.log.Warn("segment not made smaller", "segment", seg.number, "error", err)
		if errors.Is(err, errDamaged) {
			q.spoiled(seg, err)
		}
		return
	}
	q.log.Debug("segment made smaller", "segment", seg.number, "bytes", seg.size)
}

func (q *Queue) thinnable(seg *segment) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return seg != q.tail && seg.known && seg.failed == nil && !seg.book.empty() &&
		seg.size > min(thinBytes, q.opts.segmentBytes/2) && seg.size-seg.free <= seg.size/thinShare
}

// rewrite copies a segment into a small file of the same identity and the same
// addresses, and lets that take its name: atomic by itself. Whoever wants to
// enter meanwhile waits.
func (q *Queue) rewrite(seg *segment) error {
	tmp, replaced := seg.path+".tmp", false
	err := seg.enter(func(db *bolt.DB) error {
		if err := q.step("thin.write", func() error { return copyWhole(tmp, db, seg) }); err != nil {
			return err
		}
		err := q.step("thin.rename", func() error { return os.Rename(tmp, seg.path) })
		if _, gone := os.Lstat(tmp); err != nil && gone == nil {
			return err
		}
		// The old file has no name any more: what is written there is lost.
		replaced, seg.db, seg.size = true, nil, 0
		if err == nil {
			err = q.step("thin.syncdir", q.syncDir)
		}
		return errors.Join(err, db.Close())
	})
	if err != nil {
		_ = remove(tmp) // or at the next start
		err = fmt.Errorf("rewrite segment %d: %w", seg.number, err)
	}
	if err != nil && replaced {
		q.fail(seg, err) // after a power cut the old file may have the name again
	}
	if err != nil {
		return err
	}
	if err := seg.enter(seg.measure); err != nil {
		return err
	}
	return seg.reserveForMarks(q.opts.marksSlack() / thinShare)
}

// copyWhole copies a segment to path and walks the copy: it takes the place of
// the only other one, so it must hold all that the book tells of.
func copyWhole(path string, db *bolt.DB, seg *segment) error {
	if err := copyInto(path, db, seg.options()); err != nil {
		return err
	}
	in, err := inspect(path)
	if err == nil && in.book != seg.stored {
		err = fmt.Errorf("%w: the book says %+v, the file says %+v", errDamaged, seg.stored.account(), in.book.account())
	}
	return err
}

// copyInto writes every item of db into a new file at path.
func copyInto(path string, db *bolt.DB, opts *bolt.Options) error {
	if err := remove(path); err != nil {
		return err
	}
	fresh, err := openBolt(path, opts)
	if err != nil {
		return err
	}
	err = db.View(func(from *bolt.Tx) error {
		return fresh.Update(func(to *bolt.Tx) error {
			return from.ForEach(func(name []byte, bucket *bolt.Bucket) error { return copyBucket(to, name, bucket) })
		})
	})
	return errors.Join(err, fresh.Close())
}

func copyBucket(to *bolt.Tx, name []byte, from *bolt.Bucket) error {
	bucket, err := to.CreateBucket(name)
	if err != nil {
		return err
	}
	bucket.FillPercent = 1
	return from.ForEach(func(key, value []byte) error { return bucket.Put(key, value) })
}
