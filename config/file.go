package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxFileBytes bounds the configuration file: a larger one is a mistake.
const maxFileBytes = 1 << 20

// fileReader turns YAML into settings. It walks the syntax tree rather than
// decoding into the struct, since the decoder stops at the first unknown key,
// and so that the file and the environment are read by the same rules.
type fileReader struct {
	path     string
	known    map[string]field
	names    []string
	settings []setting
	problems Problems
}

// read reads a whole file and reports whether it is YAML.
func (r *fileReader) read(text []byte) bool {
	if len(text) > maxFileBytes {
		r.report(nil, "", fmt.Sprintf("%d bytes long, allowed %d: is this the right file?", len(text), maxFileBytes))
		return false
	}
	file, err := parser.ParseBytes(text, 0)
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		r.report(syntax.GetToken(), "", syntax.GetMessage())
		return false
	} else if err != nil {
		r.report(nil, "", err.Error())
		return false
	}
	for i, doc := range file.Docs {
		if i > 0 && doc.Body != nil {
			r.report(doc.Body.GetToken(), "", "a second document; allowed is one")
			break
		}
		r.section("", doc.Body)
	}
	return true
}

// section reads the keys under prefix, which is "" or ends in a dot.
func (r *fileReader) section(prefix string, node ast.Node) {
	switch n := node.(type) {
	case nil, *ast.NullNode, *ast.CommentGroupNode: // nothing in it, or all commented out
	case *ast.MappingNode:
		for _, pair := range n.Values {
			r.pair(prefix, pair)
		}
	case *ast.MappingValueNode:
		r.pair(prefix, n)
	default:
		r.report(node.GetToken(), strings.TrimSuffix(prefix, "."), found(describe(node), `keys, each as "name: value" on a line of its own`))
	}
}

// pair reads one key and what is beneath it.
func (r *fileReader) pair(prefix string, pair *ast.MappingValueNode) {
	at := pair.Key.GetToken()
	name, ok := scalar(pair.Key)
	key := prefix + name
	switch {
	case !ok:
		r.report(at, strings.TrimSuffix(prefix, "."), found(describe(pair.Key), "the name of a key"))
	case prefix == "" && r.isSection(key):
		r.section(key+".", pair.Value)
	case r.known[key].Name == "":
		r.report(at, key, "no such key"+r.suggest(prefix, name))
	default:
		r.value(key, pair.Value)
	}
}

// value reads the value of a known key.
func (r *fileReader) value(key string, node ast.Node) {
	text, ok := scalar(node)
	if _, list := r.known[key].value.Interface().(Names); list && !ok {
		text, ok = joined(node)
	}
	if !ok {
		r.report(node.GetToken(), key, found(describe(node), r.known[key].Allowed))
		return
	}
	p := node.GetToken().Position
	r.settings = append(r.settings, setting{
		key:    key,
		text:   text,
		where:  fmt.Sprintf("%s:%d:%d", r.path, p.Line, p.Column),
		origin: fmt.Sprintf("%s:%d", r.path, p.Line),
	})
}

// isSection reports whether keys lie under name.
func (r *fileReader) isSection(name string) bool {
	for _, known := range r.names {
		if strings.HasPrefix(known, name+".") {
			return true
		}
	}
	return false
}

// suggest names the key that was meant: one spelled nearly so, or the one of
// that name in another section.
func (r *fileReader) suggest(prefix, name string) string {
	candidates := r.names
	if prefix == "" {
		for _, known := range r.names {
			if section, _, nested := strings.Cut(known, "."); nested {
				candidates = append(candidates[:len(candidates):len(candidates)], section)
			}
		}
	}
	if hint := didYouMean(prefix+name, candidates); hint != "" {
		return hint
	}
	for _, known := range r.names {
		if _, last, _ := strings.Cut(known, "."); last == name {
			return didYouMean(known, []string{known})
		}
	}
	return ""
}

// report tells a problem at a place of the file.
func (r *fileReader) report(at *token.Token, key, text string) {
	where := r.path
	if at != nil && at.Position != nil {
		where = fmt.Sprintf("%s:%d:%d", r.path, at.Position.Line, at.Position.Column)
	}
	r.problems = append(r.problems, Problem{Where: where, Key: key, Text: text})
}

// scalar returns the text of a plain value as written, and whether node is one.
func scalar(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(n.Value.Value, "\n"), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return node.GetToken().Value, true // 0660 stays 0660
	default:
		return "", false
	}
}

// joined returns the plain values of a list with commas between them, and whether
// node is one.
func joined(node ast.Node) (string, bool) {
	list, ok := node.(*ast.SequenceNode)
	if !ok {
		return "", false
	}
	var items []string
	for _, item := range list.Values {
		text, ok := scalar(item)
		if !ok || strings.ContainsRune(text, ',') {
			return "", false
		}
		items = append(items, text)
	}
	return strings.Join(items, ","), true
}

// describe names what is not a plain value.
func describe(node ast.Node) string {
	switch node.(type) {
	case *ast.NullNode:
		return `nothing (for an empty value write "", for the default remove the line)`
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys"
	case *ast.AliasNode, *ast.AnchorNode, *ast.MergeKeyNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "a tag"
	case *ast.MappingKeyNode:
		return `a key behind "?"`
	default:
		return "a plain value"
	}
}
