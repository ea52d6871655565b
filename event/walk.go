package event

import (
	"bytes"
	"iter"

	"github.com/go-json-experiment/json/jsontext"
)

// Walking over JSON that jsontext has found valid: nothing is checked again,
// and offsets always count from the start of the text.

// member is where one member of an object stands in a text.
type member struct {
	key, colon int // the name, with its quotes, is text[key:colon]
	start, end int // the value is text[start:end]; end is 0 if there is no such member
}

// name returns the decoded name of m.
func (m member) name(text []byte) []byte { return unquote(text[m.key:m.colon]) }

// value returns the JSON text of m's value, empty when m is absent.
func (m member) value(text []byte) []byte { return text[m.start:m.end] }

// kind returns the kind of m's value, KindInvalid when m is absent.
func (m member) kind(text []byte) jsontext.Kind {
	if m.end == 0 {
		return jsontext.KindInvalid
	}
	if c := text[m.start]; c != '-' && (c < '0' || c > '9') {
		return jsontext.Kind(c) // named for the first byte of its values
	}
	return jsontext.KindNumber
}

// members yields the members of the object that opens at text[open].
func members(text []byte, open int) iter.Seq[member] {
	return func(yield func(member) bool) {
		for i := skipSpace(text, open+1); text[i] != '}'; {
			m := member{key: i, colon: endOfString(text, i)}
			i = skipSpace(text, m.colon)
			m.start = skipSpace(text, i+len(":"))
			m.end = skipValue(text, m.start)
			if !yield(m) {
				return
			}
			if i = skipSpace(text, m.end); text[i] == ',' {
				i = skipSpace(text, i+1)
			}
		}
	}
}

// skipValue returns the offset behind the value that begins at text[i].
func skipValue(text []byte, i int) int {
	switch text[i] {
	case '"':
		return endOfString(text, i)
	case '{', '[':
		return skipNested(text, i)
	}
	return skipScalar(text, i)
}

// skipScalar returns the offset behind the number or word that begins at text[i].
func skipScalar(text []byte, i int) int {
	for ; i < len(text); i++ {
		switch text[i] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return i
}

// skipNested returns the offset behind the object or array that opens at text[i].
func skipNested(text []byte, i int) int {
	for depth := 0; ; {
		switch text[i] {
		case '"':
			i = endOfString(text, i)
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
}

// escaped reports whether an odd number of backslashes stands before text[i].
func escaped(text []byte, i int) bool {
	n := 0
	for text[i-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

// jsonSpace is what JSON calls white space.
const jsonSpace = " \t\r\n"

// skipSpace returns the offset of the first byte at or after i that is not
// white space.
func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t') {
		i++
	}
	return i
}

// trimSpace returns text without the white space at its end.
func trimSpace(text []byte) []byte { return bytes.TrimRight(text, jsonSpace) }

// unquote decodes a JSON string. Without escapes, which is nearly always, it
// copies nothing.
func unquote(quoted []byte) []byte {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	decoded, _ := jsontext.AppendUnquote(nil, quoted) // valid as it is
	return decoded
}

// nestsDeeper reports whether text, which need not be valid, opens more than
// limit objects and arrays within each other.
func nestsDeeper(text []byte, limit int) bool {
	if len(text) <= limit || bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) <= limit {
		return false // not even if all of them nested
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
