package segment

import (
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ReadAhead is how many blocks one visit to a segment brings.
const ReadAhead = 16

// Stored is a block as read from the disk, with its marks.
type Stored struct {
	Number uint64
	Marks
	Taken  time.Time
	Raw    []byte // of codec until it is unpacked
	codec  uint8
	Count  int
	Damage error
}

// ReadBlocks copies up to readAhead blocks in [from, end) and their marks out
// of a segment: those that wanted wants, given the number and whether there are
// marks; all if it is nil. Damage to one of them is told in place.
func (s *File) ReadBlocks(from, end uint64, wanted func(number uint64, marked bool) bool) (got []Stored, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		stored := tx.Bucket([]byte(bucketMarks))
		c := tx.Bucket([]byte(BucketBlocks)).Cursor()
		for k, v := c.Seek(numberKey(from)); k != nil && KeyNumber(k) < end && len(got) < ReadAhead; k, v = c.Next() {
			marked := stored.Get(k)
			if wanted == nil || wanted(KeyNumber(k), marked != nil) {
				got = append(got, copyBlock(s.identity, KeyNumber(k), v, marked))
			}
		}
		return nil
	})
	for i := range got { // not while others wait for the file
		if f := &got[i]; f.Damage == nil {
			f.Raw, f.Damage = s.packer.unpack(f.Raw, f.codec)
		}
	}
	return got, err
}

// copyBlock copies a stored block, still packed, and its marks. Marks that went
// bad since the walk are not guessed at: the repair at the next start keeps the
// counters right.
func copyBlock(identity, number uint64, value, marked []byte) (got Stored) {
	got.Number = number
	f, err := ParseFrame(value, KindBlock, identity, number)
	if err != nil {
		got.Damage = err
		return got
	}
	got.Taken, got.Count, got.codec, got.Raw = timeOf(f.stamp), int(f.Count), f.Codec, slices.Clone(f.Payload)
	got.Marks, got.Damage = blockMarks(marked, identity, number, got.Count)
	return got
}

// ReadTexts returns stored details by number; "" for number 0. One that cannot
// be read says so.
func (s *File) ReadTexts(numbers []uint64) (texts []string, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		bucket := tx.Bucket([]byte(bucketTexts))
		for _, n := range numbers {
			if n == 0 {
				texts = append(texts, "")
				continue
			}
			text := ""
			if f, err := ParseFrame(bucket.Get(numberKey(n)), kindText, s.identity, n); err != nil {
				text = "(the stored text is " + err.Error() + ")"
			} else {
				text = string(f.Payload)
			}
			texts = append(texts, text)
		}
		return nil
	})
	return texts, err
}

// readRejectBytes bounds what one transaction reads of rejects.
const readRejectBytes = 4 << 20

// ReadRejects hands the rejects with numbers in [from, end) to use, in order,
// until that has enough. Their bodies are valid during the call. It reports
// whether it came to the end.
func (s *File) ReadRejects(from, end uint64, use func(number uint64, taken time.Time, r Reject) bool) (done bool, err error) {
	err = s.view(func(tx *bolt.Tx) error {
		cur, read := tx.Bucket([]byte(bucketRejects)).Cursor(), 0
		for k, v := cur.Seek(numberKey(from)); k != nil && KeyNumber(k) < end; k, v = cur.Next() {
			f, err := ParseFrame(v, KindReject, s.identity, KeyNumber(k))
			if err != nil {
				continue // told by the walk that repairs
			}
			r, err := decodeReject(f)
			if err != nil {
				continue
			}
			if read += len(v); !use(KeyNumber(k), timeOf(f.stamp), r) || read > readRejectBytes {
				return nil
			}
		}
		done = true
		return nil
	})
	return done, err
}
