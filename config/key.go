package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Key is the declaration of one setting.
type Key struct {
	Name    string // as in the file, sections joined by a dot
	Env     string // the variable that sets it
	Default string // as the file would have it, on a host set up by systemd or root
	Allowed string // what it may be, in words
	Doc     string
}

// Keys lists every setting in the order of [Config].
func Keys() []Key {
	place := strings.NewReplacer("{state}", systemState, "{runtime}", systemRuntime)
	var keys []Key
	for _, f := range fields(new(Config)) {
		f.Default = place.Replace(f.Default)
		keys = append(keys, f.Key)
	}
	return keys
}

// field is a setting's declaration bound to its place in a Config.
type field struct {
	Key
	value   reflect.Value // settable
	words   []string      // of the allow tag
	lowest  string        // of the min tag
	highest string        // of the max tag
}

// fields lists the settings of c: tagged fields, sections unfolded.
func fields(c *Config) []field {
	return fieldsOf(reflect.ValueOf(c).Elem(), "")
}

func fieldsOf(section reflect.Value, prefix string) []field {
	var all []field
	for i := range section.NumField() {
		tag := section.Type().Field(i).Tag
		name, declared := tag.Lookup("yaml")
		if !declared {
			continue
		}
		value := section.Field(i)
		if _, leaf := value.Addr().Interface().(encoding.TextUnmarshaler); !leaf && value.Kind() == reflect.Struct {
			all = append(all, fieldsOf(value, name+".")...)
			continue
		}
		all = append(all, newField(prefix+name, value, tag))
	}
	return all
}

func newField(name string, value reflect.Value, tag reflect.StructTag) field {
	f := field{
		Key: Key{
			Name:    name,
			Env:     envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_")),
			Default: tag.Get("default"),
			Doc:     tag.Get("doc"),
		},
		value:   value,
		words:   strings.Fields(tag.Get("allow")),
		lowest:  tag.Get("min"),
		highest: tag.Get("max"),
	}
	f.Allowed = f.allowed()
	return f
}

// allowed says in words what f may be.
func (f field) allowed() string {
	if len(f.words) > 0 {
		return strings.Join(f.words, " or ")
	}
	switch kind := kindOf(f.value); {
	case f.lowest != "" && f.highest != "":
		return fmt.Sprintf("%s, from %s to %s", kind, f.lowest, f.highest)
	case f.lowest != "" && f.lowest != "0" && f.lowest != "0s":
		return fmt.Sprintf("%s, at least %s", kind, f.lowest)
	default:
		return kind
	}
}
