package boltqueue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"

	"trackd/queue/boltqueue/segment"
)

// UsedPages lists the branch pages of a sound segment file and the leaf pages
// that hold blocks, and tells the page of its freelist.
func UsedPages(path string) (branches, leaves []int64, freelist int64, err error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, 0, err
	}
	file := bytes.NewReader(raw)
	p, err := segment.OpenPages(file, file.Size())
	if err != nil {
		return nil, nil, 0, err
	}
	free, err := p.FreePages()
	if err != nil {
		return nil, nil, 0, err
	}
	for id := uint64(2); id < p.Meta.End; {
		head := raw[int64(id)*p.Meta.PageSize:]
		if slices.Contains(free, id) {
			id++
			continue
		}
		switch binary.LittleEndian.Uint16(head[8:]) {
		case segment.FlagBranch:
			branches = append(branches, int64(id))
		case segment.FlagLeaf:
			if bytes.Contains(head[:p.Meta.PageSize], []byte{'t', 'k', 'd', '1', byte(segment.KindBlock)}) {
				leaves = append(leaves, int64(id))
			}
		}
		id += 1 + uint64(binary.LittleEndian.Uint32(head[12:]))
	}
	return branches, leaves, int64(p.Meta.Freelist), nil
}

// UsedBytes is how much of a sound segment file bbolt uses.
func UsedBytes(raw []byte) (int64, error) {
	file := bytes.NewReader(raw)
	p, err := segment.OpenPages(file, file.Size())
	if err != nil {
		return 0, err
	}
	return int64(p.Meta.End) * p.Meta.PageSize, nil
}

// Examine does to the bytes of a segment file what a start does before bbolt
// opens it: the walk, and the scan when the walk found damage.
func Examine(raw []byte) error {
	file := bytes.NewReader(raw)
	_, err := segment.InspectPages(file, file.Size())
	if err == nil {
		return nil
	}
	found, newer := segment.Scan(file, file.Size())
	if newer != nil {
		return newer
	}
	if b, _ := found.Settle(); !b.Balances() {
		return fmt.Errorf("the book of what was saved does not balance: %+v", b)
	}
	return err
}

// Age makes the segment file at path one of a format that is newer by years.
func Age(path string, years uint64) error {
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte(segment.BucketSegment))
		f, err := segment.ParseFrame(bucket.Get([]byte(segment.KeyHead)), segment.KindHead, 0, 0)
		if err != nil {
			return err
		}
		r := segment.Reader{Buf: f.Payload}
		version, number := r.Uvarint(), r.Uvarint()
		f.Payload = binary.AppendUvarint(binary.AppendUvarint(nil, version+years), number)
		return bucket.Put([]byte(segment.KeyHead), f.Encode())
	})
	return errors.Join(err, db.Close())
}

// ErrDamaged is what every failed check wraps.
var ErrDamaged = segment.ErrDamaged

// ReadAll has bbolt read every item of a segment file.
func ReadAll(dir string, raw []byte) error {
	path := segment.SegmentPath(dir, 1)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return err
	}
	db, err := bolt.Open(path, 0o600, (&segment.File{}).Options())
	if err != nil {
		return err
	}
	err = db.View(func(tx *bolt.Tx) error {
		for _, name := range segment.BucketNames() {
			bucket := tx.Bucket([]byte(name))
			if bucket == nil {
				return fmt.Errorf("no bucket %q", name)
			}
			err := bucket.ForEach(func(key, value []byte) error {
				if got := bucket.Get(key); !bytes.Equal(got, value) {
					return fmt.Errorf("bucket %q: key %x lists one thing and gets another", name, key)
				}
				return segment.CheckFrame(name, key, value)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(err, db.Close())
}

// Findable counts the events and rejects that a scan of a file finds.
func Findable(file io.ReaderAt, size int64) int {
	found, err := segment.Scan(file, size)
	if err != nil {
		return 0
	}
	n := len(found.Places(segment.KindReject))
	for _, p := range found.Places(segment.KindBlock) {
		n += int(found.Frames[p].Count)
	}
	return n
}
