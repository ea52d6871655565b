package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
)

// bbolt's page format, as far as the walk needs it (bbolt's internal/common:
// page.go, meta.go, inode.go). Version 2 has been its only format since 2014.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeaderSize = 16 // id u64, flags u16, count u16, overflow u32
	metaSize       = 64
	branchElemSize = 16 // pos u32, key size u32, page u64
	leafElemSize   = 16 // flags u32, pos u32, key size u32, value size u32
	bucketHeader   = 16 // root page u64, sequence u64

	FlagBranch   = 0x01
	FlagLeaf     = 0x02
	flagFreelist = 0x10

	leafIsBucket = 0x01

	maxDepth = 32      // of a tree; a full segment has 3
	maxPages = 1 << 24 // of a file; a full segment has 10,000
)

// meta is one of bbolt's two meta pages.
type meta struct {
	PageSize                  int64
	root, Freelist, End, txid uint64 // end is the first page never used
}

// pageFile reads a bbolt file page by page, without mapping it: a mapped file
// that is cut short is a fault that cannot be recovered from.
type pageFile struct {
	file io.ReaderAt
	size int64
	Meta meta
	seen []bool // pages met so far, each may be met once
	free int    // pages that are free
}

// OpenPages checks both meta pages of the file and returns it ready to walk.
func OpenPages(file io.ReaderAt, size int64) (*pageFile, error) {
	p, err := openCut(file, size)
	if err != nil {
		return nil, err
	}
	return p, p.complete()
}

// openCut is openPages for a file that may be shorter than it should be.
func openCut(file io.ReaderAt, size int64) (*pageFile, error) {
	p := &pageFile{file: file, size: size}
	first, err := p.readMeta(0, 0)
	if err != nil {
		return nil, fmt.Errorf("first meta page: %w", err)
	}
	second, err := p.readMeta(1, first.PageSize)
	if err != nil {
		return nil, fmt.Errorf("second meta page: %w", err)
	}
	newer, older := first, second
	if second.txid > first.txid {
		newer, older = second, first
	}
	switch {
	case newer.txid != older.txid+1:
		return nil, fmt.Errorf("%w: the meta pages are of transactions %d and %d, not neighbours", ErrDamaged, older.txid, newer.txid)
	case newer.End < 4 || newer.End > maxPages:
		return nil, fmt.Errorf("%w: %d pages in use, no number of pages of ours", ErrDamaged, newer.End)
	}
	p.Meta, p.seen = newer, make([]bool, newer.End)
	p.seen[0], p.seen[1] = true, true
	return p, nil
}

// complete checks that the file is as long as its meta pages say.
func (p *pageFile) complete() error {
	if int64(p.Meta.End)*p.Meta.PageSize > p.size {
		return fmt.Errorf("%w: %d pages in use, the file has %d bytes", ErrDamaged, p.Meta.End, p.size)
	}
	return nil
}

