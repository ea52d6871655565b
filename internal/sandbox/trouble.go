package sandbox

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Trouble is what goes wrong, as rules: the first that applies to a call
// decides what becomes of it. The zero value is no trouble.
//
// In JSON it is a list of rules, or one rule without the brackets. Durations
// are written as "1m30s"; unknown keys are errors.
type Trouble []Rule

// Rule says which calls are hit, and what happens to them. All its conditions
// must hold; their zero values hold always.
type Rule struct {
	// Preset names one of Presets, which fills in what the rule leaves at its
	// zero value.
	Preset string `json:"preset,omitzero"`

	Match Match         `json:"match,omitzero"` // which events
	After time.Duration `json:"after,omitzero"` // not before this long after the trouble was set
	For   time.Duration `json:"for,omitzero"`   // for this long after that; 0: until changed
	Over  Limit         `json:"over,omitzero"`  // only what exceeds a rate
	Rate  float64       `json:"rate,omitzero"`  // this share of the calls, chosen at random; 0 and 1: all
	Count uint64        `json:"count,omitzero"` // so many calls and then no more; 0: no bound
	Do    Action        `json:"do,omitzero"`    // what happens; the zero value is the documented answer
}

// Match selects calls by their event, of a batch by any of its events. Every
// field that is set must be equal.
type Match struct {
	Type      string `json:"type,omitzero"`  // of the call, such as identify
	Event     string `json:"event,omitzero"` // name of a track, page or screen call
	MessageID string `json:"message_id,omitzero"`
	UserID    string `json:"user_id,omitzero"` // userId or anonymousId
}

// Limit is a token bucket that holds Calls and fills in Per.
type Limit struct {
	Calls int           `json:"calls"`
	Per   time.Duration `json:"per"`
}

// Action is what happens to a call: first the delay, then an answer with
// Status, then End. Without Status and End the answer is the documented one.
type Action struct {
	// Store accepts the event as if all were well, before anything goes wrong.
	// Without it, only a documented answer accepts one.
	Store bool `json:"store,omitzero"`

	Delay time.Duration `json:"delay,omitzero"`

	// Status is the answer's, 200 to 599. The default is the documented answer, or
	// 200 where End spoils it.
	Status int `json:"status,omitzero"`

	// Header is added to an answer with Status.
	Header map[string]string `json:"header,omitzero"`

	RetryAfter time.Duration `json:"retry_after,omitzero"` // Retry-After in seconds, rounded up
	RetryAt    time.Duration `json:"retry_at,omitzero"`    // Retry-After as a date this far ahead

	// Body is that of an answer with Status. The default is {} for 200, an
	// error list for 400 and 422, nothing for others.
	Body string `json:"body,omitzero"`

	End End `json:"end,omitzero"`
}

// End is how a call ends.
type End string

// The ends.
const (
	Whole    End = ""          // the whole answer
	Close    End = "close"     // the connection is closed without an answer
	Reset    End = "reset"     // the connection is reset (TCP RST) without an answer
	Hang     End = "hang"      // no answer; waits until the client leaves
	Cut      End = "cut"       // headers and half the body, then the connection is closed
	CutReset End = "cut_reset" // headers and half the body, then the connection is reset
)

// ParseTrouble reads a Trouble from JSON and checks it. The error lists
// everything wrong with its rules.
func ParseTrouble(data []byte) (Trouble, error) {
	var t Trouble
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("read trouble: %w", readable(err))
	}
	return t, t.validate()
}

// MarshalJSONTo writes a list of rules that ParseTrouble reads.
func (t Trouble) MarshalJSONTo(enc *jsontext.Encoder) error {
	return json.MarshalEncode(enc, []Rule(t), inputFormat())
}

// UnmarshalJSONFrom reads a list of rules, or one rule, without checking them.
func (t *Trouble) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	if dec.PeekKind() == '[' {
		return json.UnmarshalDecode(dec, (*[]Rule)(t), inputFormat())
	}
	*t = make(Trouble, 1)
	return json.UnmarshalDecode(dec, &(*t)[0], inputFormat())
}

// names returns the preset of each rule, "own" where it has none.
func (t Trouble) names() []string {
	names := []string{}
	for _, rule := range t {
		names = append(names, cmp.Or(rule.Preset, "own"))
	}
	return names
}

