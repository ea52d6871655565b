package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

const (
	// maxFrame bounds what a scan believes to be one frame. The largest we write
	// are the marks of a block of dead events.
	maxFrame = 4 << 20

	// maxScan bounds how much of a file is searched, far beyond a segment's
	// size: a file that was stretched must not hold up the start.
	maxScan = 1 << 30
)

// found is what a scan found: where each frame lies, the newest of each place.
type found struct {
	file     io.ReaderAt
	shape    shape
	identity uint64
	Frames   map[place]spot
	book     *Counters // nil: no book survived, or not surely the newest
}

type place struct {
	kind   kind
	number uint64
}

type spot struct {
	at    int64
	size  int
	stamp uint64
	Count uint32
}

// Scan looks for frames anywhere in the file, except in pages that bbolt's
// own structure shows to be free: those hold what was settled long ago.
// ErrNewer or ErrOlder when another trackd wrote it.
func Scan(file io.ReaderAt, size int64) (*found, error) {
	f := &found{file: file, shape: shapeOf(file, size)}
	byIdentity := map[uint64]map[place]spot{}
	var foreign error
	eachFrame(file, size, func(fr frame, at int64, size int) {
		if s := f.shape; len(s.free) > 0 && s.free[uint64(at)/uint64(s.pageSize)] {
			return
		}
		if fr.kind == KindHead {
			if _, err := decodeHead(fr.Payload); errors.Is(err, ErrNewer) || errors.Is(err, ErrOlder) {
				foreign = err
			}
		}
		frames := byIdentity[fr.identity]
		if frames == nil {
			frames = map[place]spot{}
			byIdentity[fr.identity] = frames
		}
		where := place{fr.kind, fr.number}
		if old, known := frames[where]; !known || fr.stamp >= old.stamp {
			frames[where] = spot{at: at, size: size, stamp: fr.stamp, Count: fr.Count}
		}
	})
	f.choose(byIdentity)
	return f, foreign
}

// choose takes the identity with the most frames: a file may hold traces of
// another.
func (f *found) choose(byIdentity map[uint64]map[place]spot) {
	f.identity = newIdentity()
	for identity, frames := range byIdentity {
		if n := len(frames) - len(f.Frames); n > 0 || n == 0 && identity < f.identity {
			f.identity, f.Frames = identity, frames
		}
	}
	if !f.shape.current {
		return
	}
	value, err := f.value(place{kind: kindBook})
	if err != nil {
		return
	}
	fr, err := ParseFrame(value, kindBook, f.identity, 0)
	if err != nil {
		return
	}
	if b, err := decodeCounters(fr.Payload); err == nil && fr.stamp >= f.shape.least && !f.outgrew(b) {
		f.book = &b
	}
}

// outgrew reports whether something was found that was stored after b.
func (f *found) outgrew(b Counters) bool {
	for p := range f.Frames {
		if p.kind == KindBlock && p.number >= b.NextBlock || p.kind == KindReject && p.number >= b.NextReject {
			return true
		}
	}
	return false
}

// value reads the frame of a place again.
func (f *found) value(where place) ([]byte, error) {
	s, known := f.Frames[where]
	if !known {
		return nil, os.ErrNotExist
	}
	value := make([]byte, s.size)
	_, err := f.file.ReadAt(value, s.at)
	return value, err
}

// newest is the greatest stamp of what is not stamped with a time.
func (f *found) newest() (stamp uint64) {
	for p, s := range f.Frames {
		if p.kind != KindBlock && p.kind != KindReject {
			stamp = max(stamp, s.stamp)
		}
	}
	return stamp
}

// shape is what bbolt's own structure still shows of a damaged file.
type shape struct {
	pageSize int64
	free     map[uint64]bool // pages that surely hold nothing any more
	whole    map[string]bool // buckets that can be read to the last item
	sure     bool            // free lacks nothing: all that is found is in use
	current  bool            // the newest book found, if of stamp least or later, is the newest there was
	least    uint64
}

// shapeOf reads as much structure as there is. Pages are believed to be free
// by a freelist that both metas vouch for and the buckets do not contradict.
func shapeOf(file io.ReaderAt, size int64) shape {
	s := shape{whole: map[string]bool{}}
	p, err := openCut(file, size)
	if err != nil {
		s.least, s.current = newestStamp(file, size)
		return s
	}
	s.pageSize = p.Meta.PageSize
	ids, err := p.FreePages()
	buckets, _ := p.buckets() // those before the damage, if any
	for _, b := range buckets {
		s.whole[b.name] = p.walkBucket(b, CheckFrame) == nil
	}
	s.current = p.complete() == nil && s.whole[BucketSegment]
	if err != nil {
		return s
	}
	free, contradicted := map[uint64]bool{}, false
	for _, id := range ids {
		if id >= p.Meta.End || p.seen[id] {
			contradicted = true
			continue
		}
		free[id] = true
	}
	for id := range free {
		p.seen[id] = true
	}
	all := !slices.ContainsFunc(BucketNames(), func(name string) bool { return !s.whole[name] })
	switch {
	case contradicted && !all:
		return s // which of the two is wrong nobody can tell
	case all && slices.Contains(p.seen, false):
		s.whole = map[string]bool{} // pages are missing from both
		s.free = free
		return s
	}
	s.free, s.sure, s.current = free, true, true
	return s
}

