package boltqueue

import (
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"trackd/event"
)

const (
	// thinBytes is how large a segment must be to be worth rewriting.
	thinBytes = 1 << 20

	// thinShare is the part of a segment in use, one in so many, below which it
	// is rewritten.
	thinShare = 2

	// thinRetry is how long to wait after a rewrite failed: the disk may be full.
	thinRetry = time.Minute
)

// thin rewrites sealed segments of which little is left: stragglers and dead
// letters must not keep 32 MiB each. Called by the writer, which is held up
// for as long as writing half a segment takes; not while delivery is in the
// segment, as it soon may be empty. It reports whether it did.
func (q *Queue) thin(seg *segment) bool {
	if now := time.Now(); !q.thinnable(seg) || now.Before(seg.thinAfter) {
		return false
	} else if err := q.rewrite(seg, false); err != nil {
		seg.thinAfter = now.Add(thinRetry)
		q.log.Warn("segment not made smaller", "segment", seg.number, "error", err)
		if errors.Is(err, errDamaged) {
			q.spoiled(seg, err)
		}
		return false
	}
	q.log.Debug("segment made smaller", "segment", seg.number, "bytes", seg.size)
	return true
}

func (q *Queue) thinnable(seg *segment) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return seg != q.tail && seg != q.cursor.seg && seg.known && seg.failed == nil && !seg.book.empty() &&
		seg.size > min(thinBytes, q.opts.segmentBytes/2) && seg.size-seg.free <= seg.size/thinShare
}

// rewrite copies a segment into a small file of the same identity and the same
// addresses, and lets that take its name: atomic by itself. With scrub the copy
// lacks the bytes of settled events. Whoever wants to enter meanwhile waits.
func (q *Queue) rewrite(seg *segment, scrub bool) error {
	tmp, replaced := seg.path+".tmp", false
	err := seg.enter(func(db *bolt.DB) error {
		if err := q.step("thin.write", func() error { return copyWhole(tmp, db, seg, scrub) }); err != nil {
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
	return seg.reserveForMarks(q.opts.marksSlack(seg.size))
}

// copyWhole copies a segment to path and walks the copy: it takes the place of
// the only other one, so it must hold all that the book tells of.
func copyWhole(path string, db *bolt.DB, seg *segment, scrub bool) error {
	if err := copyInto(path, db, seg, scrub); err != nil {
		return err
	}
	in, err := inspect(path)
	if err == nil && in.book != seg.stored {
		err = fmt.Errorf("%w: the book says %+v, the file says %+v", errDamaged, seg.stored.account(), in.book.account())
	}
	return err
}

// copyInto writes every item of db into a new file at path. With scrub the
// settled events of a block become empty, and texts that no dead letter refers
// to are left out.
func copyInto(path string, db *bolt.DB, seg *segment, scrub bool) error {
	if err := remove(path); err != nil {
		return err
	}
	fresh, err := openBolt(path, seg.options())
	if err != nil {
		return err
	}
	err = db.View(func(from *bolt.Tx) error {
		return fresh.Update(func(to *bolt.Tx) error {
			keep := func(_ string, _, value []byte) ([]byte, error) { return value, nil }
			if scrub {
				var err error
				if keep, err = seg.scrubber(from); err != nil {
					return err
				}
			}
			return from.ForEach(func(name []byte, bucket *bolt.Bucket) error { return copyBucket(to, string(name), bucket, keep) })
		})
	})
	return errors.Join(err, fresh.Close())
}

// copyBucket copies what keep returns for each item; nil leaves it out.
func copyBucket(to *bolt.Tx, name string, from *bolt.Bucket, keep func(bucket string, key, value []byte) ([]byte, error)) error {
	bucket, err := to.CreateBucket([]byte(name))
	if err != nil {
		return err
	}
	bucket.FillPercent = 1
	return from.ForEach(func(key, value []byte) error {
		kept, err := keep(name, key, value)
		if err != nil || kept == nil {
			return err
		}
		return bucket.Put(key, kept)
	})
}

// scrubber returns what a scrubbing copy keeps of each item of a file.
func (s *segment) scrubber(tx *bolt.Tx) (func(bucket string, key, value []byte) ([]byte, error), error) {
	stored, texts := tx.Bucket([]byte(bucketMarks)), map[uint64]bool{}
	err := stored.ForEach(func(key, value []byte) error {
		f, err := parseFrame(tx.Bucket([]byte(bucketBlocks)).Get(key), kindBlock, s.identity, keyNumber(key))
		if err != nil {
			return err
		}
		m, err := blockMarks(value, s.identity, f.number, int(f.count))
		for _, l := range m.letters {
			texts[l.text] = true
		}
		return err
	})
	return func(bucket string, key, value []byte) ([]byte, error) {
		switch bucket {
		case bucketTexts:
			if !texts[keyNumber(key)] {
				return nil, nil
			}
		case bucketBlocks:
			if marked := stored.Get(key); marked != nil {
				return s.scrubBlock(value, marked, keyNumber(key))
			}
		}
		return value, nil
	}, err
}

// scrubBlock returns a stored block with its settled events emptied.
func (s *segment) scrubBlock(value, marked []byte, number uint64) ([]byte, error) {
	f, err := parseFrame(value, kindBlock, s.identity, number)
	if err != nil {
		return nil, err
	}
	m, err := blockMarks(marked, s.identity, number, int(f.count))
	if err != nil {
		return nil, err
	}
	raw, err := f.unpack(s.packer)
	if err != nil {
		return nil, err
	}
	events, err := decodeBlock(raw, int(f.count))
	if err != nil {
		return nil, err
	}
	b := newBlock(timeOf(f.stamp), len(raw), packing{packer: s.packer, stay: waiting})
	for i, ev := range events {
		if m.states[i] != live && m.states[i] != dead {
			ev = event.Event{}
		}
		b.add(ev)
	}
	return b.value(s.identity, number), nil
}
