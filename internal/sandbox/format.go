package sandbox

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// inputFormat is how troubles and scripts are written: durations as "1m30s", no
// unknown keys.
func inputFormat() json.Options {
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
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the document ends too early")
	}
	e, ok := errors.AsType[*json.SemanticError](err)
	if !ok {
		return err
	}
	switch {
	case errors.Is(err, json.ErrUnknownName):
		return fmt.Errorf("%sunknown key %q", place(e.JSONPointer.Parent()), e.JSONPointer.LastToken())
	case e.Err != nil:
		return fmt.Errorf("%s%w", place(e.JSONPointer), e.Err)
	default:
		return fmt.Errorf("%sfound %s, which does not fit", place(e.JSONPointer), e.JSONKind)
	}
}

// place names where in a document something is, unless that is all of it.
func place(p jsontext.Pointer) string {
	if p == "" {
		return ""
	}
	return "in " + string(p) + ": "
}
