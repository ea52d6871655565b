// Package segment is one file of a queue: events in blocks, what became of them
// in marks, and counters that must balance, in a bbolt database.
//
// It knows no queue, no lease and no caller: it lays a file out, stores and reads
// what it is given in transactions, walks a file before bbolt opens it, saves what
// a damaged one still shows, and rewrites one that has become sparse. A [File] is
// safe for concurrent use but for its Stored counters and what is beside them,
// which belong to the one who writes.
//
// Reading order: layout.go (the format), block.go, codec.go, marks.go, reject.go
// and book.go (what is stored), file.go (open, enter, create), write.go, read.go,
// then pages.go, inspect.go (the walk), scan.go, salvage.go, compact.go, disk*.go.
package segment

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	// DefaultSegmentBytes is where a segment is full and the next is begun.
	DefaultSegmentBytes = 32 << 20

	// growBytes is the step in which bbolt lengthens a file, one fsync each.
	growBytes = 2 << 20
)

// stepFunc does one thing that a crash may interrupt, at a point that tests know
// by its name.
type stepFunc func(point string, effect func() error) error

// File is one segment file: a complete little queue with counters of its own
// that must balance. Nothing ever moves between files.
type File struct {
	Number uint64
	Path   string
	packer *Packer
	noSync bool // tests only: break the promise to see the proof fail

	// mu serialises every entry into bbolt, so that nobody ever waits inside it:
	// a panic in there may leave bbolt's own locks held.
	Mu       sync.Mutex
	DB       *bolt.DB  // nil while closed
	opened   *os.File  // that db reads and writes, and closes
	named    bool      // the file had a name when it was last looked at
	identity uint64    // known once opened
	Used     time.Time // when somebody last entered
	broken   error     // bbolt panicked here: never entered again in this process

	// Owned by whoever writes: the writer goroutine of a queue.
	Stored Counters          // what the file says
	Stamp  uint64            // of the last commit: the newest in the file
	Size   int64             // of the file, as far as bbolt has used it; changed under mu
	Free   int64             // of size, in free pages
	texts  map[string]uint64 // details already stored, as far as worth remembering
}

// NewFile returns the segment that lies, or will, in dir under a number.
func NewFile(dir string, number uint64, p *Packer, noSync bool) *File {
	return &File{Number: number, Path: SegmentPath(dir, number), packer: p, noSync: noSync}
}

func SegmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%08d.seg", number))
}

// Make lays a new, empty segment out and reserves disk for it, durably before it
// returns. reserved is false where the filesystem cannot.
func (s *File) Make(step stepFunc, reservation int64, syncDir func() error) (reserved bool, err error) {
	s.identity, s.Stored = newIdentity(), newBook()
	tmp := s.Path + ".tmp"
	err = step("create.write", func() error { return s.create(tmp) })
	if err == nil {
		err = step("create.reserve", func() (err error) {
			reserved, err = reserve(tmp, reservation)
			return err
		})
	}
	if err != nil {
		_ = Remove(tmp) // or at the next start
		return false, fmt.Errorf("make segment %d: %w", s.Number, err)
	}
	err = step("create.rename", func() error { return os.Rename(tmp, s.Path) })
	if err == nil {
		err = step("create.syncdir", syncDir)
	}
	if err != nil {
		_ = Remove(tmp) // or at the next start
		// Or each attempt would leave an empty segment behind.
		undo := step("create.undo", func() error { return Remove(s.Path) })
		return false, fmt.Errorf("make segment %d: %w", s.Number, errors.Join(err, undo))
	}
	return reserved, nil
}

// create lays out an empty segment in a new file at path, with the book it has
// in memory.
func (s *File) create(path string) error {
	if err := Remove(path); err != nil {
		return err
	}
	db, err := OpenBolt(path, s.Options())
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error { return s.layOut(tx) })
	return errors.Join(err, db.Close())
}

func (s *File) layOut(tx *bolt.Tx) error {
	for _, name := range BucketNames() {
		if _, err := tx.CreateBucket([]byte(name)); err != nil {
			return err
		}
	}
	f := frame{kind: KindHead, identity: s.identity, stamp: s.Stamp, Payload: encodeHead(formatVersion, s.Number)}
	if err := tx.Bucket([]byte(BucketSegment)).Put([]byte(KeyHead), f.Encode()); err != nil {
		return err
	}
	return s.PutBook(tx, s.Stored)
}

func (s *File) Options() *bolt.Options {
	return &bolt.Options{
		InitialMmapSize: DefaultSegmentBytes + DefaultSegmentBytes/4, // never mapped anew, so writers never wait for readers
		NoSync:          s.noSync,
		FreelistType:    bolt.FreelistMapType,
		PreLoadFreelist: true,
		Timeout:         time.Second, // for its lock: somebody may be looking at the file
	}
}

// OpenBolt opens a bbolt file that grows in small steps.
func OpenBolt(path string, opts *bolt.Options) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, opts)
	if err != nil {
		return nil, err
	}
	db.AllocSize = growBytes
	return db, nil
}

