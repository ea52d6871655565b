package boltqueue

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// salvage sets a damaged segment file aside and puts what can be read of it in
// its place, under the same addresses. Nothing is thrown away: the damaged file
// stays beside the others, with the reason, which it returns in words.
func (s *file) salvage(why error, step stepFunc, syncDir func() error) (in inspection, text string, err error) {
	file, err := os.Open(s.path)
	if err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be scanned: %w", why, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be scanned: %w", why, err)
	}
	found, err := scan(file, info.Size())
	if err != nil {
		return in, "", err // written by another version: left untouched
	}
	b, lost := found.settle()
	tmp := s.path + ".tmp"
	if err := step("salvage.write", func() error { return found.write(tmp, s, b) }); err != nil {
		_ = remove(tmp) // or at the next start
		return in, "", fmt.Errorf("%w; and what was found in it cannot be written: %w", why, err)
	}
	if err := s.close(); err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be closed: %w", why, err)
	}
	// The damaged file keeps a name of its own before the new one takes its place.
	bad := s.path + ".bad"
	for i := 2; ; i++ {
		err = step("salvage.link", func() error { return os.Link(s.path, bad) })
		if !errors.Is(err, os.ErrExist) {
			break
		}
		bad = fmt.Sprintf("%s.bad-%d", s.path, i)
	}
	if err == nil {
		err = step("salvage.rename", func() error { return os.Rename(tmp, s.path) })
	}
	if err == nil {
		err = step("salvage.syncdir", syncDir)
	}
	if err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be replaced: %w", why, err)
	}
	text = fmt.Sprintf("%s was damaged (%s): %d queued events and %d dead letters were saved, %s; the damaged file is kept as %s",
		filepath.Base(s.path), strings.TrimPrefix(why.Error(), errDamaged.Error()+": "), b.live, b.dead, lost, filepath.Base(bad))
	_ = os.WriteFile(bad+".txt", []byte(text+"\n"), 0o600) // for a reader who comes after this process; an alarm says it too
	in, err = s.inspect()
	return in, text, err
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
	b, events := newBook(), uint64(0)
	for _, p := range f.places(kindBlock) {
		count := int(f.frames[p].count)
		events += uint64(count)
		stored, _ := f.value(place{kindMarks, p.number})
		m, err := blockMarks(stored, f.identity, p.number, count)
		if err != nil {
			m = marks{states: make([]state, count)}
			delete(f.frames, place{kindMarks, p.number})
		}
		t := tallyOf(m.states, m.letters)
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
	return f.reconcile(b, events+b.rejects)
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
		r, err := decodeReject(fr)
		if err != nil {
			delete(f.frames, p)
			continue
		}
		b.dead++
		b.rejects++
		*b.bytesOf(r.reason) += uint64(r.cost())
		b.deadBy[r.reason]++
		b.nextReject = p.number + 1
	}
}

// reconcile accounts for what the old book knew and was not found, given the
// book of what was.
func (f *found) reconcile(b book, events uint64) (book, string) {
	if f.book == nil {
		b.taken = b.live + b.dead + b.delivered + b.discarded
		return b, "what is missing is unknown"
	}
	old := *f.book
	had, have := old.live+old.dead, b.live+b.dead
	lost := f.lost(had, have, events)
	b.delivered, b.discarded, b.lost = old.delivered, old.discarded, old.lost+lost
	// What was settled and is found again is queued again.
	again := have + lost - had
	fromDelivered := min(b.delivered, again)
	b.delivered -= fromDelivered
	b.discarded -= min(b.discarded, again-fromDelivered)
	b.taken = b.live + b.dead + b.delivered + b.discarded + b.lost
	b.nextBlock = max(b.nextBlock, old.nextBlock)
	b.nextReject = max(b.nextReject, old.nextReject)
	b.nextText = max(b.nextText, old.nextText)
	return b, fmt.Sprintf("at most %d are lost", lost)
}

// lost bounds how many of the events the book had queued or dead are missing,
// when have are found that look like it, in places of events in all.
func (f *found) lost(had, have, events uint64) uint64 {
	least := had - min(had, have)
	switch w := f.shape.whole; {
	case w[bucketBlocks] && w[bucketRejects]:
		return least // nothing is missing
	case f.shape.sure && w[bucketMarks]:
		return least // what is found is what was left
	}
	// Some that look queued may be settled, hiding others that are missing.
	return max(least, min(had, f.book.taken-min(f.book.taken, events)))
}

// write puts what was found into a new segment file at path.
func (f *found) write(path string, seg *file, b book) error {
	fresh := &file{number: seg.number, noSync: seg.noSync, identity: f.identity, stamp: f.newest(), stored: b}
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