// validate lists everything wrong with t.
func (t Trouble) validate() error {
	_, err := t.resolve()
	return err
}

// resolve returns the rules with their presets filled in.
func (t Trouble) resolve() ([]Rule, error) {
	var rules []Rule
	var errs []error
	for i, rule := range t {
		resolved, err := rule.resolve()
		if err == nil {
			err = resolved.validate()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("rule %d: %w", i+1, err))
		}
		rules = append(rules, resolved)
	}
	return rules, errors.Join(errs...)
}

// resolve fills in r's preset.
func (r Rule) resolve() (Rule, error) {
	if r.Preset == "" {
		if r.Do.idle() {
			return r, errors.New(`does nothing: name a "preset" or say what to "do"`)
		}
		return r, nil
	}
	p, err := preset(r.Preset)
	if err != nil {
		return r, err
	}
	r.Over = cmp.Or(r.Over, p.Over)
	r.Rate = cmp.Or(r.Rate, p.Rate)
	r.Do = r.Do.over(p.Do)
	return r, nil
}

// over returns do with what is zero taken from b.
func (do Action) over(b Action) Action {
	header := maps.Clone(b.Header)
	if header == nil {
		header = do.Header
	} else {
		maps.Copy(header, do.Header)
	}
	return Action{
		Store:      do.Store || b.Store,
		Delay:      cmp.Or(do.Delay, b.Delay),
		Status:     cmp.Or(do.Status, b.Status),
		Header:     header,
		RetryAfter: cmp.Or(do.RetryAfter, b.RetryAfter),
		RetryAt:    cmp.Or(do.RetryAt, b.RetryAt),
		Body:       cmp.Or(do.Body, b.Body),
		End:        cmp.Or(do.End, b.End),
	}
}

// idle reports whether do is the documented answer at once.
func (do Action) idle() bool { return do.documented() && do.Delay == 0 }

// documented reports whether do ends in the documented answer.
func (do Action) documented() bool { return do.Status == 0 && do.End == Whole }

// validate lists everything wrong with a resolved rule.
func (r Rule) validate() error {
	var wrong problemList
	wrong.when(r.After < 0, `"after" must not be negative, found %v`, r.After)
	wrong.when(r.For < 0, `"for" must not be negative, found %v`, r.For)
	wrong.when(!(r.Rate >= 0 && r.Rate <= 1), `"rate" must lie between 0 and 1, found %v`, r.Rate)
	wrong.when(r.Over != Limit{} && (r.Over.Calls <= 0 || r.Over.Per <= 0), `"over" needs positive "calls" and "per"`)
	return errors.Join(append(wrong, r.Do.validate())...)
}

// validate lists everything wrong with a resolved action.
func (do Action) validate() error {
	var wrong problemList
	shaped := len(do.Header) > 0 || do.Body != "" || do.RetryAfter != 0 || do.RetryAt != 0
	bodiless := do.Status == http.StatusNoContent || do.Status == http.StatusNotModified
	switch do.End {
	case Whole:
		wrong.when(do.documented() && shaped, `a header, a body and Retry-After need a "status"`)
		wrong.when(bodiless && do.Body != "", `an answer of status %d has no body`, do.Status)
	case Cut, CutReset:
		wrong.when(bodiless, `an answer of status %d has no body to cut`, do.Status)
	case Close, Reset, Hang:
		wrong.when(do.Status != 0 || shaped, `"end": %q gives no answer that could have a status, header or body`, string(do.End))
	default:
		wrong.when(true, `"end" must be close, reset, hang, cut or cut_reset, found %q`, string(do.End))
	}
	wrong.when(do.Status != 0 && (do.Status < 200 || do.Status > 599), `"status" must lie between 200 and 599, found %d`, do.Status)
	wrong.when(do.Delay < 0, `"delay" must not be negative, found %v`, do.Delay)
	wrong.when(do.RetryAfter < 0 || do.RetryAt < 0, `"retry_after" and "retry_at" must not be negative`)
	wrong.when(do.RetryAfter != 0 && do.RetryAt != 0, `"retry_after" and "retry_at" exclude each other`)
	return errors.Join(wrong...)
}

// problemList collects what is wrong.
type problemList []error

// when adds a problem if there is one.
func (p *problemList) when(wrong bool, format string, args ...any) {
	if wrong {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}