// readMeta reads the meta page with a number, 0 or 1, which lies at at.
func (p *pageFile) readMeta(number uint64, at int64) (meta, error) {
	buf := make([]byte, pageHeaderSize+metaSize)
	if _, err := p.file.ReadAt(buf, at); err != nil {
		return meta{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	b, le := buf[pageHeaderSize:], binary.LittleEndian
	sum := fnv.New64a()
	sum.Write(b[:metaSize-8])
	m := meta{PageSize: int64(le.Uint32(b[8:])), root: le.Uint64(b[16:]), Freelist: le.Uint64(b[32:]),
		End: le.Uint64(b[40:]), txid: le.Uint64(b[48:])}
	switch {
	case le.Uint32(b) != boltMagic || le.Uint32(b[4:]) != boltVersion:
		return meta{}, fmt.Errorf("%w: not a bbolt file", ErrDamaged)
	case le.Uint64(b[56:]) != sum.Sum64():
		return meta{}, fmt.Errorf("%w: checksum", ErrDamaged)
	case binary.LittleEndian.Uint64(buf) != number:
		return meta{}, fmt.Errorf("%w: a meta page of another place", ErrDamaged)
	case !isPageSize(m.PageSize) || number == 1 && at != m.PageSize:
		return meta{}, fmt.Errorf("%w: pages of %d bytes", ErrDamaged, m.PageSize)
	}
	return m, nil
}

// isPageSize reports whether pages of a file may be so large: those of the
// machine that made it, which need not be this one.
func isPageSize(n int64) bool { return n >= 1<<10 && n <= 64<<10 && n&(n-1) == 0 }

// page is one page with its overflow, checked as far as it can be by itself.
type page struct {
	id    uint64
	flags uint16
	count int
	body  []byte // the page and its overflow, header included
}

// read reads a page that has not been met yet.
func (p *pageFile) read(id uint64) (page, error) {
	if id >= p.Meta.End || int64(id+1)*p.Meta.PageSize > p.size {
		return page{}, fmt.Errorf("%w: page %d is out of range", ErrDamaged, id)
	}
	head := make([]byte, pageHeaderSize)
	if _, err := p.file.ReadAt(head, int64(id)*p.Meta.PageSize); err != nil {
		return page{}, fmt.Errorf("%w: page %d: %w", ErrDamaged, id, err)
	}
	le := binary.LittleEndian
	pages := uint64(le.Uint32(head[12:])) + 1
	if le.Uint64(head) != id || id+pages > p.Meta.End || int64(id+pages)*p.Meta.PageSize > p.size {
		return page{}, fmt.Errorf("%w: page %d says that it is page %d with %d more", ErrDamaged, id, le.Uint64(head), pages-1)
	}
	for i := range pages {
		if p.seen[id+i] {
			return page{}, fmt.Errorf("%w: page %d is used twice", ErrDamaged, id+i)
		}
		p.seen[id+i] = true
	}
	body := make([]byte, int64(pages)*p.Meta.PageSize)
	if _, err := p.file.ReadAt(body, int64(id)*p.Meta.PageSize); err != nil {
		return page{}, fmt.Errorf("%w: page %d: %w", ErrDamaged, id, err)
	}
	return page{id: id, flags: le.Uint16(head[8:]), count: int(le.Uint16(head[10:])), body: body}, nil
}

// visit is told of every item of a bucket.
type visit func(bucket string, key, value []byte) error

// Walk visits every item of every bucket, checking all structure on the way.
func (p *pageFile) Walk(do visit) error {
	if err := p.walkFreelist(); err != nil {
		return err
	}
	buckets, err := p.buckets()
	if err != nil {
		return err
	}
	if len(buckets) != len(BucketNames()) {
		return fmt.Errorf("%w: %d buckets", ErrDamaged, len(buckets))
	}
	for _, b := range buckets {
		if err := p.walkBucket(b, do); err != nil {
			return err
		}
	}
	// A count that shrank hides what it does not count any more.
	if i := slices.Index(p.seen, false); i >= 0 {
		return fmt.Errorf("%w: page %d is neither free nor in use", ErrDamaged, i)
	}
	return nil
}

// bucket is where the items of a named bucket are: below a page, or, when they
// are few, in the value itself.
type bucket struct {
	name  string
	value []byte
}

// buckets lists the buckets of the file.
func (p *pageFile) buckets() (all []bucket, err error) {
	err = p.walkTree(p.Meta.root, 0, bounds{}, func(flags uint32, name, value []byte) error {
		if flags&leafIsBucket == 0 || len(value) < bucketHeader {
			return fmt.Errorf("%w: the root holds %q, which is no bucket", ErrDamaged, name)
		}
		all = append(all, bucket{string(name), value})
		return nil
	})
	return all, err
}

// walkBucket visits every item of one bucket.
func (p *pageFile) walkBucket(b bucket, do visit) error {
	item := func(flags uint32, key, value []byte) error {
		if flags != 0 {
			return fmt.Errorf("%w: bucket %q holds a bucket", ErrDamaged, b.name)
		}
		return do(b.name, key, value)
	}
	if root := binary.LittleEndian.Uint64(b.value); root != 0 {
		return p.walkTree(root, 0, bounds{}, item)
	}
	return leafItems(page{flags: FlagLeaf, count: inlineCount(b.value), body: b.value[bucketHeader:]}, bounds{}, item)
}

func inlineCount(value []byte) int {
	if len(value) < bucketHeader+pageHeaderSize {
		return 0
	}
	return int(binary.LittleEndian.Uint16(value[bucketHeader+10:]))
}

// bounds are where the keys below a page must lie: bbolt searches by them.
type bounds struct {
	low  []byte // the least there may be
	high []byte // beyond the greatest; nil: no bound
}

func (b bounds) hold(key []byte) bool {
	return bytes.Compare(key, b.low) >= 0 && (b.high == nil || bytes.Compare(key, b.high) < 0)
}

// walkTree visits the leaves under page id.
func (p *pageFile) walkTree(id uint64, depth int, keys bounds, item func(flags uint32, key, value []byte) error) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: the tree is deeper than any tree of ours", ErrDamaged)
	}
	pg, err := p.read(id)
	if err != nil {
		return err
	}
	switch pg.flags {
	case FlagLeaf:
		return leafItems(pg, keys, item)
	case FlagBranch:
		return p.branchItems(pg, depth, keys, item)
	}
	return fmt.Errorf("%w: page %d has flags %#x", ErrDamaged, id, pg.flags)
}

