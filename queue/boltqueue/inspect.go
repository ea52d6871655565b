package boltqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// errNoFile means that something else than a file has the name of one.
var errNoFile = errors.New("not a regular file")

// inspection is what a walk through a segment file found.
type inspection struct {
	identity uint64
	number   uint64
	book     book
	stamp    uint64    // of the book: the newest there is
	oldest   time.Time // when the first event that is queued was taken
	size     int64     // bytes that bbolt uses
	free     int64     // of those, in free pages
}

// inspect walks the segment file at path and checks everything in it: pages,
// frames, marks, and the book against what it tells of. bbolt never opens a
// file that has not passed, for what bbolt does with a damaged one is measured:
// a truncated map is a fault, a page that points at itself overflows the
// stack, a changed count silently hides what was acknowledged.
func inspect(path string) (inspection, error) {
	info, err := os.Stat(path)
	if err != nil {
		return inspection{}, err
	}
	if !info.Mode().IsRegular() {
		return inspection{}, fmt.Errorf("%w: %s", errNoFile, path) // opening a pipe would wait
	}
	f, err := os.Open(path)
	if err != nil {
		return inspection{}, err
	}
	defer f.Close()
	in, err := inspectPages(f, info.Size())
	if errors.Is(err, errDamaged) {
		// What is strange to us may be another trackd's.
		if _, foreign := scan(f, info.Size()); foreign != nil {
			return inspection{}, foreign
		}
	}
	return in, err
}

func inspectPages(file io.ReaderAt, size int64) (inspection, error) {
	p, err := openPages(file, size)
	if err != nil {
		return inspection{}, err
	}
	in := inspector{blocks: map[uint64]frame{}, marks: map[uint64][]byte{}}
	if err := p.walk(in.visit); err != nil {
		return inspection{}, err
	}
	in.size = int64(p.meta.end) * p.meta.pageSize
	in.free = int64(p.free) * p.meta.pageSize
	return in.inspection, in.recount()
}

// inspector gathers what a walk shows.
type inspector struct {
	inspection
	heads, books        int
	blocks              map[uint64]frame // by number, without payload
	marks               map[uint64][]byte
	live, dead, rejects uint64 // recounted
	rejectCosts         book   // recounted: rejectBytes and sampleBytes
	deadBy              [reasonSlots]uint64
}

// visit checks one item.
func (in *inspector) visit(bucket string, key, value []byte) error {
	var err error
	switch bucket {
	case bucketSegment:
		err = in.visitSegment(string(key), value)
	case bucketBlocks:
		var f frame
		if f, err = in.frame(value, kindBlock, keyNumber(key)); err == nil {
			f.payload = nil
			in.blocks[f.number] = f
			in.live += uint64(f.count) // less what marks say
		}
	case bucketMarks:
		in.marks[keyNumber(key)] = append([]byte(nil), value...)
	case bucketRejects:
		var f frame
		if f, err = in.frame(value, kindReject, keyNumber(key)); err == nil {
			var r reject
			if r, err = decodeReject(f); err == nil {
				*in.rejectCosts.bytesOf(r.reason) += uint64(r.cost())
				in.deadBy[r.reason]++
			}
			in.rejects++
		}
	case bucketTexts:
		_, err = in.frame(value, kindText, keyNumber(key))
	default:
		err = fmt.Errorf("%w: no bucket of ours", errDamaged)
	}
	if err != nil {
		return fmt.Errorf("%s %d: %w", bucket, keyNumber(key), err)
	}
	return nil
}

func (in *inspector) visitSegment(key string, value []byte) error {
	switch key {
	case keyHead:
		in.heads++
		f, err := in.frame(value, kindHead, 0)
		if err == nil {
			in.number, err = decodeHead(f.payload)
		}
		return err
	case keyBook:
		in.books++
		f, err := in.frame(value, kindBook, 0)
		if err == nil {
			in.stamp = f.stamp
			in.book, err = decodeBook(f.payload)
		}
		return err
	}
	return fmt.Errorf("%w: unknown key %q", errDamaged, key)
}

// frame parses a value; all frames of a file have the same identity.
func (in *inspector) frame(value []byte, want kind, number uint64) (frame, error) {
	f, err := parseFrame(value, want, in.identity, number)
	in.identity = f.identity
	return f, err
}

// recount holds the book against what was found.
func (in *inspector) recount() error {
	if in.heads != 1 || in.books != 1 {
		return fmt.Errorf("%w: %d heads and %d books", errDamaged, in.heads, in.books)
	}
	var errs []error
	for n, value := range in.marks {
		if err := in.subtract(n, value); err != nil {
			errs = append(errs, fmt.Errorf("marks %d: %w", n, err))
		}
	}
	in.dead += in.rejects
	got := book{live: in.live, dead: in.dead, rejects: in.rejects, deadBy: in.deadBy,
		rejectBytes: in.rejectCosts.rejectBytes, sampleBytes: in.rejectCosts.sampleBytes}
	want := book{live: in.book.live, dead: in.book.dead, rejects: in.book.rejects, deadBy: in.book.deadBy,
		rejectBytes: in.book.rejectBytes, sampleBytes: in.book.sampleBytes}
	if len(errs) == 0 && got != want {
		errs = append(errs, fmt.Errorf("%w: the counters say %+v, the file holds %+v", errDamaged, want, got))
	}
	var first uint64
	for number, f := range in.blocks {
		if first == 0 || number < first {
			first, in.oldest = number, timeOf(f.stamp)
		}
	}
	return errors.Join(errs...)
}

// subtract takes what marks say is settled from what a block brought.
func (in *inspector) subtract(number uint64, value []byte) error {
	block, known := in.blocks[number]
	count := block.count
	if !known {
		return fmt.Errorf("%w: there is no such block", errDamaged)
	}
	m, err := blockMarks(value, in.identity, number, int(count))
	if err != nil {
		return err
	}
	t := tallyOf(m.states, m.letters)
	if t.by[live] == 0 {
		delete(in.blocks, number) // of no account for the oldest
	}
	for i, n := range t.deadBy {
		in.deadBy[i] += uint64(n)
	}
	in.live -= uint64(int(count) - t.by[live])
	in.dead += uint64(t.by[dead])
	return nil
}

// encodeHead is the inverse of decodeHead.
func encodeHead(format, number uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, format), number)
}

// decodeHead returns the number of a segment, or ErrNewer or ErrOlder.
func decodeHead(payload []byte) (number uint64, err error) {
	r := reader{buf: payload}
	format, number := r.uvarint(), r.uvarint()
	switch {
	case r.bad:
		return 0, r.err("head")
	case format > formatVersion:
		return 0, fmt.Errorf("%w: format %d, this one knows %d; upgrade it", ErrNewer, format, formatVersion)
	case format < formatVersion:
		return 0, fmt.Errorf("%w: format %d, this one knows %d; let the older one deliver what is queued, then move its directory away or set another queue.dir", ErrOlder, format, formatVersion)
	}
	return number, nil
}

// inspect walks the file and checks that it is this segment's.
func (s *file) inspect() (inspection, error) {
	in, err := inspect(s.path)
	if err == nil && in.number != s.number {
		err = fmt.Errorf("%w: the file is segment %d", errDamaged, in.number)
	}
	return in, err
}
