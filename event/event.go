// Package event is the vocabulary of trackd: what a track call is, how one is
// parsed and judged, and how large it may be.
//
// [Parser.Parse] decides once, at the door. What it returns is in normal form
// and is POSTed byte for byte; nothing behind the door looks into the JSON
// again. Everything the destination does not ask us to change passes
// untouched.
//
// The package keeps nothing, reads no clock (the caller says what time it is)
// and does no I/O beyond drawing random bits for a messageId.
//
// Reading order: event.go and call.go (the types), parse.go (from bytes to normal form),
// judge.go (the rules), lifecycle.go (the seven events), error.go (how a
// refusal is told), batch.go (the /v1/batch envelope); outline.go, walk.go,
// plain.go, splice.go and timestamp.go are their tools.
package event

const (
	// MaxBytes bounds one event as it is sent. The destination documents
	// "32 KB"; its SDKs disagree on what that means, so the smaller reading
	// binds.
	MaxBytes = 32_000

	// MaxDoorBytes bounds one event as it arrives, before normalising.
	MaxDoorBytes = 64 << 10

	// MaxBatchBytes bounds a batch as it arrives, before normalising. SDKs
	// send up to 500,000 bytes.
	MaxBatchBytes = 1 << 20

	// MaxIDBytes bounds a messageId, decoded. The destination documents no
	// bound; a UUID has 36 bytes, and what is longer than this is no id.
	MaxIDBytes = 255
)

// Event is one call in normal form.
type Event struct {
	// Type is the call. It decides the endpoint.
	Type Type

	// ID is the messageId: the app's, or a ULID minted at the door. It is the
	// same on every retry and for ever.
	ID string

	// Name is the value of "event", for example "Application Opened".
	Name string

	// Persons holds the hashes of the ids it names.
	Persons Persons

	// Body is the exact JSON object to POST, at most MaxBytes long.
	Body []byte
}
