package config

import (
	"regexp"
	"slices"
	"strings"
)

const (
	envPrefix = "TRACKD_"
	envConfig = "TRACKD_CONFIG" // names the file
)

// environ is the layer of the environment.
func (l *loader) environ() []setting {
	var layer []setting
	for _, name := range l.names {
		env := l.fields[name].Env
		if text, set := l.lookup(env); set {
			layer = append(layer, setting{key: name, text: text, where: env, origin: env})
		}
	}
	l.reportStrayVariables()
	return layer
}

// lookup reads a variable that may be set and empty.
func (l *loader) lookup(env string) (text string, set bool) {
	text = l.Getenv(env)
	return text, text != "" || slices.Contains(l.Environ, env+"=")
}

// serviceLink matches what Kubernetes puts into every container of a namespace
// that has a Service called trackd, or trackd-queue: TRACKD_SERVICE_HOST,
// TRACKD_QUEUE_PORT_8484_TCP.
var serviceLink = regexp.MustCompile(`_(SERVICE_(HOST|PORT)|PORT)(_|$)`)

// reportStrayVariables tells of variables that look like ours and name no key:
// those under a section, those a slip away from a key, and those that lack only a section. Others that begin
// with the prefix are somebody else's.
func (l *loader) reportStrayVariables() {
	known := []string{envConfig}
	sections := map[string]bool{}
	for _, name := range l.names {
		known = append(known, l.fields[name].Env)
		if section, _, nested := strings.Cut(name, "."); nested {
			sections[strings.ToUpper(section)] = true
		}
	}
	for _, variable := range slices.Sorted(slices.Values(l.Environ)) {
		name, _, _ := strings.Cut(variable, "=")
		rest, ours := strings.CutPrefix(name, envPrefix)
		if !ours || slices.Contains(known, name) || serviceLink.MatchString(name) {
			continue
		}
		hint := didYouMean(name, known)
		if at := slices.IndexFunc(known, func(k string) bool { return strings.HasSuffix(k, "_"+rest) }); hint == "" && at >= 0 {
			hint = didYouMean(known[at], known) // the section was left out
		}
		section, _, _ := strings.Cut(rest, "_")
		if hint != "" || sections[section] {
			l.reportAt(name, "", "no such variable"+hint)
		}
	}
}
