package sandbox

import (
	"bytes"
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// maxEventBytes bounds one track call. The API documents 32 KB; the smaller
// reading is judged, so that who passes here passes there.
const maxEventBytes = 32_000

//go:embed schema.json
var schemaJSON []byte

// schemas is schema.json, compiled.
type schemas struct {
	plain *jsonschema.Schema            // for any name
	named map[string]*jsonschema.Schema // for the lifecycle events, by name
}

// trackSchemas compiles schema.json, which never changes, once.
var trackSchemas = sync.OnceValues(func() (schemas, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON))
	if err != nil {
		return schemas{}, fmt.Errorf("read schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat() // else "date-time" is a remark, not a rule
	if err := compiler.AddResource("track.json", doc); err != nil {
		return schemas{}, fmt.Errorf("add schema: %w", err)
	}
	plain, err := compiler.Compile("track.json")
	if err != nil {
		return schemas{}, fmt.Errorf("compile schema: %w", err)
	}
	named := make(map[string]*jsonschema.Schema)
	root, _ := doc.(map[string]any)
	defs, _ := root["$defs"].(map[string]any)
	for name := range defs {
		named[name], err = compiler.Compile("track.json#/$defs/" + url.PathEscape(name))
		if err != nil {
			return schemas{}, fmt.Errorf("compile schema of %q: %w", name, err)
		}
	}
	return schemas{plain, named}, nil
})

// of returns the schema that judges value. One schema that told the names
// apart by itself would take twice the time.
func (s schemas) of(value any) *jsonschema.Schema {
	object, _ := value.(map[string]any)
	name, _ := object["event"].(string)
	return cmp.Or(s.named[name], s.plain)
}

// Problems judges one body of POST /v1/track as the stand-in does in strict
// mode: it returns nil when body is a valid track call, else one sentence for
// each thing wrong with it, sorted. The rules are those of the API document,
// read leniently where real clients need it: userId and anonymousId may both
// be there, one of them non-empty; an event name outside the seven of the
// lifecycle specification is taken as it is.
func Problems(body []byte) []string {
	_, problems := parseCall(body)
	return problems
}

// parseCall decodes and judges body. The object is what was read of it, nil
// when it is not an object.
func parseCall(body []byte) (map[string]any, []string) {
	if len(body) > maxEventBytes {
		return nil, []string{fmt.Sprintf("the event has %d bytes, allowed are %d", len(body), maxEventBytes)}
	}
	value, err := decode(body)
	if err != nil {
		return nil, []string{malformed(err)}
	}
	object, _ := value.(map[string]any)
	return object, schemaProblems(value)
}

// malformed says why a body is not one JSON value, and where.
func malformed(err error) string {
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Sprintf("the body must be one JSON value: %v at byte %d", e.Err, e.ByteOffset)
	}
	return "the body must be one JSON value: " + err.Error()
}

// schemaProblems holds value against the schema.
func schemaProblems(value any) []string {
	all, err := trackSchemas()
	if err != nil {
		return []string{err.Error()}
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](all.of(value).Validate(value))
	if !ok {
		return nil
	}
	problems := sentences(invalid, nil)
	slices.Sort(problems)
	return slices.Compact(problems)
}

// sentences appends what the leaves of a failed validation say. A failed
// anyOf is a leaf: its branches are the two ids.
func sentences(e *jsonschema.ValidationError, to []string) []string {
	if _, ids := e.ErrorKind.(*kind.AnyOf); ids {
		return append(to, "userId or anonymousId must be a non-empty string")
	}
	if len(e.Causes) == 0 {
		return append(to, sentence(e))
	}
	for _, cause := range e.Causes {
		to = sentences(cause, to)
	}
	return to
}

// sentence says what is wrong at one place. It never repeats the value found,
// which may be a user's.
func sentence(e *jsonschema.ValidationError) string {
	field := strings.Join(e.InstanceLocation, ".")
	if field == "" {
		field = "the event"
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return field + " must have " + strings.Join(k.Missing, " and ")
	case *kind.Type:
		return fmt.Sprintf("%s must be of type %s, not %s", field, strings.Join(k.Want, " or "), k.Got)
	case *kind.Const:
		return fmt.Sprintf("%s must be %q", field, k.Want)
	case *kind.MinLength:
		return field + " must not be empty"
	case *kind.Format:
		return field + " must be an RFC 3339 date and time with an offset"
	default:
		return fmt.Sprintf("%s breaks the rule %q", field, strings.Join(k.KeywordPath(), "/"))
	}
}
