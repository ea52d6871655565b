package ingest

import (
	"bytes"

	"trackd/event"
)

const (
	// smallRead is the read buffer of a connection with nothing left to parse.
	// It is what an idle one costs.
	smallRead = 4 << 10

	// largeRead is the read buffer of a busy connection. It holds any line that
	// is not oversize, and the 256 events a lively client has in flight.
	largeRead = 128 << 10

	// maxLine is the longest line kept whole, without its end.
	maxLine = event.MaxInputBytes
)

// line is one line of a stream, without "\n" or "\r\n".
type line struct {
	number   uint64 // counted from 1, blank ones included
	text     []byte // valid until more is read; the first maxLine bytes of an oversize one
	oversize bool   // longer than maxLine
}

// lines cuts a stream into lines of bounded length, whatever the pieces it
// arrives in. Its owner reads into space, tells how much with filled, and then
// takes lines with next until there are no more.
type lines struct {
	buf        []byte // buf[start:end] has not been taken
	start, end int
	scanned    int    // buf[start:scanned] has no newline
	taken      uint64 // lines returned or skipped so far
	skipping   bool   // dropping the rest of an oversize line, already returned
}

// next returns the next complete line, or the head of one that is already too
// long, as soon as that is known. ok is false when more must be read.
func (l *lines) next() (ln line, ok bool) {
	if l.skipping && !l.skip() {
		return line{}, false
	}
	at := bytes.IndexByte(l.buf[l.scanned:l.end], '\n')
	if at >= 0 {
		text := l.buf[l.start : l.scanned+at]
		l.start = l.scanned + at + 1
		l.scanned = l.start
		return l.take(trimReturn(text)), true
	}
	l.scanned = l.end
	if l.end-l.start <= maxLine+1 { // one more: its last byte may be the "\r" of its end
		return line{}, false
	}
	text := l.buf[l.start:l.end]
	l.start = l.end
	l.skipping = true
	return l.take(text), true
}

// skip drops what is buffered of an oversize line and reports whether its end
// was found.
func (l *lines) skip() bool {
	at := bytes.IndexByte(l.buf[l.start:l.end], '\n')
	if at < 0 {
		l.start, l.scanned = l.end, l.end
		return false
	}
	l.start += at + 1
	l.scanned = l.start
	l.skipping = false
	return true
}

// take numbers text and bounds it.
func (l *lines) take(text []byte) line {
	l.taken++
	ln := line{number: l.taken, text: text}
	if len(text) > maxLine {
		ln.text, ln.oversize = text[:maxLine], true
	}
	return ln
}

// rest returns the last line of a stream that ended without a newline.
func (l *lines) rest() (ln line, ok bool) {
	if l.start == l.end {
		return line{}, false
	}
	text := l.buf[l.start:l.end]
	l.start, l.scanned = l.end, l.end
	return l.take(trimReturn(text)), true
}

// unfinished reports whether a line was begun whose end has not arrived.
func (l *lines) unfinished() bool { return l.skipping || l.start < l.end }

// current returns the number of the line that is unfinished, or else comes
// next.
func (l *lines) current() uint64 {
	if l.skipping {
		return l.taken
	}
	return l.taken + 1
}

// buffered returns how many bytes were read and not taken.
func (l *lines) buffered() int { return l.end - l.start }

// space returns where to read to, after the part of a line that is buffered.
// It is empty only when the buffer is too small for the line.
func (l *lines) space() []byte {
	if l.start > 0 {
		l.end = copy(l.buf, l.buf[l.start:l.end])
		l.scanned -= l.start
		l.start = 0
	}
	return l.buf[l.end:]
}

// filled says that n bytes were read into space.
func (l *lines) filled(n int) { l.end += n }

// use moves what is buffered to buf, which must hold it.
func (l *lines) use(buf []byte) {
	l.end = copy(buf, l.buf[l.start:l.end])
	l.scanned -= l.start
	l.buf, l.start = buf, 0
}

// trimReturn drops the "\r" of a "\r\n".
func trimReturn(text []byte) []byte {
	if n := len(text); n > 0 && text[n-1] == '\r' {
		return text[:n-1]
	}
	return text
}

// blank reports whether text holds nothing but white space.
func blank(text []byte) bool {
	return len(text) == 0 || text[0] <= ' ' && len(bytes.TrimSpace(text)) == 0
}
