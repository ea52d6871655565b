package arch_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "trackd"

// TestMain runs the rules over the whole module, from its top.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// imports is what one folder may import besides the standard library. Our own
// packages are meant exactly, libraries with all their packages.
type imports struct {
	may []string
	why string
}

const (
	backoff    = "github.com/cenkalti/backoff/v4"
	bbolt      = "go.etcd.io/bbolt"
	compress   = "github.com/klauspost/compress"
	errgroup   = "golang.org/x/sync"
	goCmp      = "github.com/google/go-cmp"
	json       = "github.com/go-json-experiment/json"
	jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"
	kong       = "github.com/alecthomas/kong"
	prometheus = "github.com/prometheus/client_golang"
	rate       = "golang.org/x/time"
	sys        = "golang.org/x/sys"
	systemd    = "github.com/coreos/go-systemd/v22"
	term       = "golang.org/x/term"
	pgx        = "github.com/jackc/pgx/v5"
	ulid       = "github.com/oklog/ulid/v2"
	yaml       = "github.com/goccy/go-yaml"

	event  = module + "/event"
	queue  = module + "/queue"
	status = module + "/internal/status"
	listen = module + "/internal/listen"

	anything = "*"
)

// plan has a row for every folder.
var plan = map[string]imports{
	"event":                   {[]string{json, ulid}, "it is the vocabulary everybody speaks, so it leans on nobody"},
	"queue":                   {[]string{event}, "it is the contract between the halves: no backend, no transport"},
	"queue/boltqueue":         {[]string{queue, event, "trackd/queue/boltqueue/segment", bbolt, compress, sys}, "a backend knows the contract, never who calls it"},
	"queue/boltqueue/segment": {[]string{event, bbolt, compress, sys}, "one file knows no queue, no lease and no caller"},
	"queue/pgqueue":           {[]string{queue, event, pgx}, "a backend knows the contract, never who calls it"},
	"queue/queuetest":         {[]string{queue, event, goCmp}, "the suite tests the contract, so that every backend can run it"},
	"ingest":                  {[]string{queue, event, status, listen, json, compress, prometheus, errgroup}, "what takes events must work with any backend and without what delivers them"},
	"sender":                  {[]string{queue, event, status, backoff, rate, prometheus, errgroup}, "what delivers events must work with any backend and without what takes them"},
	"admin":                   {[]string{queue, event, status, listen, json, prometheus, errgroup}, "it shows and mends the queue through the contract alone"},
	"config":                  {[]string{yaml}, "settings are plain data: what they mean to a package, internal/daemon says"},
	"internal/listen":         {[]string{sys}, "a socket is a socket, whoever serves on it"},
	"internal/tuning":         {nil, "it sets a process up and knows nothing of what runs in it"},
	"internal/systemd":        {[]string{systemd, sys}, "it tells how we are, and asks others through functions"},
	"internal/sandbox":        {[]string{json, jsonschema, rate}, "it judges us by a schema of its own: sharing package event would share its mistakes"},
	"internal/pgtest":         {[]string{pgx}, "it starts servers, whatever is tested on them"},
	"internal/bench":          {[]string{anything}, "it measures our packages and bare floors alike"},
	"internal/bench/floor":    {[]string{bbolt}, "a bare floor has nothing of ours in it"},
	"internal/flow":           {[]string{anything}, "it wires the parts that one event passes, to count them"},
	"internal/interop":        {[]string{anything}, "it drives the whole program from outside"},
	"internal/arch":           {nil, "it reads source files and runs none"},
	"internal/status":         {[]string{queue}, "it is what an operator is told, whoever tells it"},
	"internal/daemon":         {[]string{anything}, "the wiring knows every part"},
	"cmd/trackd":              {[]string{anything}, "the commands reach for whatever they show"},
}

// reserved are imports that belong to few packages even where anything goes.
var reserved = []struct {
	what, why string
	to        []string
}{
	{bbolt, "the file format is boltqueue's secret; benchmarks need the bare floor", []string{"queue/boltqueue", "queue/boltqueue/segment", "internal/bench/floor"}},
	{pgx, "nothing outside the backend may know SQL; its tests start servers", []string{"queue/pgqueue", "internal/pgtest"}},
	{yaml, "only config knows that settings are YAML", []string{"config"}},
	{ulid, "ids are minted once, when an event is parsed", []string{"event"}},
	{jsonschema, "only the stand-in judges by a schema", []string{"internal/sandbox"}},
	{kong, "the command line is cmd's", []string{"cmd/trackd"}},
	{systemd, "packages do not know who started them", []string{"internal/daemon", "internal/systemd"}},
	{term, "packages do not know who is watching", []string{"cmd/trackd", "internal/bench"}},
	{module + "/config", "packages take Options, so that tests and other programs need no file", []string{"cmd/trackd", "internal/daemon"}},
	{module + "/queue/queuetest", "the model and the faults are for tests", []string{"internal/bench", "internal/interop"}},
	{module + "/internal/pgtest", "it starts servers for tests", nil},
	{module + "/cmd/trackd", "nothing rests on the commands", nil},
}

func TestPackagesImportOnlyWhatThePlanAllows(t *testing.T) {
	for _, f := range sources(t) {
		allowed, planned := plan[f.dir]
		if !planned {
			t.Errorf("%s: folder %s is not in the plan: add it there with what it may import and why", f.path, f.dir)
			continue
		}
		for _, imported := range f.imports() {
			if !allowed.allows(imported) {
				t.Errorf("%s imports %s, which is not in the plan: %s", f.path, imported, allowed.why)
			}
		}
	}
}

