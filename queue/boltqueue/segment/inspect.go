package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// ErrNoFile means that something else than a file has the name of one.
var ErrNoFile = errors.New("not a regular file")

// inspection is what a walk through a segment file found.
type inspection struct {
	Identity uint64
	number   uint64
	Counters Counters
	Stamp    uint64    // of the book: the newest there is
	Oldest   time.Time // when the first event that is queued was taken
	Size     int64     // bytes that bbolt uses
	Free     int64     // of those, in free pages
}

// Verify walks the segment file at path and checks everything in it: pages,
// frames, marks, and the book against what it tells of. bbolt never opens a
// file that has not passed, for what bbolt does with a damaged one is measured:
// a truncated map is a fault, a page that points at itself overflows the
// stack, a changed count silently hides what was acknowledged.
func Verify(path string) (inspection, error) {
	info, err := os.Stat(path)
	if err != nil {
		return inspection{}, err
	}
	if !info.Mode().IsRegular() {
		return inspection{}, fmt.Errorf("%w: %s", ErrNoFile, path) // opening a pipe would wait
	}
	f, err := os.Open(path)
	if err != nil {
		return inspection{}, err
	}
	defer f.Close()
	in, err := InspectPages(f, info.Size())
	if errors.Is(err, ErrDamaged) {
		// What is strange to us may be another trackd's.
		if _, foreign := Scan(f, info.Size()); foreign != nil {
			return inspection{}, foreign
		}
	}
	return in, err
}

func InspectPages(file io.ReaderAt, size int64) (inspection, error) {
	p, err := OpenPages(file, size)
	if err != nil {
		return inspection{}, err
	}
	in := inspector{blocks: map[uint64]frame{}, marks: map[uint64][]byte{}}
	if err := p.Walk(in.visit); err != nil {
		return inspection{}, err
	}
	in.Size = int64(p.Meta.End) * p.Meta.PageSize
	in.Free = int64(p.free) * p.Meta.PageSize
	return in.inspection, in.recount()
}

// inspector gathers what a walk shows.
type inspector struct {
	inspection
	heads, books        int
	blocks              map[uint64]frame // by number, without payload
	marks               map[uint64][]byte
	live, dead, rejects uint64   // recounted
	rejectCosts         Counters // recounted: rejectBytes and sampleBytes
	deadBy              [ReasonSlots]uint64
}

// visit checks one item.
func (in *inspector) visit(bucket string, key, value []byte) error {
	var err error
	switch bucket {
	case BucketSegment:
		err = in.visitSegment(string(key), value)
	case BucketBlocks:
		var f frame
		if f, err = in.frame(value, KindBlock, KeyNumber(key)); err == nil {
			f.Payload = nil
			in.blocks[f.number] = f
			in.live += uint64(f.Count) // less what marks say
		}
	case bucketMarks:
		in.marks[KeyNumber(key)] = append([]byte(nil), value...)
	case bucketRejects:
		var f frame
		if f, err = in.frame(value, KindReject, KeyNumber(key)); err == nil {
			var r Reject
			if r, err = decodeReject(f); err == nil {
				*in.rejectCosts.bytesOf(r.Reason) += uint64(r.Cost())
				in.deadBy[r.Reason]++
			}
			in.rejects++
		}
	case bucketTexts:
		_, err = in.frame(value, kindText, KeyNumber(key))
	default:
		err = fmt.Errorf("%w: no bucket of ours", ErrDamaged)
	}
	if err != nil {
		return fmt.Errorf("%s %d: %w", bucket, KeyNumber(key), err)
	}
	return nil
}

func (in *inspector) visitSegment(key string, value []byte) error {
	switch key {
	case KeyHead:
		in.heads++
		f, err := in.frame(value, KindHead, 0)
		if err == nil {
			in.number, err = decodeHead(f.Payload)
		}
		return err
	case keyBook:
		in.books++
		f, err := in.frame(value, kindBook, 0)
		if err == nil {
			in.Stamp = f.stamp
			in.Counters, err = decodeCounters(f.Payload)
		}
		return err
	}
	return fmt.Errorf("%w: unknown key %q", ErrDamaged, key)
}

// frame parses a value; all frames of a file have the same identity.
func (in *inspector) frame(value []byte, want kind, number uint64) (frame, error) {
	f, err := ParseFrame(value, want, in.Identity, number)
	in.Identity = f.identity
	return f, err
}

// recount holds the book against what was found.
func (in *inspector) recount() error {
	if in.heads != 1 || in.books != 1 {
		return fmt.Errorf("%w: %d heads and %d books", ErrDamaged, in.heads, in.books)
	}
	var errs []error
	for n, value := range in.marks {
		if err := in.subtract(n, value); err != nil {
			errs = append(errs, fmt.Errorf("marks %d: %w", n, err))
		}
	}
	in.dead += in.rejects
	got := Counters{Live: in.live, Dead: in.dead, Rejects: in.rejects, DeadBy: in.deadBy,
		RejectBytes: in.rejectCosts.RejectBytes, SampleBytes: in.rejectCosts.SampleBytes}
	want := Counters{Live: in.Counters.Live, Dead: in.Counters.Dead, Rejects: in.Counters.Rejects, DeadBy: in.Counters.DeadBy,
		RejectBytes: in.Counters.RejectBytes, SampleBytes: in.Counters.SampleBytes}
	if len(errs) == 0 && got != want {
		errs = append(errs, fmt.Errorf("%w: the counters say %+v, the file holds %+v", ErrDamaged, want, got))
	}
	var first uint64
	for number, f := range in.blocks {
		if first == 0 || number < first {
			first, in.Oldest = number, timeOf(f.stamp)
		}
	}
	return errors.Join(errs...)
}

// subtract takes what marks say is settled from what a block brought.
func (in *inspector) subtract(number uint64, value []byte) error {
	block, known := in.blocks[number]
	count := block.Count
	if !known {
		return fmt.Errorf("%w: there is no such block", ErrDamaged)
	}
	m, err := blockMarks(value, in.Identity, number, int(count))
	if err != nil {
		return err
	}
	t := TallyOf(m.States, m.Letters)
	if t.By[Live] == 0 {
		delete(in.blocks, number) // of no account for the oldest
	}
	for i, n := range t.DeadBy {
		in.deadBy[i] += uint64(n)
	}
	in.live -= uint64(int(count) - t.By[Live])
	in.dead += uint64(t.By[Dead])
	return nil
}

// encodeHead is the inverse of decodeHead.
func encodeHead(format, number uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, format), number)
}

// decodeHead returns the number of a segment, or ErrNewer or ErrOlder.
func decodeHead(payload []byte) (number uint64, err error) {
	r := Reader{Buf: payload}
	format, number := r.Uvarint(), r.Uvarint()
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

// Verify walks the file and checks that it is this segment's.
func (s *File) Verify() (inspection, error) {
	in, err := Verify(s.Path)
	if err == nil && in.number != s.Number {
		err = fmt.Errorf("%w: the file is segment %d", ErrDamaged, in.number)
	}
	return in, err
}
