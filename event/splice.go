package event

import (
	"cmp"
	"slices"
)

// splice is one change on the way to normal form.
type splice struct {
	from, to int    // replaces text[from:to]
	with     string // by this
	member   bool   // text[from:to] is a member to remove, and one comma goes with it
}

// apply makes all splices, which must not overlap, in text and returns it. It
// works from the back, so that offsets hold, and may reorder splices. If text
// is a JSON object before a splice, it is one after it.
func apply(text []byte, splices []splice) []byte {
	slices.SortFunc(splices, func(a, b splice) int { return cmp.Compare(b.from, a.from) })
	for _, s := range splices {
		if s.member {
			text = removeMember(text, s.from, s.to)
			continue
		}
		text = slices.Replace(text, s.from, s.to, []byte(s.with)...)
	}
	return text
}

// removeMember removes the member text[from:to] of an object, with the comma
// behind it or, if it is the last one, the comma before it.
func removeMember(text []byte, from, to int) []byte {
	next := skipSpace(text, to)
	if text[next] == ',' {
		return slices.Delete(text, from, skipSpace(text, next+1))
	}
	if before := trimSpace(text[:from]); before[len(before)-1] == ',' {
		from = len(before) - 1
	}
	return slices.Delete(text, from, to)
}

// appendMember adds a member, given as pieces of JSON text, to the end of an
// object.
func appendMember(object []byte, pieces ...string) []byte {
	object = trimSpace(object[:len(object)-len("}")])
	if object[len(object)-1] != '{' {
		object = append(object, ',')
	}
	for _, p := range pieces {
		object = append(object, p...)
	}
	return append(object, '}')
}
