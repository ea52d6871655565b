// Package event is the vocabulary of trackd: what a call of the destination's
// API is, how one is parsed and judged, and how large it may be.
//
// [Parser.Parse] decides once, when a call comes in. What it returns is in
// normal form and is POSTed byte for byte; nothing behind it looks into the
// JSON again. Everything the destination does not ask us to change passes
// untouched.
//
// The package keeps nothing, reads no clock (the caller says what time it is)
// and does no I/O beyond drawing random bits for a messageId.
//
// Reading order: event.go and call.go (the types), parse.go (from bytes to
// normal form), judge.go (the rules), lifecycle.go (the seven events), error.go
// (how a rejection is told), batch.go (the envelope of /v1/batch); outline.go,
// scan.go, walk.go, surrogate.go, plain.go, splice.go and timestamp.go are
// their tools.
package event

const (
	// MaxBytes bounds one event as it is sent. The destination documents
	// "32 KB"; its SDKs disagree on what that means, so the smaller reading
	// binds.
	MaxBytes = 32_000

	// MaxInputBytes bounds one event as it arrives, before normalising.
	MaxInputBytes = 64 << 10

	// MaxBatchBytes bounds a batch as it arrives, before normalising. The
	// destination's SDKs send up to 500,000 bytes, RudderStack's up to 4 MB.
	MaxBatchBytes = 4 << 20

	// MaxIDBytes bounds a messageId, decoded. The destination documents no
	// bound; a UUID has 36 bytes, and what is longer than this is no id.
	MaxIDBytes = 255
)

// Event is one call in normal form.
type Event struct {
	// Type is the call. It decides the endpoint.
	Type Type

	// ID is the messageId: the app's, or a ULID minted when it was parsed. It is
	// the same on every retry and for ever.
	ID string

	// Name is the value of "event" of a track call, for example "Application
	// Opened", the value of "name" of a page or screen call, and else empty.
	Name string

	// Persons holds the hashes of the ids it names.
	Persons Persons

	// Body is the exact JSON object to POST, at most MaxBytes long.
	Body []byte
}
