package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// DefaultPath is the file read when nobody names one and it exists.
const DefaultPath = "/etc/trackd/config.yaml"

// LoadOptions are the facts that Load depends on. The zero value loads the
// defaults of root with an empty environment.
type LoadOptions struct {
	// Path of the file, which must exist. Empty: the file that TRACKD_CONFIG
	// names, none if that is set and empty, else DefaultPath if there is one.
	Path string

	// Client is set by commands that only talk to the daemon: the region and
	// the keys are then not required, and no key is read.
	Client bool

	// EUID is the effective user id. Those other than 0 get directories of
	// their own by default.
	EUID int

	// Getenv reads the environment. Nil: it is empty.
	Getenv func(string) string

	// Environ is the environment as os.Environ returns it, used to find
	// variables of ours that name no key and those that are set but empty, as
	// TRACKD_INGEST_HTTP= is to turn a listener off. Nil: neither is seen.
	Environ []string

	// CredentialStores are the directories from which systemd hands the service
	// its key, as credential trackd.api_key. Commands that judge the configuration
	// from outside the service look there where no key is given and systemd has
	// handed this process none. Nil: nobody looks.
	CredentialStores []string

	// ReadFile reads the file, the keys and the certificates. Nil: os.ReadFile.
	ReadFile func(string) ([]byte, error)
}

// Load reads the configuration. Its error is of type [Problems] and holds
// everything that is wrong; the Config is then of no use.
func Load(o LoadOptions) (Config, error) {
	l := newLoader(o)
	l.apply(l.defaults())
	file, readable := l.file()
	if !readable {
		return Config{}, l.problems // what the file says is unknown: nothing more can be judged
	}
	l.apply(file)
	l.apply(l.environ())
	l.validate()
	if !o.Client {
		l.require()
	}
	if len(l.problems) > 0 {
		return Config{}, l.problems
	}
	return *l.config, nil
}

// setting is a value for one key, as a layer states it.
type setting struct {
	key    string
	text   string
	where  string // for problems: file:line:column or a variable
	origin string // for Entries: file:line or a variable
}

const originDefault = "default"

// loader gathers settings and problems. It lives for one Load.
type loader struct {
	LoadOptions
	path          string // of the file; "": there shall be none
	pathIsDefault bool   // nobody named it, so it need not exist
	config        *Config
	fields        map[string]field // of config, by key
	names         []string         // of the keys, in order
	wrong         map[string]bool  // keys with a problem already told
	problems      Problems
}

func newLoader(o LoadOptions) *loader {
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	named := cmp.Or(o.Path, o.Getenv(envConfig))
	path := cmp.Or(named, DefaultPath)
	if named == "" && slices.Contains(o.Environ, envConfig+"=") {
		path = ""
	}
	l := &loader{
		LoadOptions:   o,
		path:          path,
		pathIsDefault: named == "",
		config:        &Config{origins: map[string]string{}},
		fields:        map[string]field{},
		wrong:         map[string]bool{},
	}
	for _, f := range fields(l.config) {
		l.fields[f.Name] = f
		l.names = append(l.names, f.Name)
	}
	return l
}

// apply lays settings over those of the layers before.
func (l *loader) apply(layer []setting) {
	for _, s := range layer {
		f := l.fields[s.key]
		l.config.origins[s.key] = s.origin
		if err := f.set(s.text); err != nil {
			l.reportAt(s.where, s.key, found(f.quote(s.text), f.Allowed))
		}
	}
}

// quote shows text as found, unless it is secret.
func (f field) quote(text string) string {
	if _, secret := f.value.Interface().(Secret); secret {
		return "something else"
	}
	const most = 80
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

// defaults is the lowest layer.
func (l *loader) defaults() []setting {
	state, runtime := directories(l.LoadOptions)
	place := strings.NewReplacer("{state}", state, "{runtime}", runtime)
	var layer []setting
	for _, name := range l.names {
		if text := place.Replace(l.fields[name].Default); text != "" {
			layer = append(layer, setting{key: name, text: text, origin: originDefault})
		}
	}
	return layer
}

// report tells a problem of key where its value came from.
func (l *loader) report(key, text string) { l.reportAt(l.where(key), key, text) }

func (l *loader) reportAt(where, key, text string) {
	l.wrong[key] = true
	l.problems = append(l.problems, Problem{Where: where, Key: key, Text: text})
}

// where is the origin of key's value, or "" for a default, which is nowhere
// that an operator could look.
func (l *loader) where(key string) string {
	if origin := l.config.origins[key]; origin != originDefault {
		return origin
	}
	return ""
}

// sound reports whether no problem has been told of any of keys, so that a
// rule spanning them would not tell of the same slip twice.
func (l *loader) sound(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool { return l.wrong[key] })
}

// file is the layer of the configuration file. It is not readable if it cannot
// be read or is no YAML.
func (l *loader) file() (layer []setting, readable bool) {
	if l.path == "" {
		return nil, true
	}
	text, err := l.ReadFile(l.path)
	switch {
	case l.pathIsDefault && errors.Is(err, fs.ErrNotExist):
		return nil, true
	case err != nil:
		l.reportAt("", "", fmt.Sprintf("read the configuration: %v", err))
		return nil, false
	}
	r := fileReader{path: l.path, known: l.fields, names: l.names}
	readable = r.read(text)
	for _, p := range r.problems {
		l.reportAt(p.Where, p.Key, p.Text)
	}
	return r.settings, readable
}
