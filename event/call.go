package event

import "fmt"

// Type says which call of the destination's API an event is. The zero value is
// a track call. The values are stored by backends: they never change meaning.
type Type uint8

// The call types.
const (
	TypeTrack Type = iota
	TypeIdentify
	TypePage
	TypeScreen
	TypeGroup
	TypeAlias
)

// Types lists every call type once, in the order of their values.
func Types() []Type {
	return []Type{TypeTrack, TypeIdentify, TypePage, TypeScreen, TypeGroup, TypeAlias}
}

// String returns the name of the call as "type" spells it and as the last
// element of its endpoint: "track", "identify".
func (t Type) String() string {
	switch t {
	case TypeTrack:
		return "track"
	case TypeIdentify:
		return "identify"
	case TypePage:
		return "page"
	case TypeScreen:
		return "screen"
	case TypeGroup:
		return "group"
	case TypeAlias:
		return "alias"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// ParseType is the inverse of String.
func ParseType(s string) (Type, error) {
	if t, known := typeNamed([]byte(s)); known {
		return t, nil
	}
	return 0, fmt.Errorf("call type %q: want track, identify, page, screen, group or alias", s)
}

// typeNamed returns the type that name spells.
func typeNamed(name []byte) (t Type, known bool) {
	for t := TypeTrack; t <= TypeAlias; t++ {
		if t.String() == string(name) {
			return t, true
		}
	}
	return 0, false
}

// Persons holds the hashes of the ids by which an event names persons: its
// userId, anonymousId and previousId, in this order and without gaps; zero
// marks an unused place. All ids share one namespace, so that an alias meets
// the events of the id it replaces. Events that share a hash are delivered in
// order; two ids with one hash only wait needlessly.
type Persons [3]uint64

// add puts id's hash into the first unused place, unless it is there already.
func (p *Persons) add(id []byte) {
	hash := PersonHash(id)
	for i := range p {
		if p[i] == 0 || p[i] == hash {
			p[i] = hash
			return
		}
	}
}

// PersonHash is the stable 64-bit hash of one id, never zero: FNV-1a, with a
// final mix so that ids which differ in their last bytes only differ in all
// bits. Backends store it.
func PersonHash(id []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range id {
		h = (h ^ uint64(c)) * 1099511628211
	}
	h ^= h >> 32
	return max(h, 1)
}
