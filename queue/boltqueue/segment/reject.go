package segment

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"
)

// ReasonSample is the reason code of rejects that are kept as samples: they are
// charged apart.
const ReasonSample = 3

// Reject is rejected input as stored.
type Reject struct {
	Body   []byte
	Detail string
	Reason uint8 // a code below reasonSlots
}

// encode lays the reject out: reason, detail, input.
func (r Reject) encode(identity, number uint64, now time.Time) []byte {
	payload := appendBytes([]byte{r.Reason}, r.Detail)
	payload = append(payload, r.Body...)
	f := frame{kind: KindReject, identity: identity, number: number, stamp: stampOf(now), Payload: payload}
	return f.Encode()
}

// decodeReject is the inverse of encode; the body aliases the frame.
func decodeReject(f frame) (Reject, error) {
	if len(f.Payload) == 0 || f.Payload[0] == 0 || f.Payload[0] >= ReasonSlots {
		return Reject{}, errors.Join(ErrDamaged, errors.New("a reject without a reason"))
	}
	r := Reader{Buf: f.Payload[1:]}
	detail := string(r.bytes())
	return Reject{Reason: f.Payload[0], Detail: detail, Body: r.Buf}, r.err("reject")
}

// Cost is what the reject takes of the disk: its frame, the item of bbolt that
// holds it, and its share of what a page cannot hold.
func (r Reject) Cost() int64 {
	const page, usable = 4 << 10, 4<<10 - pageHeaderSize
	size := int64(headerSize + leafElemSize + 8 + 1 + 2*binary.MaxVarintLen32 + len(r.Body) + len(r.Detail))
	if size > usable/2 {
		return (size + pageHeaderSize + page - 1) / page * page
	}
	return page / (usable / size)
}

// Own returns the reject in memory of its own.
func (r Reject) Own() Reject {
	r.Body = slices.Clone(r.Body)
	return r
}
