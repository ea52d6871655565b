package boltqueue

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// maxFrame bounds what a scan believes to be one frame. The largest we write
// are the marks of a block of dead events.
const maxFrame = 4 << 20

// repair sets a damaged segment file aside and puts what can be read of it in
// its place, under the same addresses. Nothing is thrown away: the damaged
// file stays beside the line, with the reason.
func (q *Queue) repair(seg *segment, why error) (inspection, error) {
	found, err := scan(seg.path)
	if err != nil {
		return inspection{}, fmt.Errorf("%w; and it cannot be scanned: %w", why, err)
	}
	b, lost := found.settle()
	tmp := seg.path + ".tmp"
	if err := q.step("salvage.write", func() error { return found.write(tmp, seg, b) }); err != nil {
		_ = remove(tmp) // or at the next start
		return inspection{}, fmt.Errorf("%w; and what was found in it cannot be written: %w", why, err)
	}
	bad, err := q.exchange(seg.path, tmp)
	if err != nil {
		return inspection{}, fmt.Errorf("%w; and it cannot be replaced: %w", why, err)
	}
	text := fmt.Sprintf("%s was damaged (%v): %d queued events and %d dead letters were saved, %s; the damaged file is kept as %s",
		filepath.Base(seg.path), why, b.live, b.dead, lost, filepath.Base(bad))
	_ = os.WriteFile(bad+".txt", []byte(text+"\n"), 0o600) // for a reader who comes after this process; the alarm says it too
	q.raise(filepath.Base(seg.path), text)
	return seg.inspect()
}

// exchange gives the file at tmp the name path, keeping what had that name
// under another, which it returns.
func (q *Queue) exchange(path, tmp string) (bad string, err error) {
	bad = path + ".bad"
	for i := 2; ; i++ {
		err = q.step("salvage.link", func() error { return os.Link(path, bad) })
		if !errors.Is(err, os.ErrExist) {
			break
		}
		bad = fmt.Sprintf("%s.bad-%d", path, i)
	}
	if err == nil {
		err = q.step("salvage.rename", func() error { return os.Rename(tmp, path) })
	}
	if err == nil {
		err = q.step("salvage.syncdir", q.syncDir)
	}
	return bad, err
}

// found is what a scan found: where each frame lies, the newest of each place.
type found struct {
	file     string
	identity uint64
	frames   map[place]spot
	book     *book
}

type place struct {
	kind   kind
	number uint64
}

type spot struct {
	at    int64
	size  int
	stamp uint64
	count uint32
}

// scan looks for frames anywhere in the file, except in pages that a readable
// freelist calls free: those hold what was settled long ago.
func scan(path string) (*found, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	byIdentity := map[uint64]map[place]spot{}
	free := freeOf(f)
	err = eachFrame(f, func(fr frame, at int64, size int) {
		if free[uint64(at)/uint64(os.Getpagesize())] {
			return
		}
		frames := byIdentity[fr.identity]
		if frames == nil {
			frames = map[place]spot{}
			byIdentity[fr.identity] = frames
		}
		where := place{fr.kind, fr.number}
		if old, known := frames[where]; !known || fr.stamp >= old.stamp {
			frames[where] = spot{at: at, size: size, stamp: fr.stamp, count: fr.count}
		}
	})
	if err != nil {
		return nil, err
	}
	return choose(path, byIdentity), nil
}

// choose takes the identity with the most frames: a file may hold traces of
// another.
func choose(path string, byIdentity map[uint64]map[place]spot) *found {
	best := &found{file: path, identity: newIdentity()}
	for identity, frames := range byIdentity {
		if len(frames) > len(best.frames) {
			best.identity, best.frames = identity, frames
		}
	}
	if value, err := best.value(place{kind: kindBook}); err == nil {
		if f, err := parseFrame(value, kindBook, best.identity, 0); err == nil {
			if b, err := decodeBook(f.payload); err == nil {
				best.book = &b
			}
		}
	}
	return best
}

// freeOf returns the pages that are free by a freelist that can be trusted:
// one that both meta pages vouch for.
func freeOf(f *os.File) map[uint64]bool {
	free := map[uint64]bool{}
	p, err := openPages(f)
	if err != nil {
		return free
	}
	ids, err := p.freePages()
	if err != nil {
		return free
	}
	for _, id := range ids {
		free[id] = true
	}
	return free
}

