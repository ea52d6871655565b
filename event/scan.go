package event

import "bytes"

// Finding where values end in JSON that may be broken. Unlike walk.go, nothing
// here relies on the text being valid.

// endOfElement returns the offset behind the element of an array, or the value
// of a member, that begins at text[i] and ends before the comma or the bracket
// that ends it. Empty and broken values end there, too: NaN, a trailing comma
// within, a thousand levels of nesting.
//
// certain is false when the text is broken in a way that leaves the end to
// guesswork: when it ends first, when a bracket closes one of the other kind, or
// when something else than punctuation stands beside a string, for then a quote
// is probably missing, and what looks like the inside of strings is the outside.
func endOfElement(text []byte, i int) (end int, certain bool) {
	begin := i
	depth := 0
	var squares [maxDepth / 64]uint64 // one bit a level, set where a [ is open
	for previous := byte(','); ; {
		if i = skipSpace(text, i); i == len(text) {
			return 0, false
		}
		c := text[i]
		switch c {
		case '"':
			if previous != ',' && previous != ':' && previous != '{' && previous != '[' {
				return 0, false
			}
			if i = endOfString(text, i); i == 0 {
				return 0, false
			}
			previous = c
			continue
		case '{', '[':
			if previous == '"' {
				return 0, false
			}
			if level := depth / 64; level < len(squares) {
				squares[level] &^= 1 << (depth % 64)
				if c == '[' {
					squares[level] |= 1 << (depth % 64)
				}
			}
			depth++
		case '}', ']':
			if depth == 0 {
				return begin + len(trimSpace(text[begin:i])), true
			}
			depth--
			if level := depth / 64; level < len(squares) && squares[level]>>(depth%64)&1 == 1 != (c == ']') {
				return 0, false
			}
		case ',':
			if depth == 0 {
				return begin + len(trimSpace(text[begin:i])), true
			}
		case ':':
		default:
			if previous == '"' {
				return 0, false
			}
		}
		previous = c
		i++
	}
}

// endOfString returns the offset behind the string whose opening quote is
// text[i], 0 if it does not end.
func endOfString(text []byte, i int) int {
	for i++; ; i++ {
		at := bytes.IndexByte(text[i:], '"')
		if at < 0 {
			return 0
		}
		if i += at; !escaped(text, i) {
			return i + 1
		}
	}
}
