package event

import (
	"bytes"
	"strconv"
)

// unitLen is the length of an escaped UTF-16 code unit, \uXXXX.
const unitLen = len(`\uFFFD`)

// replaceSurrogates returns text with every escaped surrogate that is not half
// of a pair replaced by the escape of U+FFFD, and how many there were; they are
// what is left of an emoji that a client cut in two. Both escapes are equally
// long, so offsets into text hold in the result, which is text itself when
// nothing was replaced. text need not be valid JSON.
func replaceSurrogates(text []byte) (fixed []byte, replaced int) {
	fixed = text
	for i := 0; ; {
		at := bytes.IndexByte(text[i:], '\\')
		if at < 0 {
			return fixed, replaced
		}
		i += at
		unit, ok := escapedUnit(text, i)
		if !ok {
			if i += len(`\n`); i >= len(text) { // the backslash escapes one byte
				return fixed, replaced
			}
			continue
		}
		next := i + unitLen
		if unit >= 0xd800 && unit < 0xdc00 {
			if low, ok := escapedUnit(text, next); ok && low >= 0xdc00 && low < 0xe000 {
				i = next + unitLen
				continue
			}
		}
		if unit >= 0xd800 && unit < 0xe000 {
			if replaced == 0 {
				fixed = bytes.Clone(text)
			}
			copy(fixed[i:next], `\ufffd`)
			replaced++
		}
		i = next
	}
}

// escapedUnit returns the code unit whose escape begins at text[i].
func escapedUnit(text []byte, i int) (unit uint64, ok bool) {
	if i+unitLen > len(text) || text[i] != '\\' || text[i+1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[i+2:i+unitLen]), 16, 16)
	return unit, err == nil
}