func (p *pageFile) branchItems(pg page, depth int, keys bounds, item func(uint32, []byte, []byte) error) error {
	children, err := branches(pg)
	if err != nil {
		return err
	}
	for i, child := range children {
		below := bounds{low: child.key, high: keys.high}
		if i+1 < len(children) {
			below.high = children[i+1].key
		}
		if !keys.hold(child.key) {
			return fmt.Errorf("%w: page %d: key %d is out of place", ErrDamaged, pg.id, i)
		}
		if err := p.walkTree(child.id, depth+1, below, item); err != nil {
			return err
		}
	}
	return nil
}

// branch is one item of a branch page: the page of what begins at key.
type branch struct {
	key []byte
	id  uint64
}

// branches reads the items of a branch page.
func branches(pg page) ([]branch, error) {
	if pg.count == 0 || pageHeaderSize+pg.count*branchElemSize > len(pg.body) {
		return nil, fmt.Errorf("%w: branch page %d counts %d items", ErrDamaged, pg.id, pg.count)
	}
	all := make([]branch, pg.count)
	for i := range all {
		at := pageHeaderSize + i*branchElemSize
		le := binary.LittleEndian
		key, ok := cut(pg.body, at, le.Uint32(pg.body[at:]), le.Uint32(pg.body[at+4:]))
		if !ok || len(key) == 0 || i > 0 && bytes.Compare(key, all[i-1].key) <= 0 {
			return nil, fmt.Errorf("%w: page %d: key %d is out of place", ErrDamaged, pg.id, i)
		}
		all[i] = branch{key, le.Uint64(pg.body[at+8:])}
	}
	return all, nil
}

func leafItems(pg page, keys bounds, item func(flags uint32, key, value []byte) error) error {
	var last []byte
	for i := range pg.count {
		at := pageHeaderSize + i*leafElemSize
		if at+leafElemSize > len(pg.body) {
			return fmt.Errorf("%w: page %d counts %d items, more than fit", ErrDamaged, pg.id, pg.count)
		}
		le := binary.LittleEndian
		keySize, valueSize := le.Uint32(pg.body[at+8:]), le.Uint32(pg.body[at+12:])
		key, ok := cut(pg.body, at, le.Uint32(pg.body[at+4:]), keySize)
		value, also := cut(pg.body, at, le.Uint32(pg.body[at+4:])+keySize, valueSize)
		if !ok || !also || keySize == 0 || i > 0 && bytes.Compare(key, last) <= 0 || !keys.hold(key) {
			return fmt.Errorf("%w: page %d: item %d is out of place", ErrDamaged, pg.id, i)
		}
		last = key
		if err := item(le.Uint32(pg.body[at:]), key, value); err != nil {
			return err
		}
	}
	return nil
}

// cut returns size bytes that begin pos after at, if they are there.
func cut(b []byte, at int, pos, size uint32) ([]byte, bool) {
	from := uint64(at) + uint64(pos)
	to := from + uint64(size)
	if to > uint64(len(b)) {
		return nil, false
	}
	return b[from:to:to], true
}

// walkFreelist checks the list of free pages and notes them as met.
func (p *pageFile) walkFreelist() error {
	ids, err := p.FreePages()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if id >= p.Meta.End || p.seen[id] {
			return fmt.Errorf("%w: free page %d is out of range or in use", ErrDamaged, id)
		}
		p.seen[id] = true
	}
	p.free = len(ids)
	return nil
}

// FreePages reads the list of free pages.
func (p *pageFile) FreePages() ([]uint64, error) {
	pg, err := p.read(p.Meta.Freelist)
	if err != nil {
		return nil, fmt.Errorf("freelist: %w", err)
	}
	if pg.flags != flagFreelist {
		return nil, fmt.Errorf("%w: page %d is no freelist", ErrDamaged, pg.id)
	}
	list, count := pg.body[pageHeaderSize:], uint64(pg.count)
	if count == 0xFFFF { // too many for 16 bits: the first entry counts them
		count, list = binary.LittleEndian.Uint64(list), list[8:]
	}
	if count > uint64(len(list)/8) {
		return nil, fmt.Errorf("%w: the freelist counts %d pages, more than fit", ErrDamaged, count)
	}
	ids := make([]uint64, count)
	for i := range ids {
		ids[i] = binary.LittleEndian.Uint64(list[8*i:])
	}
	return ids, nil
}
