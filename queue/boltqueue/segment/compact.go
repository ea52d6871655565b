package segment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"trackd/event"
)

// Compact copies the segment into a small file of the same identity and the same
// addresses, and lets that take its name: atomic by itself. With scrub the copy
// lacks the bytes of settled events. Whoever wants to enter meanwhile waits.
// replaced tells, after an error too, that the copy may have the name.
func (s *File) Compact(step stepFunc, syncDir func() error, scrub bool) (replaced bool, err error) {
	tmp := s.Path + ".tmp"
	err = s.Enter(func(db *bolt.DB) error {
		if err := step("compact.write", func() error { return copyWhole(tmp, db, s, scrub) }); err != nil {
			return err
		}
		err := step("compact.rename", func() error { return os.Rename(tmp, s.Path) })
		if _, gone := os.Lstat(tmp); err != nil && gone == nil {
			return err
		}
		// The old file has no name any more: what is written there is lost.
		replaced, s.DB, s.Size = true, nil, 0
		if err == nil {
			err = step("compact.syncdir", syncDir)
		}
		return errors.Join(err, db.Close())
	})
	if err != nil {
		_ = Remove(tmp) // or at the next start
		err = fmt.Errorf("rewrite segment %d: %w", s.Number, err)
	}
	return replaced, err
}

// copyWhole copies a segment to path and walks the copy: it takes the place of
// the only other one, so it must hold all that the book tells of.
func copyWhole(path string, db *bolt.DB, seg *File, scrub bool) error {
	if err := CopyInto(path, db, seg, scrub); err != nil {
		return err
	}
	in, err := Verify(path)
	if err == nil && in.Counters != seg.Stored {
		err = fmt.Errorf("%w: the book says %+v, the file says %+v", ErrDamaged, seg.Stored, in.Counters)
	}
	return err
}

// CopyInto writes every item of db into a new file at path. With scrub the
// settled events of a block become empty, and texts that no dead letter refers
// to are left out.
func CopyInto(path string, db *bolt.DB, seg *File, scrub bool) error {
	if err := Remove(path); err != nil {
		return err
	}
	fresh, err := OpenBolt(path, seg.Options())
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
func (s *File) scrubber(tx *bolt.Tx) (func(bucket string, key, value []byte) ([]byte, error), error) {
	stored, texts := tx.Bucket([]byte(bucketMarks)), map[uint64]bool{}
	err := stored.ForEach(func(key, value []byte) error {
		f, err := ParseFrame(tx.Bucket([]byte(BucketBlocks)).Get(key), KindBlock, s.identity, KeyNumber(key))
		if err != nil {
			return err
		}
		m, err := blockMarks(value, s.identity, f.number, int(f.Count))
		for _, l := range m.Letters {
			texts[l.Text] = true
		}
		return err
	})
	return func(bucket string, key, value []byte) ([]byte, error) {
		switch bucket {
		case bucketTexts:
			if !texts[KeyNumber(key)] {
				return nil, nil
			}
		case BucketBlocks:
			if marked := stored.Get(key); marked != nil {
				return s.scrubBlock(value, marked, KeyNumber(key))
			}
		}
		return value, nil
	}, err
}

// scrubBlock returns a stored block with its settled events emptied.
func (s *File) scrubBlock(value, marked []byte, number uint64) ([]byte, error) {
	f, err := ParseFrame(value, KindBlock, s.identity, number)
	if err != nil {
		return nil, err
	}
	m, err := blockMarks(marked, s.identity, number, int(f.Count))
	if err != nil {
		return nil, err
	}
	raw, err := f.Unpack(s.packer)
	if err != nil {
		return nil, err
	}
	events, err := DecodeBlock(raw, int(f.Count))
	if err != nil {
		return nil, err
	}
	b := NewBlock(timeOf(f.stamp), len(raw), Packing{Packer: s.packer, Stay: Waiting})
	for i, ev := range events {
		if m.States[i] != Live && m.States[i] != Dead {
			ev = event.Event{}
		}
		b.Add(ev)
	}
	return b.Value(s.identity, number), nil
}

// CopyTo copies the segment to a new file, durably but for its name, and
// returns the counters in it and its length. Nobody else enters meanwhile.
func (s *File) CopyTo(path string) (b Counters, size int64, err error) {
	tmp := filepath.Join(filepath.Dir(path), filepath.Base(path)+".tmp")
	file, err := os.OpenFile(tmp, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return b, 0, err
	}
	err = s.view(func(tx *bolt.Tx) error {
		f, err := ParseFrame(tx.Bucket([]byte(BucketSegment)).Get([]byte(keyBook)), kindBook, s.identity, 0)
		if err != nil {
			return err
		}
		if b, err = decodeCounters(f.Payload); err != nil {
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
		err = errors.Join(err, Remove(tmp))
	}
	return b, size, err
}
