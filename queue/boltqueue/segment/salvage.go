package segment

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

// salvageFrames is how many frames one transaction of a salvage copies.
const salvageFrames = 64

// Salvage sets a damaged segment file aside and puts what can be read of it in
// its place, under the same addresses. Nothing is thrown away: the damaged file
// stays beside the others, with the reason, which it returns in words.
func (s *File) Salvage(why error, step stepFunc, syncDir func() error) (in inspection, text string, err error) {
	file, err := os.Open(s.Path)
	if err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be scanned: %w", why, err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be scanned: %w", why, err)
	}
	found, err := Scan(file, info.Size())
	if err != nil {
		return in, "", err // written by another version: left untouched
	}
	b, lost := found.Settle()
	tmp := s.Path + ".tmp"
	if err := step("salvage.write", func() error { return found.write(tmp, s, b) }); err != nil {
		_ = Remove(tmp) // or at the next start
		return in, "", fmt.Errorf("%w; and what was found in it cannot be written: %w", why, err)
	}
	if err := s.Close(); err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be closed: %w", why, err)
	}
	// The damaged file keeps a name of its own before the new one takes its place.
	bad := s.Path + ".bad"
	for i := 2; ; i++ {
		err = step("salvage.link", func() error { return os.Link(s.Path, bad) })
		if !errors.Is(err, os.ErrExist) {
			break
		}
		bad = fmt.Sprintf("%s.bad-%d", s.Path, i)
	}
	if err == nil {
		err = step("salvage.rename", func() error { return os.Rename(tmp, s.Path) })
	}
	if err == nil {
		err = step("salvage.syncdir", syncDir)
	}
	if err != nil {
		return in, "", fmt.Errorf("%w; and it cannot be replaced: %w", why, err)
	}
	text = fmt.Sprintf("%s was damaged (%s): %d queued events and %d dead letters were saved, %s; the damaged file is kept as %s",
		filepath.Base(s.Path), strings.TrimPrefix(why.Error(), ErrDamaged.Error()+": "), b.Live, b.Dead, lost, filepath.Base(bad))
	_ = os.WriteFile(bad+".txt", []byte(text+"\n"), 0o600) // for a reader who comes after this process; an alarm says it too
	in, err = s.Verify()
	return in, text, err
}

// Places returns where frames of one kind were found, in order.
func (f *found) Places(k kind) []place {
	all := slices.Collect(maps.Keys(f.Frames))
	all = slices.DeleteFunc(all, func(p place) bool { return p.kind != k })
	slices.SortFunc(all, func(a, b place) int { return cmp.Compare(a.number, b.number) })
	return all
}

// Settle drops blocks whose events are all settled and marks that fit no
// block, and returns the book of what is left and what the loss is, in words.
func (f *found) Settle() (Counters, string) {
	b, events := newBook(), uint64(0)
	for _, p := range f.Places(KindBlock) {
		count := int(f.Frames[p].Count)
		events += uint64(count)
		stored, _ := f.value(place{kindMarks, p.number})
		m, err := blockMarks(stored, f.identity, p.number, count)
		if err != nil {
			m = Marks{States: make([]State, count)}
			delete(f.Frames, place{kindMarks, p.number})
		}
		t := TallyOf(m.States, m.Letters)
		if t.By[Live] == 0 && t.By[Dead] == 0 {
			delete(f.Frames, p)
			delete(f.Frames, place{kindMarks, p.number})
			continue
		}
		b.Live += uint64(t.By[Live])
		b.Dead += uint64(t.By[Dead])
		b.Delivered += uint64(t.By[Delivered])
		b.Discarded += uint64(t.By[Discarded])
		for i, n := range t.DeadBy {
			b.DeadBy[i] += uint64(n)
		}
		b.NextBlock = p.number + 1
	}
	for _, p := range f.Places(kindMarks) {
		if _, known := f.Frames[place{KindBlock, p.number}]; !known {
			delete(f.Frames, p)
		}
	}
	f.countRejects(&b)
	for _, p := range f.Places(kindText) {
		b.nextText = p.number + 1
	}
	return f.reconcile(b, events+b.Rejects)
}

func (f *found) countRejects(b *Counters) {
	for _, p := range f.Places(KindReject) {
		value, err := f.value(p)
		if err != nil {
			continue
		}
		fr, err := ParseFrame(value, KindReject, f.identity, p.number)
		if err != nil {
			continue
		}
		r, err := decodeReject(fr)
		if err != nil {
			delete(f.Frames, p)
			continue
		}
		b.Dead++
		b.Rejects++
		*b.bytesOf(r.Reason) += uint64(r.Cost())
		b.DeadBy[r.Reason]++
		b.NextReject = p.number + 1
	}
}

// reconcile accounts for what the old book knew and was not found, given the
// book of what was.
func (f *found) reconcile(b Counters, events uint64) (Counters, string) {
	if f.book == nil {
		b.Taken = b.Live + b.Dead + b.Delivered + b.Discarded
		return b, "what is missing is unknown"
	}
	old := *f.book
	had, have := old.Live+old.Dead, b.Live+b.Dead
	lost := f.lost(had, have, events)
	b.Delivered, b.Discarded, b.Lost = old.Delivered, old.Discarded, old.Lost+lost
	// What was settled and is found again is queued again.
	again := have + lost - had
	fromDelivered := min(b.Delivered, again)
	b.Delivered -= fromDelivered
	b.Discarded -= min(b.Discarded, again-fromDelivered)
	b.Taken = b.Live + b.Dead + b.Delivered + b.Discarded + b.Lost
	b.NextBlock = max(b.NextBlock, old.NextBlock)
	b.NextReject = max(b.NextReject, old.NextReject)
	b.nextText = max(b.nextText, old.nextText)
	return b, fmt.Sprintf("at most %d are lost", lost)
}

// lost bounds how many of the events the book had queued or dead are missing,
// when have are found that look like it, in places of events in all.
func (f *found) lost(had, have, events uint64) uint64 {
	least := had - min(had, have)
	switch w := f.shape.whole; {
	case w[BucketBlocks] && w[bucketRejects]:
		return least // nothing is missing
	case f.shape.sure && w[bucketMarks]:
		return least // what is found is what was left
	}
	// Some that look queued may be settled, hiding others that are missing.
	return max(least, min(had, f.book.Taken-min(f.book.Taken, events)))
}

// write puts what was found into a new segment file at path.
func (f *found) write(path string, seg *File, b Counters) error {
	fresh := &File{Number: seg.Number, noSync: seg.noSync, identity: f.identity, Stamp: f.newest(), Stored: b}
	if err := fresh.create(path); err != nil {
		return err
	}
	db, err := OpenBolt(path, fresh.Options())
	if err != nil {
		return err
	}
	for _, k := range []kind{KindBlock, kindMarks, KindReject, kindText} {
		for part := range slices.Chunk(f.Places(k), salvageFrames) {
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
	case KindBlock:
		return BucketBlocks
	case kindMarks:
		return bucketMarks
	case KindReject:
		return bucketRejects
	default:
		return bucketTexts
	}
}
