package sandbox

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// dialect is how troubles and scripts are written: durations as "1m30s", no
// unknown keys.
func dialect() json.Options {
	return json.JoinOptions(
		json.RejectUnknownMembers(true),
		json.WithMarshalers(json.MarshalToFunc(func(enc *jsontext.Encoder, d time.Duration) error {
			return enc.WriteToken(jsontext.String(d.String()))
		})),
		json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, d *time.Duration) error {
			token, err := dec.ReadToken()
			if err != nil {
				return err
			}
			if token.Kind() != '"' {
				return fmt.Errorf(`a duration is written like "1m30s", found %s`, token)
			}
			*d, err = time.ParseDuration(token.String())
			return err
		})),
	)
}

// readable rewords what the JSON library says of a document that does not
// fit, for people who do not see the Go types.
func readable(err error) error {
	e, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return err
	}
	place := string(e.JSONPointer)
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("unknown key %s", place)
	case e.Err != nil:
		return fmt.Errorf("%s: %w", place, e.Err)
	default:
		return fmt.Errorf("%s: a %s does not fit here", place, e.JSONKind)
	}
}
