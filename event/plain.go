package event

import "unicode/utf8"

// plain is the one judgement of JSON that is not the library's, and only for
// speed: the library's takes half of all the CPU that a busy socket costs. It
// says yes to the plain events that nearly all are, and never says no: what it
// is not sure of (escapes, arrays, exponents, deep nesting, many members, and
// all that is wrong) the library judges, and explains. Tests hold every yes
// against the library. Were one wrong, the destination would reject the event,
// and it would lie with the dead letters, with the reason.

const (
	plainDepth   = 8  // objects within each other
	plainMembers = 32 // of one object
)

// plain reports whether text surely is one JSON value in valid UTF-8 with
// unique keys.
func plain(text []byte) bool {
	end := plainValue(text, skipSpace(text, 0), plainDepth)
	return end > 0 && skipSpace(text, end) == len(text) && utf8.Valid(text)
}

// plainValue returns the offset behind the value that begins at text[i], or 0
// if it is not plain, as do all below.
func plainValue(text []byte, i, depth int) int {
	if i == len(text) {
		return 0
	}
	switch text[i] {
	case '"':
		return plainString(text, i)
	case '{':
		return plainObject(text, i, depth-1)
	case 't':
		return plainWord(text, i, "true")
	case 'f':
		return plainWord(text, i, "false")
	case 'n':
		return plainWord(text, i, "null")
	}
	return plainNumber(text, i)
}

func plainString(text []byte, i int) int {
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return i + 1
		case c == '\\' || c < ' ':
			return 0
		}
	}
	return 0
}

func plainWord(text []byte, i int, word string) int {
	if end := i + len(word); end <= len(text) && string(text[i:end]) == word {
		return end
	}
	return 0
}

func plainNumber(text []byte, i int) int {
	if text[i] == '-' {
		i++
	}
	end := plainDigits(text, i)
	if end == 0 || text[i] == '0' && end > i+1 {
		return 0
	}
	if end < len(text) && text[end] == '.' {
		return plainDigits(text, end+1)
	}
	return end
}

// plainDigits takes one digit or more.
func plainDigits(text []byte, i int) int {
	end := i
	for end < len(text) && '0' <= text[end] && text[end] <= '9' {
		end++
	}
	if end == i {
		return 0
	}
	return end
}

func plainObject(text []byte, i, depth int) int {
	if depth < 0 {
		return 0
	}
	if i = skipSpace(text, i+1); i < len(text) && text[i] == '}' {
		return i + 1
	}
	var names [plainMembers]extent
	for n := range names {
		colon := plainName(text, i, names[:n])
		if colon == 0 {
			return 0
		}
		names[n] = extent{uint32(i), uint32(colon)}
		end := plainMember(text, colon, depth)
		if end == 0 {
			return 0
		}
		if text[end] == '}' {
			return end + 1
		}
		i = skipSpace(text, end+1)
	}
	return 0
}

// extent is a part of a text.
type extent struct{ from, to uint32 }

// plainName takes a name that is none of taken.
func plainName(text []byte, i int, taken []extent) int {
	if i == len(text) || text[i] != '"' {
		return 0
	}
	colon := plainString(text, i)
	for _, t := range taken {
		if int(t.to-t.from) == colon-i && string(text[t.from:t.to]) == string(text[i:colon]) {
			return 0
		}
	}
	return colon
}

// plainMember takes what follows a name, and returns the offset of the comma or
// brace that follows it.
func plainMember(text []byte, i, depth int) int {
	if i = skipSpace(text, i); i == len(text) || text[i] != ':' {
		return 0
	}
	end := plainValue(text, skipSpace(text, i+1), depth)
	if end == 0 {
		return 0
	}
	if end = skipSpace(text, end); end == len(text) || text[end] != ',' && text[end] != '}' {
		return 0
	}
	return end
}
