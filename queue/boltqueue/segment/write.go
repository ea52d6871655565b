package segment

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

// PutGroup stores blocks and rejects. It opens only the buckets it needs: bbolt
// writes back each one that was opened.
func (s *File) PutGroup(tx *bolt.Tx, all []*Block, rejects []Reject) error {
	if len(all) > 0 {
		blocks := tx.Bucket([]byte(BucketBlocks))
		blocks.FillPercent = 1
		for i, b := range all {
			n := s.Stored.NextBlock + uint64(i)
			if err := blocks.Put(numberKey(n), b.Value(s.identity, n)); err != nil {
				return err
			}
		}
	}
	if len(rejects) > 0 {
		bucket := tx.Bucket([]byte(bucketRejects))
		bucket.FillPercent = 1
		for i, r := range rejects {
			n := s.Stored.NextReject + uint64(i)
			if err := bucket.Put(numberKey(n), r.encode(s.identity, n, time.Now())); err != nil {
				return err
			}
		}
	}
	return nil
}

// Marking is what is to be written of one block: what became of its events, and
// the tallies of that and of what the file said before.
type Marking struct {
	Number uint64
	Marks
	Was, Now Tally
}

// PutMarks writes marks into a transaction and accounts for them in book.
// Blocks with nothing left go, and their marks with them.
func (s *File) PutMarks(tx *bolt.Tx, marks []Marking, b *Counters) error {
	if len(marks) == 0 {
		return s.PutBook(tx, *b)
	}
	blocks, stored := tx.Bucket([]byte(BucketBlocks)), tx.Bucket([]byte(bucketMarks))
	fresh := map[string]uint64{}
	for _, m := range marks {
		key := numberKey(m.Number)
		b.Shift(m.Was, m.Now)
		if m.Now.By[Live] == 0 && m.Now.By[Dead] == 0 {
			if err := blocks.Delete(key); err != nil {
				return err
			}
			if err := stored.Delete(key); err != nil {
				return err
			}
			continue
		}
		if err := s.putTexts(tx, m.Letters, b, fresh); err != nil {
			return err
		}
		f := frame{kind: kindMarks, identity: s.identity, number: m.Number,
			stamp: s.Stamp, Payload: m.encode()}
		if err := stored.Put(key, f.Encode()); err != nil {
			return err
		}
	}
	if err := s.PutBook(tx, *b); err != nil {
		return err
	}
	tx.OnCommit(func() { s.remember(fresh) })
	return nil
}

// putTexts stores the details of letters that have none stored yet, each text
// once, and gives the letters their numbers.
func (s *File) putTexts(tx *bolt.Tx, letters []DeadEvent, b *Counters, fresh map[string]uint64) error {
	bucket := tx.Bucket([]byte(bucketTexts))
	for i := range letters {
		l := &letters[i]
		if l.Text != 0 || l.Detail == "" {
			continue
		}
		if n := cmp.Or(s.texts[l.Detail], fresh[l.Detail]); n != 0 {
			l.Text = n
			continue
		}
		l.Text = b.nextText
		b.nextText++
		fresh[l.Detail] = l.Text
		f := frame{kind: kindText, identity: s.identity, number: l.Text, stamp: s.Stamp, Payload: []byte(l.Detail)}
		if err := bucket.Put(numberKey(l.Text), f.Encode()); err != nil {
			return err
		}
	}
	return nil
}

// remember keeps the numbers of texts that are stored now.
func (s *File) remember(fresh map[string]uint64) {
	if s.texts == nil || len(s.texts)+len(fresh) > maxTexts {
		s.texts = map[string]uint64{}
	}
	maps.Copy(s.texts, fresh)
}

// DropRejects deletes rejects in a transaction and accounts for them in b. It
// returns how many were still there.
func (s *File) DropRejects(tx *bolt.Tx, numbers []uint64, b *Counters) (n int, err error) {
	bucket := tx.Bucket([]byte(bucketRejects))
	for _, number := range numbers {
		value := bucket.Get(numberKey(number))
		if value == nil {
			continue // gone since it was listed
		}
		f, err := ParseFrame(value, KindReject, s.identity, number)
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
	return n, s.PutBook(tx, *b)
}

// Shows reports whether the file says what b says. A transaction that failed
// may be visible all the same, and the next would build on it.
func (s *File) Shows(b Counters) bool {
	var got Counters
	err := s.view(func(tx *bolt.Tx) error {
		f, err := ParseFrame(tx.Bucket([]byte(BucketSegment)).Get([]byte(keyBook)), kindBook, s.identity, 0)
		if err == nil {
			got, err = decodeCounters(f.Payload)
		}
		return err
	})
	return err == nil && got == b
}

// ReserveForMarks exchanges what is reserved for a little beyond the end.
func (s *File) ReserveForMarks(slack int64) error {
	return s.Enter(func(*bolt.DB) error {
		if err := os.Truncate(s.Path, s.Size); err != nil { // what bbolt does not use yet
			return err
		}
		_, err := reserve(s.Path, s.Size+slack)
		return err
	})
}