// eachFrame calls do for every sound frame in the file, in order.
func eachFrame(f *os.File, do func(fr frame, at int64, size int)) error {
	const step = 1 << 20
	buf := make([]byte, step+headerSize)
	for base := int64(0); ; base += step {
		n, err := f.ReadAt(buf, base)
		for at := 0; ; at++ {
			i := bytes.Index(buf[at:n], []byte(magic))
			if i < 0 || at+i >= step {
				break
			}
			at += i
			if fr, size, ok := frameAt(f, base+int64(at), buf[at:n]); ok {
				do(fr, base+int64(at), size)
			}
		}
		if n < len(buf) {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// frameAt reads the frame whose header begins head, if it is sound.
func frameAt(f *os.File, at int64, head []byte) (frame, int, bool) {
	if len(head) < headerSize {
		return frame{}, 0, false
	}
	le := binary.LittleEndian
	size := int64(le.Uint32(head[36:])) + headerSize
	if size > maxFrame {
		return frame{}, 0, false
	}
	value := make([]byte, size)
	if _, err := f.ReadAt(value, at); err != nil {
		return frame{}, 0, false
	}
	fr, err := parseFrame(value, kind(value[4]), 0, le.Uint64(value[16:]))
	return fr, int(size), err == nil
}

// value reads the frame of a place again.
func (f *found) value(where place) ([]byte, error) {
	s, known := f.frames[where]
	if !known {
		return nil, os.ErrNotExist
	}
	file, err := os.Open(f.file)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	value := make([]byte, s.size)
	_, err = file.ReadAt(value, s.at)
	return value, err
}

// places returns where frames of one kind were found, in order.
func (f *found) places(k kind) []place {
	all := slices.Collect(maps.Keys(f.frames))
	all = slices.DeleteFunc(all, func(p place) bool { return p.kind != k })
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.number, b.number) })
	return all
}

// settle drops blocks whose events are all settled and marks that fit no
// block, and returns the book of what is left and what the loss is, in words.
func (f *found) settle() (book, string) {
	b := newBook()
	for _, p := range f.places(kindBlock) {
		count := int(f.frames[p].count)
		marks, _ := f.value(place{kindMarks, p.number})
		st, letters, err := blockMarks(marks, f.identity, p.number, count)
		if err != nil {
			st, letters = make([]state, count), nil
			delete(f.frames, place{kindMarks, p.number})
		}
		t := tallyOf(st, letters)
		if t.by[live] == 0 && t.by[dead] == 0 {
			delete(f.frames, p)
			delete(f.frames, place{kindMarks, p.number})
			continue
		}
		b.live += uint64(t.by[live])
		b.dead += uint64(t.by[dead])
		b.delivered += uint64(t.by[delivered])
		b.discarded += uint64(t.by[discarded])
		for i, n := range t.deadBy {
			b.deadBy[i] += uint64(n)
		}
		b.nextBlock = p.number + 1
	}
	for _, p := range f.places(kindMarks) {
		if _, known := f.frames[place{kindBlock, p.number}]; !known {
			delete(f.frames, p)
		}
	}
	f.countRejects(&b)
	for _, p := range f.places(kindText) {
		b.nextText = p.number + 1
	}
	return f.reconcile(b)
}

func (f *found) countRejects(b *book) {
	for _, p := range f.places(kindReject) {
		value, err := f.value(p)
		if err != nil {
			continue
		}
		fr, err := parseFrame(value, kindReject, f.identity, p.number)
		if err != nil {
			continue
		}
		reason, _, body, err := decodeReject(fr)
		if err != nil || reasonCode(reason) == 0 {
			delete(f.frames, p)
			continue
		}
		b.dead++
		b.rejects++
		b.rejectBytes += uint64(len(body))
		b.deadBy[reasonCode(reason)]++
		b.nextReject = p.number + 1
	}
}

// reconcile accounts for what the old book knew and was not found.
func (f *found) reconcile(b book) (book, string) {
	if f.book == nil {
		b.taken = b.live + b.dead + b.delivered + b.discarded
		return b, "what is missing is unknown"
	}
	old := *f.book
	had, have := old.live+old.dead, b.live+b.dead
	b.delivered, b.discarded, b.lost = old.delivered, old.discarded, old.lost
	if have < had {
		b.lost += had - have
	} else {
		// What was settled and is found again is queued again.
		b.delivered -= min(b.delivered, have-had)
	}
	b.taken = b.live + b.dead + b.delivered + b.discarded + b.lost
	b.nextBlock = max(b.nextBlock, old.nextBlock)
	b.nextReject = max(b.nextReject, old.nextReject)
	b.nextText = max(b.nextText, old.nextText)
	return b, fmt.Sprintf("at most %d are lost", b.lost-old.lost)
}

// write puts what was found into a new segment file at path.
func (f *found) write(path string, seg *segment, b book) error {
	fresh := &segment{number: seg.number, noSync: seg.noSync, identity: f.identity, stored: b}
	if err := fresh.create(path); err != nil {
		return err
	}
	db, err := openBolt(path, fresh.options())
	if err != nil {
		return err
	}
	for _, k := range []kind{kindBlock, kindMarks, kindReject, kindText} {
		for part := range slices.Chunk(f.places(k), flushBlocks) {
			err = errors.Join(err, db.Update(func(tx *bolt.Tx) error { return f.copyTo(tx, part) }))
		}
	}
	return errors.Join(err, db.Close())
}

func (f *found) copyTo(tx *bolt.Tx, part []place) error {
	for _, p := range part {
		value, err := f.value(p)
		if err != nil {
			return err
		}
		if err := tx.Bucket([]byte(bucketOf(p.kind))).Put(numberKey(p.number), value); err != nil {
			return err
		}
	}
	return nil
}

// bucketOf is the bucket that numbered frames of a kind lie in.
func bucketOf(k kind) string {
	switch k {
	case kindBlock:
		return bucketBlocks
	case kindMarks:
		return bucketMarks
	case kindReject:
		return bucketRejects
	default:
		return bucketTexts
	}
}
