package sandbox

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// decode checks all of body, which must be one JSON value with unique keys in
// valid UTF-8, and returns as much of it as schema.json looks at: the members
// of the call and those of its "properties". Deeper objects and all arrays
// come back empty, numbers as zero. Building the rest would cost more than
// everything else the stand-in does.
func decode(body []byte) (any, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(body))
	value, err := decodeCall(dec)
	if err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows it")
	}
	return value, nil
}

// decodeCall reads the members of a call and those of its properties.
func decodeCall(dec *jsontext.Decoder) (any, error) {
	if dec.PeekKind() != '{' {
		return decodeShallow(dec)
	}
	return decodeObject(dec, func(key string) (any, error) {
		if key != "properties" || dec.PeekKind() != '{' {
			return decodeShallow(dec)
		}
		return decodeObject(dec, func(string) (any, error) { return decodeShallow(dec) })
	})
}

// decodeObject reads the object that is next, its values by value.
func decodeObject(dec *jsontext.Decoder, value func(key string) (any, error)) (any, error) {
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	object := make(map[string]any)
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if object[key], err = value(key); err != nil {
			return nil, err
		}
	}
	_, err := dec.ReadToken()
	return object, err
}

// decodeShallow reads the next value, without what is in it.
func decodeShallow(dec *jsontext.Decoder) (any, error) {
	switch dec.PeekKind() {
	case '{':
		return map[string]any{}, dec.SkipValue()
	case '[':
		return []any{}, dec.SkipValue()
	case '0':
		return 0.0, dec.SkipValue()
	}
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 't', 'f':
		return token.Bool(), nil
	case 'n':
		return nil, nil
	default:
		return token.String(), nil
	}
}
