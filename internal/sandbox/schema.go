package sandbox

import (
	"bytes"
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

// maxEventBytes bounds one event. The API documents 32 KB; the smaller reading
// of it is judged by, so that whatever passes here passes there.
const maxEventBytes = 32_000

// callTypes lists the types of call, each of which has an endpoint of its name.
func callTypes() []string {
	return []string{"identify", "track", "page", "screen", "group", "alias"}
}

//go:embed schema.json
var schemaJSON []byte

// schemas is schema.json, compiled.
type schemas struct {
	untyped   *jsonschema.Schema            // for what has no known type
	types     map[string]*jsonschema.Schema // by type of call
	lifecycle map[string]*jsonschema.Schema // for track calls, by name of a lifecycle event
}

// compiledSchemas compiles schema.json, which never changes, once.
var compiledSchemas = sync.OnceValues(func() (schemas, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaJSON))
	if err != nil {
		return schemas{}, fmt.Errorf("read schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat() // otherwise "date-time" is a remark, not a rule
	if err := compiler.AddResource("call.json", doc); err != nil {
		return schemas{}, fmt.Errorf("add schema: %w", err)
	}
	all := schemas{types: map[string]*jsonschema.Schema{}, lifecycle: map[string]*jsonschema.Schema{}}
	if all.untyped, err = compiler.Compile("call.json"); err != nil {
		return schemas{}, fmt.Errorf("compile schema: %w", err)
	}
	root, _ := doc.(map[string]any)
	defs, _ := root["$defs"].(map[string]any)
	for name := range defs {
		compiled, err := compiler.Compile("call.json#/$defs/" + url.PathEscape(name))
		if err != nil {
			return schemas{}, fmt.Errorf("compile schema of %q: %w", name, err)
		}
		switch {
		case slices.Contains(callTypes(), name):
			all.types[name] = compiled
		case strings.HasPrefix(name, "Application "):
			all.lifecycle[name] = compiled
		}
	}
	return all, nil
})

// of returns the schema that judges value, a call of type callType, or if that
// is "" of the type that the value itself states. One schema that told all
// calls apart by itself would take several times as long.
func (s schemas) of(callType string, value any) *jsonschema.Schema {
	object, _ := value.(map[string]any)
	if callType == "" {
		callType, _ = object["type"].(string)
	}
	name, _ := object["event"].(string)
	if schema := s.lifecycle[name]; schema != nil && callType == "track" {
		return schema
	}
	if schema := s.types[callType]; schema != nil {
		return schema
	}
	return s.untyped
}

// Problems judges one event as the stand-in judges an item of a batch in strict
// mode: by the type it states. It returns nil when the event is valid, otherwise
// one sentence for each thing wrong with it, sorted. The rules are those of the
// API document, read leniently where real clients need it: userId and
// anonymousId may both be there, or null where they are not needed, and an event
// name outside the seven of the lifecycle specification is accepted as it is.
func Problems(event []byte) []string {
	_, problems := judge("", event)
	return problems
}

// judge decodes event, a call of type callType, and lists what is wrong with it.
// At an endpoint of its own a call need not state its type: the vendor's Node
// client never does. With callType "" it must. The object is what was read of
// the event, nil when it is not an object.
func judge(callType string, event []byte) (map[string]any, []string) {
	if len(event) > maxEventBytes {
		return nil, []string{fmt.Sprintf("the event has %d bytes, allowed are %d", len(event), maxEventBytes)}
	}
	value, err := decode(event)
	if err != nil {
		return nil, []string{malformed(err)}
	}
	object, _ := value.(map[string]any)
	all, err := compiledSchemas()
	if err != nil {
		return object, []string{err.Error()}
	}
	invalid, ok := errors.AsType[*jsonschema.ValidationError](all.of(callType, value).Validate(value))
	if !ok {
		return object, nil
	}
	problems := sentences(invalid, nil)
	slices.Sort(problems)
	return object, slices.Compact(problems)
}

// malformed says why a body is not one JSON value, and where.
func malformed(err error) string {
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return fmt.Sprintf("the body must be one JSON value: %v at byte %d", e.Err, e.ByteOffset)
	}
	return "the body must be one JSON value: " + err.Error()
}

// sentences appends what the leaves of a failed validation say. A failed anyOf
// is one sentence: its branches are the ids of which one is needed.
func sentences(e *jsonschema.ValidationError, to []string) []string {
	if _, ok := e.ErrorKind.(*kind.AnyOf); ok {
		ids := idsMissing(e, nil)
		last := len(ids) - 1
		return append(to, strings.Join(ids[:last], ", ")+" or "+ids[last]+" must be a non-empty string")
	}
	if len(e.Causes) == 0 {
		return append(to, sentence(e))
	}
	for _, cause := range e.Causes {
		to = sentences(cause, to)
	}
	return to
}

// idsMissing appends the ids that the branches of a failed anyOf ask for.
func idsMissing(e *jsonschema.ValidationError, to []string) []string {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			to = idsMissing(cause, to)
		}
		return to
	}
	if k, ok := e.ErrorKind.(*kind.Required); ok {
		return append(to, k.Missing...)
	}
	return append(to, strings.Join(e.InstanceLocation, "."))
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
	case *kind.Enum:
		return fmt.Sprintf("%s must be one of %v", field, k.Want)
	case *kind.MinLength:
		return field + " must not be empty"
	case *kind.Format:
		return field + " must be an RFC 3339 date and time with an offset"
	default:
		return fmt.Sprintf("%s breaks the rule %q", field, strings.Join(k.KeywordPath(), "/"))
	}
}