// newestStamp returns the stamp that the counters found in a file with one
// broken meta page must have to be the newest there were; ok is false when that
// is unknown. What the sound meta page leads to is one transaction behind if the
// broken one was the newer, which its number, though unchecked, tells.
func newestStamp(file io.ReaderAt, size int64) (stamp uint64, ok bool) {
	p := &pageFile{file: file, size: size}
	m, err := p.readMeta(0, 0)
	other := m.PageSize
	for at := int64(1 << 10); at <= 64<<10 && err != nil; at *= 2 {
		m, err = p.readMeta(1, at)
		other = 0
	}
	if err != nil || m.End < 4 || m.End > maxPages || int64(m.End)*m.PageSize > size {
		return 0, false
	}
	p.Meta, p.seen = m, make([]bool, m.End)
	buckets, _ := p.buckets()
	for _, b := range buckets {
		if b.name != BucketSegment {
			continue
		}
		err = p.walkBucket(b, func(_ string, key, value []byte) error {
			if f, err := ParseFrame(value, kindBook, 0, 0); err == nil && string(key) == keyBook {
				stamp, ok = f.stamp, true
			}
			return nil
		})
	}
	txid := make([]byte, 8)
	if _, err := file.ReadAt(txid, other+pageHeaderSize+48); err == nil && binary.LittleEndian.Uint64(txid) == m.txid+1 {
		stamp++
	}
	return stamp, ok && err == nil
}

// CheckFrame checks that an item is a frame of its place.
func CheckFrame(bucket string, key, value []byte) error {
	if bucket == BucketSegment {
		return nil // judged by whether a book is found
	}
	for _, k := range []kind{KindBlock, kindMarks, KindReject, kindText} {
		if bucketOf(k) == bucket {
			_, err := ParseFrame(value, k, 0, KeyNumber(key))
			return err
		}
	}
	return fmt.Errorf("%w: no bucket of ours", ErrDamaged)
}

// eachFrame calls do for every sound frame in the file, in order. It does not
// look inside sound frames, and what cannot be read is passed over.
func eachFrame(file io.ReaderAt, size int64, do func(fr frame, at int64, size int)) {
	w := &window{file: file, end: min(size, maxScan)}
	for at, ok := w.find(0); ok; at, ok = w.find(at) {
		fr, n, sound := w.frame(at)
		if !sound {
			at++
			continue
		}
		do(fr, at, n)
		at += int64(n)
	}
}

// window reads a file in large steps.
type window struct {
	file io.ReaderAt
	end  int64 // of what is looked at
	base int64
	buf  []byte // what lies at base
}

// find returns where the next frame may begin, from at on.
func (w *window) find(at int64) (int64, bool) {
	for at+headerSize <= w.end {
		w.load(at)
		if i := bytes.Index(w.buf[at-w.base:], []byte(magic)); i >= 0 {
			return at + int64(i), true
		}
		at = w.base + int64(len(w.buf)-len(magic)+1)
	}
	return 0, false
}

// load makes buf hold at least a header at at, which there is.
func (w *window) load(at int64) {
	const step = 1 << 20
	if have := w.base + int64(len(w.buf)); at >= w.base && (at+headerSize <= have || have == w.end) {
		return
	}
	if w.buf == nil {
		w.buf = make([]byte, step)
	}
	w.base, w.buf = at, w.buf[:min(step, w.end-at)]
	readOver(w.file, w.buf, at)
}

// readOver fills buf with what lies at at. A page that cannot be read, as on a
// bad sector, reads as zeros.
func readOver(file io.ReaderAt, buf []byte, at int64) {
	if _, err := file.ReadAt(buf, at); err == nil {
		return
	}
	for rest := buf; len(rest) > 0; {
		part := rest[:min(len(rest), os.Getpagesize())]
		n, _ := file.ReadAt(part, at)
		clear(part[n:])
		at += int64(len(part))
		rest = rest[len(part):]
	}
}

// frame reads the frame that begins at at, if there is one and it is sound.
func (w *window) frame(at int64) (frame, int, bool) {
	if at+headerSize > w.end {
		return frame{}, 0, false
	}
	w.load(at)
	head, le := w.buf[at-w.base:][:headerSize], binary.LittleEndian
	size := int64(le.Uint32(head[36:])) + headerSize
	k := kind(head[4])
	if k < KindHead || k > kindText || size > maxFrame || at+size > w.end {
		return frame{}, 0, false
	}
	value := make([]byte, size)
	if _, err := w.file.ReadAt(value, at); err != nil {
		return frame{}, 0, false
	}
	fr, err := ParseFrame(value, k, 0, le.Uint64(head[16:]))
	return fr, int(size), err == nil
}
