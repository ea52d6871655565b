package ingest

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// cutIn returns the lines of stream when it arrives in pieces of the given
// sizes, over and over, and the buffer grows as that of a connection does.
func cutIn(stream []byte, sizes ...int) (all []string) {
	l := lines{buf: make([]byte, smallRead)}
	note := func(ln line) {
		all = append(all, fmt.Sprintf("%d %t %s", ln.number, ln.oversize, ln.text))
	}
	for i := 0; len(stream) > 0; i++ {
		space := l.space()
		if len(space) == 0 {
			l.use(make([]byte, largeRead))
			space = l.space()
		}
		n := copy(space, stream[:min(len(stream), sizes[i%len(sizes)])])
		l.filled(n)
		stream = stream[n:]
		for {
			ln, ok := l.next()
			if !ok {
				break
			}
			note(ln)
		}
	}
	if ln, ok := l.rest(); ok {
		note(ln)
	}
	return all
}

func TestLinesAreCutAtNewlinesAndBounded(t *testing.T) {
	x := strings.Repeat("x", maxLine)
	for _, c := range []struct {
		name, stream string
		want         []string
	}{
		{"nothing", "", nil},
		{"three, the last without an end", "a\nb\nc", []string{"1 false a", "2 false b", "3 false c"}},
		{"ends of both kinds, blank ones count", "a\r\n\r\n\nb\n", []string{"1 false a", "2 false ", "3 false ", "4 false b"}},
		{"a return within a line is part of it", "a\rb\r\r\n", []string{"1 false a\rb\r"}},
		{"as long as may be", x + "\n" + x + "\r\nb", []string{"1 false " + x, "2 false " + x, "3 false b"}},
		{"too long by one", x + "x\nb\n", []string{"1 true " + x, "2 false b"}},
		{"too long by a return that ends nothing", x + "\rx\r\nb\n", []string{"1 true " + x, "2 false b"}},
		{"much too long", x + x + x + "\nb\n", []string{"1 true " + x, "2 false b"}},
		{"too long and without an end", x + x + x, []string{"1 true " + x}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, size := range []int{1, 7, smallRead, maxLine + 1, 1 << 20} {
				if got := cutIn([]byte(c.stream), size); !slices.Equal(got, c.want) {
					t.Errorf("in pieces of %d: got %.80q, want %.80q", size, got, c.want)
				}
			}
		})
	}
}

func FuzzLinesAreTheSameInAnyPieces(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n  \nc"), uint16(1), uint16(3), uint32(0))
	f.Add([]byte("a\n\r\nb"), uint16(2), uint16(1), uint32(maxLine))
	f.Add([]byte("\r\nb"), uint16(4096), uint16(65535), uint32(maxLine-1))
	f.Add([]byte("\r\r\nb\n"), uint16(4095), uint16(1), uint32(3*maxLine))
	f.Fuzz(func(t *testing.T, stream []byte, a, b uint16, pad uint32) {
		// Lines at the bound are where things go wrong: lengthen the first.
		stream = append(bytes.Repeat([]byte{'x'}, int(pad%(4*maxLine))), stream...)
		whole := cutIn(stream, 1<<20)
		pieces := cutIn(stream, int(a)+1, int(b)+1)
		if !slices.Equal(whole, pieces) {
			t.Fatalf("in one piece %.200q, in pieces of %d and %d %.200q", whole, int(a)+1, int(b)+1, pieces)
		}
		if n := bytes.Count(stream, []byte("\n")); len(whole) != n && len(whole) != n+1 {
			t.Fatalf("%d lines of %d newlines", len(whole), n)
		}
	})
}
