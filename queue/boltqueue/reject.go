package boltqueue

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// reasonSample is the reason code of rejects that are kept as samples: they are
// charged apart.
const reasonSample = 3

// reject is rejected input as stored.
type reject struct {
	body   []byte
	detail string
	reason uint8 // a code below reasonSlots
}

// encode lays the reject out: reason, detail, input.
func (r reject) encode(identity, number uint64, now time.Time) []byte {
	payload := appendBytes([]byte{r.reason}, r.detail)
	payload = append(payload, r.body...)
	f := frame{kind: kindReject, identity: identity, number: number, stamp: stampOf(now), payload: payload}
	return f.encode()
}

// decodeReject is the inverse of encode; the body aliases the frame.
func decodeReject(f frame) (reject, error) {
	if len(f.payload) == 0 || f.payload[0] == 0 || f.payload[0] >= reasonSlots {
		return reject{}, errors.Join(errDamaged, errors.New("a reject without a reason"))
	}
	r := reader{buf: f.payload[1:]}
	detail := string(r.bytes())
	return reject{reason: f.payload[0], detail: detail, body: r.buf}, r.err("reject")
}

// cost is what the reject takes of the disk: its frame, the item of bbolt that
// holds it, and its share of what a page cannot hold.
func (r reject) cost() int64 {
	const page, usable = 4 << 10, 4<<10 - pageHeaderSize
	size := int64(headerSize + leafElemSize + 8 + 1 + 2*binary.MaxVarintLen32 + len(r.body) + len(r.detail))
	if size > usable/2 {
		return (size + pageHeaderSize + page - 1) / page * page
	}
	return page / (usable / size)
}

// own returns the reject in memory of its own.
func (r reject) own() reject {
	r.body = slices.Clone(r.body)
	return r
}
