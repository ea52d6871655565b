package boltqueue

import (
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// readAhead is how many blocks one visit to a segment brings.
const readAhead = 16

// fetched is a block as read from the disk, with its marks.
type fetched struct {
	number uint64
	marks
	taken  time.Time
	raw    []byte // of codec until it is unpacked
	codec  uint8
	count  int
	damage error
}

// readBlocks copies up to readAhead blocks in [from, end) and their marks out
// of a segment: those that wanted wants, given the number and whether there are
// marks; all if it is nil. Damage to one of them is told in place.
func (s *file) readBlocks(from, end uint64, wanted func(number uint64, marked bool) bool) (got []fetched, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		stored := tx.Bucket([]byte(bucketMarks))
		c := tx.Bucket([]byte(bucketBlocks)).Cursor()
		for k, v := c.Seek(numberKey(from)); k != nil && keyNumber(k) < end && len(got) < readAhead; k, v = c.Next() {
			marked := stored.Get(k)
			if wanted == nil || wanted(keyNumber(k), marked != nil) {
				got = append(got, copyBlock(s.identity, keyNumber(k), v, marked))
			}
		}
		return nil
	})
	for i := range got { // not while others wait for the file
		if f := &got[i]; f.damage == nil {
			f.raw, f.damage = s.packer.unpack(f.raw, f.codec)
		}
	}
	return got, err
}

// copyBlock copies a stored block, still packed, and its marks. Marks that went
// bad since the walk are not guessed at: the repair at the next start keeps the
// counters right.
func copyBlock(identity, number uint64, value, marked []byte) (got fetched) {
	got.number = number
	f, err := parseFrame(value, kindBlock, identity, number)
	if err != nil {
		got.damage = err
		return got
	}
	got.taken, got.count, got.codec, got.raw = timeOf(f.stamp), int(f.count), f.codec, slices.Clone(f.payload)
	got.marks, got.damage = blockMarks(marked, identity, number, got.count)
	return got
}

// readTexts returns stored details by number; "" for number 0. One that cannot
// be read says so.
func (s *file) readTexts(numbers []uint64) (texts []string, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte(bucketTexts))
		for _, n := range numbers {
			if n == 0 {
				texts = append(texts, "")
				continue
			}
			text := ""
			if f, err := parseFrame(bucket.Get(numberKey(n)), kindText, s.identity, n); err != nil {
				text = "(the stored text is " + err.Error() + ")"
			} else {
				text = string(f.payload)
			}
			texts = append(texts, text)
		}
		return nil
	})
	return texts, err
}

// readRejectBytes bounds what one transaction reads of rejects.
const readRejectBytes = 4 << 20

// readRejects hands the rejects with numbers in [from, end) to use, in order,
// until that has enough. Their bodies are valid during the call. It reports
// whether it came to the end.
func (s *file) readRejects(from, end uint64, use func(number uint64, taken time.Time, r reject) bool) (done bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		cur, read := tx.Bucket([]byte(bucketRejects)).Cursor(), 0
		for k, v := cur.Seek(numberKey(from)); k != nil && keyNumber(k) < end; k, v = cur.Next() {
			f, err := parseFrame(v, kindReject, s.identity, keyNumber(k))
			if err != nil {
				continue // told by the walk that repairs
			}
			r, err := decodeReject(f)
			if err != nil {
				continue
			}
			if read += len(v); !use(keyNumber(k), timeOf(f.stamp), r) || read > readRejectBytes {
				return nil
			}
		}
		done = true
		return nil
	})
	return done, err
}