func (r imports) allows(imported string) bool {
	return isStandard(imported) || slices.ContainsFunc(r.may, func(allowed string) bool {
		ours := strings.HasPrefix(allowed, module+"/")
		return allowed == anything || imported == allowed || !ours && strings.HasPrefix(imported, allowed+"/")
	})
}

func TestReservedImportsStayWhereTheyBelong(t *testing.T) {
	for _, f := range sources(t) {
		for _, imported := range f.imports() {
			for _, r := range reserved {
				within := imported == r.what || strings.HasPrefix(imported, r.what+"/")
				if within && f.dir != strings.TrimPrefix(r.what, module+"/") && !slices.Contains(r.to, f.dir) {
					t.Errorf("%s imports %s, allowed only in %v: %s", f.path, imported, r.to, r.why)
				}
			}
		}
	}
}

// One place to learn what a package is for, and no second one to contradict it.
func TestEveryPackageHasExactlyOnePackageComment(t *testing.T) {
	documented := map[string][]string{}
	for _, f := range sources(t) {
		files := documented[f.dir]
		if f.syntax.Doc != nil {
			files = append(files, f.path)
		}
		documented[f.dir] = files
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if files := documented[dir]; len(files) != 1 {
			t.Errorf("%s: package comments in %d files %v, want 1", dir, len(files), files)
		}
	}
}

// A file that takes longer to read than to explain wants to be two. Generated
// and test files count too: they are read as often.
func TestNoFileIsTooLongToRead(t *testing.T) {
	const most = 500
	for _, f := range allSources(t) {
		if lines := f.set.File(f.syntax.FileStart).LineCount(); lines > most {
			t.Errorf("%s has %d lines, want at most %d", f.path, lines, most)
		}
	}
}

// Such a name says what a file is made of, or when it was written, not what it
// is for.
var hollowName = regexp.MustCompile(`^(utils?|common|types|managers?|helpers?|misc|base|.*[a-z]2)$`)

func TestFilesAndFoldersAreNamedForTheirJob(t *testing.T) {
	for _, f := range allSources(t) {
		name := strings.TrimSuffix(strings.TrimSuffix(path.Base(f.path), ".go"), "_test")
		for _, part := range append(strings.Split(f.dir, "/"), name) {
			if hollowName.MatchString(part) {
				t.Errorf("%s: %q says nothing of the job", f.path, part)
			}
		}
	}
}

// State that belongs to no value cannot be tested twice in one process, nor
// owned by a goroutine. Variables are for errors, patterns, embedded files,
// tables that cannot be written to, and what the linker sets in main.
func TestNothingIsGlobal(t *testing.T) {
	for _, f := range sources(t) {
		for _, decl := range f.syntax.Decls {
			vars, ok := decl.(*ast.GenDecl)
			if !ok || vars.Tok != token.VAR {
				continue
			}
			for _, spec := range vars.Specs {
				if v := spec.(*ast.ValueSpec); !isConstantInSpirit(f, vars, v) {
					t.Errorf("%s: variable %s of the package can change: give it an owner", f.set.Position(v.Pos()), v.Names[0])
				}
			}
		}
	}
}

func isConstantInSpirit(f source, decl *ast.GenDecl, v *ast.ValueSpec) bool {
	if v.Names[0].Name == "_" || strings.Contains(textOf(decl.Doc)+textOf(v.Doc), "//go:embed") {
		return true
	}
	if len(v.Values) == 0 {
		linked, ok := v.Type.(*ast.Ident)
		return ok && linked.Name == "string" && f.syntax.Name.Name == "main"
	}
	return !slices.ContainsFunc(v.Values, func(value ast.Expr) bool {
		switch x := value.(type) {
		case *ast.CallExpr:
			switch called := callee(x); called {
			case "errors.New", "regexp.MustCompile", "sync.OnceValue", "sync.OnceValues":
				return false
			}
			return true
		case *ast.CompositeLit:
			array, ok := x.Type.(*ast.ArrayType)
			return !ok || array.Len == nil
		case *ast.BasicLit:
			return f.syntax.Name.Name != "main" || x.Kind != token.STRING // main.version, set by the linker
		default:
			return true
		}
	})
}

func callee(call *ast.CallExpr) string {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s.%s", selector.X, selector.Sel)
}

// textOf is the raw text of a comment; Text of package ast drops directives.
func textOf(group *ast.CommentGroup) string {
	if group == nil {
		return ""
	}
	var text strings.Builder
	for _, c := range group.List {
		text.WriteString(c.Text)
	}
	return text.String()
}

// source is one Go file of the house.
type source struct {
	path, dir string
	set       *token.FileSet
	syntax    *ast.File
}

// imports lists what f imports.
func (f source) imports() []string {
	var paths []string
	for _, spec := range f.syntax.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err == nil { // the parser has seen to it
			paths = append(paths, imported)
		}
	}
	return paths
}

// isStandard: a path of the standard library has no dot in its first element.
func isStandard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return first != module && !strings.Contains(first, ".")
}

// sources parses every Go file below the top but tests.
func sources(t *testing.T) []source {
	t.Helper()
	return slices.DeleteFunc(allSources(t), func(f source) bool {
		return f.dir == "." || strings.HasSuffix(f.path, "_test.go")
	})
}

func allSources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name != "." && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		set := token.NewFileSet()
		syntax, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		all = append(all, source{path: name, dir: path.Dir(name), set: set, syntax: syntax})
		return err
	})
	if err != nil {
		t.Fatalf("parse the house: %v", err)
	}
	return all
}
