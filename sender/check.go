package sender

import (
	"context"
	"errors"

	"trackd/event"
)

// Checked is what one request told about key and address.
type Checked struct {
	Status   int    // HTTP status of the answer, 0 if none came
	Text     string // the beginning of its body, verbatim, without the key
	Err      error  // why no answer came
	Accepted bool   // the key is accepted
	Meaning  string // what the answer proves, in one sentence
}

// Check POSTs an event that no destination can accept, exactly as a Sender with
// these options would, and judges the answer as a Sender does: a destination
// that knows the key says what is wrong with the event. The error names every
// problem with o, of which Queue is not needed.
func Check(ctx context.Context, o Options) (Checked, error) {
	o = o.withDefaults()
	if err := errors.Join(validateURL(o.URL), o.Settings.validate()); err != nil {
		return Checked{}, err
	}
	c, err := newClient(o)
	if err != nil {
		return Checked{}, err
	}
	defer c.hangUp()
	a := c.attempt(ctx, event.TypeTrack, []byte("{}"), nil)
	meaning, accepted := proves(a)
	checked := Checked{Status: a.status, Text: a.text, Accepted: accepted, Meaning: meaning}
	if a.status == 0 {
		checked.Err = a.err
	}
	return checked, nil
}

// proves says what the answer to an empty event, posted strictly, tells about
// the key.
func proves(a answer) (meaning string, accepted bool) {
	switch v, r := judge(a); {
	case r == resultRejected:
		return "the API key is accepted: the empty event was refused for what it lacks, as it should be", true
	case r == resultDelivered:
		return "the empty event was accepted, though it should have been refused: is this the Data Pipelines API?", false
	case r == resultUnauthorized, r == resultForbidden:
		return "the API key is not accepted: it is wrong, or of another region or kind", false
	case r == resultProxyAuth, r == resultProxyRefused, a.status == 0:
		return r.advice(), false
	case v == retry:
		return "the destination is in trouble: this says nothing about the key, ask again later", false
	default:
		return "this is not how the events API answers: check the upstream url, and any proxy in between", false
	}
}
