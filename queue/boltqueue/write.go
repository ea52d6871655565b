package boltqueue

import (
	"cmp"
	"maps"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// maxTexts bounds what is remembered of a segment's texts to store each only
// once.
const maxTexts = 256

// putGroup stores blocks and rejects. It opens only the buckets it needs: bbolt
// writes back each one that was opened.
func (s *file) putGroup(tx *bolt.Tx, all []*block, rejects []reject) error {
	if len(all) > 0 {
		blocks := tx.Bucket([]byte(bucketBlocks))
		blocks.FillPercent = 1
		for i, b := range all {
			n := s.stored.nextBlock + uint64(i)
			if err := blocks.Put(numberKey(n), b.value(s.identity, n)); err != nil {
				return err
			}
		}
	}
	if len(rejects) > 0 {
		bucket := tx.Bucket([]byte(bucketRejects))
		bucket.FillPercent = 1
		for i, r := range rejects {
			n := s.stored.nextReject + uint64(i)
			if err := bucket.Put(numberKey(n), r.encode(s.identity, n, time.Now())); err != nil {
				return err
			}
		}
	}
	return nil
}

// marking is what is to be written of one block: what became of its events, and
// the tallies of that and of what the file said before.
type marking struct {
	number uint64
	marks
	was, now tally
}

// putMarks writes marks into a transaction and accounts for them in book.
// Blocks with nothing left go, and their marks with them.
func (s *file) putMarks(tx *bolt.Tx, marks []marking, b *book) error {
	if len(marks) == 0 {
		return s.putBook(tx, *b)
	}
	blocks, stored := tx.Bucket([]byte(bucketBlocks)), tx.Bucket([]byte(bucketMarks))
	fresh := map[string]uint64{}
	for _, m := range marks {
		key := numberKey(m.number)
		b.shift(m.was, m.now)
		if m.now.by[live] == 0 && m.now.by[dead] == 0 {
			if err := blocks.Delete(key); err != nil {
				return err
			}
			if err := stored.Delete(key); err != nil {
				return err
			}
			continue
		}
		if err := s.putTexts(tx, m.letters, b, fresh); err != nil {
			return err
		}
		f := frame{kind: kindMarks, identity: s.identity, number: m.number,
			stamp: s.stamp, payload: m.encode()}
		if err := stored.Put(key, f.encode()); err != nil {
			return err
		}
	}
	if err := s.putBook(tx, *b); err != nil {
		return err
	}
	tx.OnCommit(func() { s.remember(fresh) })
	return nil
}

// putTexts stores the details of letters that have none stored yet, each text
// once, and gives the letters their numbers.
func (s *file) putTexts(tx *bolt.Tx, letters []letter, b *book, fresh map[string]uint64) error {
	bucket := tx.Bucket([]byte(bucketTexts))
	for i := range letters {
		l := &letters[i]
		if l.text != 0 || l.detail == "" {
			continue
		}
		if n := cmp.Or(s.texts[l.detail], fresh[l.detail]); n != 0 {
			l.text = n
			continue
		}
		l.text = b.nextText
		b.nextText++
		fresh[l.detail] = l.text
		f := frame{kind: kindText, identity: s.identity, number: l.text, stamp: s.stamp, payload: []byte(l.detail)}
		if err := bucket.Put(numberKey(l.text), f.encode()); err != nil {
			return err
		}
	}
	return nil
}

// remember keeps the numbers of texts that are stored now.
func (s *file) remember(fresh map[string]uint64) {
	if s.texts == nil || len(s.texts)+len(fresh) > maxTexts {
		s.texts = map[string]uint64{}
	}
	maps.Copy(s.texts, fresh)
}

// dropRejects deletes rejects in a transaction and accounts for them in b. It
// returns how many were still there.
func (s *file) dropRejects(tx *bolt.Tx, numbers []uint64, b *book) (n int, err error) {
	bucket := tx.Bucket([]byte(bucketRejects))
	for _, number := range numbers {
		value := bucket.Get(numberKey(number))
		if value == nil {
			continue // gone since it was listed
		}
		f, err := parseFrame(value, kindReject, s.identity, number)
		if err != nil {
			return 0, err
		}
		r, err := decodeReject(f)
		if err != nil {
			return 0, err
		}
		b.dropReject(r)
		if err := bucket.Delete(numberKey(number)); err != nil {
			return 0, err
		}
		n++
	}
	return n, s.putBook(tx, *b)
}

// shows reports whether the file says what b says. A transaction that failed
// may be visible all the same, and the next would build on it.
func (s *file) shows(b book) bool {
	var got book
	err := s.view(func(tx *bolt.Tx) error {
		f, err := parseFrame(tx.Bucket([]byte(bucketSegment)).Get([]byte(keyBook)), kindBook, s.identity, 0)
		if err == nil {
			got, err = decodeBook(f.payload)
		}
		return err
	})
	return err == nil && got == b
}

// reserveForMarks exchanges what is reserved for a little beyond the end.
func (s *file) reserveForMarks(slack int64) error {
	return s.enter(func(*bolt.DB) error {
		if err := os.Truncate(s.path, s.size); err != nil { // what bbolt does not use yet
			return err
		}
		_, err := reserve(s.path, s.size+slack)
		return err
	})
}