func newIdentity() uint64 {
	var raw [8]byte
	rand.Read(raw[:])
	return binary.LittleEndian.Uint64(raw[:]) | 1 // never zero, which stands for unknown
}

// Enter runs fn with the open database, alone in it. A fault or panic inside
// bbolt becomes an error and closes the segment to everyone for good.
func (s *File) Enter(fn func(*bolt.DB) error) (err error) {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s.broken = fmt.Errorf("segment %d: %w: bbolt: %v", s.Number, ErrDamaged, p)
			s.DB = nil // abandoned, not closed: its locks may be held
			err = s.broken
		}
	}()
	if err := s.open(); err != nil {
		return err
	}
	if err := s.lookAt(s.opened); err != nil {
		return err // nothing in the map may be touched
	}
	s.Used = time.Now()
	return fn(s.DB)
}

// lookAt notes whether the file still has a name, and checks that nobody cut it
// short. The caller holds mu.
func (s *File) lookAt(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("segment %d: stat: %w", s.Number, err)
	}
	s.named = hasName(info)
	if info.Size() < s.Size {
		return fmt.Errorf("segment %d: %w: it was cut from %d bytes to %d", s.Number, ErrDamaged, s.Size, info.Size())
	}
	return nil
}

// ErrNotOpened means that a file could not be opened, and nothing was written.
var ErrNotOpened = errors.New("not opened")

// open opens the file if it is closed. The caller holds mu.
func (s *File) open() error {
	if s.DB != nil {
		return nil
	}
	opts := s.Options()
	opts.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag&^os.O_CREATE, mode) // a segment that is gone stays gone
		if err != nil {
			return nil, err
		}
		s.opened = f // bbolt closes it, also when it cannot open what is in it
		return f, s.lookAt(f)
	}
	db, err := OpenBolt(s.Path, opts)
	if err != nil {
		return fmt.Errorf("%w: segment %d: %w", ErrNotOpened, s.Number, err)
	}
	if err := db.View(func(tx *bolt.Tx) error { return s.readHead(tx) }); err != nil {
		return fmt.Errorf("open segment %d: %w", s.Number, errors.Join(err, db.Close()))
	}
	s.DB = db
	return nil
}

// ErrNewer and ErrOlder mean that another trackd wrote the queue, in a format
// this one does not know. Nothing was touched.
var (
	ErrNewer = errors.New("the queue was written by a newer trackd")
	ErrOlder = errors.New("the queue was written by an older trackd")
)

func (s *File) readHead(tx *bolt.Tx) error {
	for _, name := range BucketNames() {
		if tx.Bucket([]byte(name)) == nil {
			return fmt.Errorf("%w: no bucket %q", ErrDamaged, name)
		}
	}
	f, err := ParseFrame(tx.Bucket([]byte(BucketSegment)).Get([]byte(KeyHead)), KindHead, 0, 0)
	if err != nil {
		return fmt.Errorf("head: %w", err)
	}
	number, err := decodeHead(f.Payload)
	switch {
	case err != nil:
		return err
	case number != s.Number:
		return fmt.Errorf("%w: the file is segment %d", ErrDamaged, number)
	}
	s.identity = f.identity
	return nil
}

// view runs fn in a read transaction. What fn keeps it must copy.
func (s *File) view(fn func(*bolt.Tx) error) error {
	return s.Enter(func(db *bolt.DB) error { return db.View(fn) })
}

// Update runs fn in a write transaction, durable when update returns nil, and
// keeps the size in step.
func (s *File) Update(fn func(*bolt.Tx) error) error {
	return s.Enter(func(db *bolt.DB) error {
		if !s.named { // what is written to it is lost
			return fmt.Errorf("segment %d: %w: somebody removed its file", s.Number, ErrDamaged)
		}
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		defer tx.Rollback() // does nothing after a commit
		s.Stamp++           // transaction numbers begin anew when a file is rewritten
		if err := fn(tx); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		return s.Measure(db)
	})
}

// Measure notes how much of the file is used and how much of that is free.
func (s *File) Measure(db *bolt.DB) error {
	return db.View(func(tx *bolt.Tx) error {
		st := db.Stats()
		s.Size, s.Free = tx.Size(), int64(st.FreePageN+st.PendingPageN)*int64(db.Info().PageSize)
		return nil
	})
}

// Close lets go of the file; the next enter opens it again.
func (s *File) Close() error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	return s.letGo()
}

// End closes the segment for good: whoever enters is told why.
func (s *File) End(why error) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	if s.broken == nil {
		s.broken = why
	}
	return s.letGo()
}

// letGo is close for a caller that holds mu.
func (s *File) letGo() error {
	if s.DB == nil {
		return nil
	}
	db := s.DB
	s.DB, s.texts = nil, nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("close segment %d: %w", s.Number, err)
	}
	return nil
}

func (s *File) PutBook(tx *bolt.Tx, b Counters) error {
	f := frame{kind: kindBook, identity: s.identity, stamp: s.Stamp, Payload: b.encode()}
	return tx.Bucket([]byte(BucketSegment)).Put([]byte(keyBook), f.Encode())
}
