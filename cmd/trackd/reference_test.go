package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"trackd/config"
	"trackd/event"
	"trackd/internal/daemon"
	"trackd/internal/status"
	"trackd/queue"
)

const referencePath = "../../docs/reference.md"

// update writes the parts of docs/reference.md that are derived from the
// program: go test ./cmd/trackd -run Reference -update-reference
var update = flag.Bool("update-reference", false, "write the derived parts of docs/reference.md")

// The derived parts stand between <!-- NAME --> and <!-- /NAME -->.
func TestTheReferenceSaysWhatTheProgramHas(t *testing.T) {
	page := readReference(t)
	for name, want := range map[string]string{
		"settings": settingsTable(),
		"commands": commandsTable(t),
		"metrics":  metricsTable(t),
	} {
		begin, end := "<!-- "+name+" -->\n", "<!-- /"+name+" -->\n"
		head, rest, opened := strings.Cut(page, begin)
		got, tail, closed := strings.Cut(rest, end)
		if !opened || !closed {
			t.Fatalf("%s: no part between %q and %q", referencePath, begin, end)
		}
		if *update {
			page = head + begin + want + end + tail
		} else if got != want {
			t.Errorf("%s: the part %q is out of date; to write it anew: go test ./cmd/trackd -run Reference -update-reference\n%s",
				referencePath, name, firstDifference(got, want))
		}
	}
	if *update {
		if err := os.WriteFile(referencePath, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What is explained by hand must be complete, and must not explain what is
// gone.
func TestTheReferenceExplainsEveryWord(t *testing.T) {
	page := readReference(t)
	var reasons, states []string
	for _, r := range queue.Reasons() {
		reasons = append(reasons, string(r))
	}
	for _, s := range status.States() {
		states = append(states, string(s))
	}
	replies := slices.Collect(maps.Values(constants(t, "../../ingest", "code")))
	for _, c := range []event.Code{event.Malformed, event.Invalid, event.NotLifecycle, event.Oversize} {
		replies = append(replies, string(c))
	}
	for section, want := range map[string][]string{
		"Exit codes":       slices.Collect(maps.Values(constants(t, ".", "exit"))),
		"Codes of replies": replies,
		"Reasons":          reasons,
		"States":           states,
		"Results":          slices.Collect(maps.Values(constants(t, "../../sender", "result"))),
	} {
		slices.Sort(want)
		if got := firstColumn(t, page, section); !slices.Equal(got, want) {
			t.Errorf("section %q:\n got %q\nwant %q", section, got, want)
		}
	}
}

func TestEveryMetricIsWellFormed(t *testing.T) {
	problems, err := testutil.GatherAndLint(wired(t).Metrics())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "trackd_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

var (
	metricName  = regexp.MustCompile(`trackd_[a-z_]+`)
	commandLine = regexp.MustCompile(`(?m)^\s*(?:\$ )?(trackd [^#|>\n]*)`)
)

// What the recipes tell people to type and to watch must be there.
func TestTheRecipesNameWhatThereIs(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	families, err := wired(t).Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, f := range families {
		known = append(known, f.GetName())
	}
	for _, name := range metricName.FindAllString(string(text), -1) {
		if !slices.Contains(known, name) {
			t.Errorf("there is no metric %s", name)
		}
	}
	lines := 0
	for i, block := range strings.Split(string(text), "```") {
		if i%2 == 0 {
			continue // between the blocks
		}
		for _, m := range commandLine.FindAllStringSubmatch(block, -1) {
			if strings.HasPrefix(m[1], "trackd   ") { // the first line of a status
				continue
			}
			p, err := kong.New(&grammar{}, kong.Exit(func(int) {}))
			if err != nil {
				t.Fatal(err)
			}
			args := strings.Fields(regexp.MustCompile(`"[^"]*"`).ReplaceAllString(m[1], "text"))
			if _, err := p.Parse(args[1:]); err != nil {
				t.Errorf("%s: %v", m[1], err)
			}
			lines++
		}
	}
	if lines < 20 {
		t.Errorf("only %d command lines found", lines)
	}
}

func readReference(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range w {
		if i >= len(g) || g[i] != w[i] {
			return fmt.Sprintf(" got %q\nwant %q", append(g, "")[min(i, len(g))], w[i])
		}
	}
	return fmt.Sprintf(" got %q\nwant nothing", g[len(w)])
}

// tableCell keeps text from ending its cell.
func tableCell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func settingsTable() string {
	var b strings.Builder
	section := ""
	for _, k := range config.Keys() {
		if s, _, nested := strings.Cut(k.Name, "."); nested && s != section || section == "" {
			section = s
			b.WriteString("\n| key | variable | default | allowed | meaning |\n|---|---|---|---|---|\n")
		}
		def := "`" + k.Default + "`"
		if k.Default == "" {
			def = "–"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", k.Name, k.Env, def, tableCell(k.Allowed), tableCell(k.Doc))
	}
	return b.String() + "\n"
}

// commandsTable has a row for every command, flag and argument of the grammar.
func commandsTable(t *testing.T) string {
	t.Helper()
	p, err := kong.New(&grammar{}, kong.Name("trackd"), kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| command | flag or argument | meaning |\n|---|---|---|\n")
	row := func(command, what, help string) {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", command, what, tableCell(help))
	}
	row("every command", "`--help`", "Show what the command does.")
	for _, f := range p.Model.Flags {
		if f.Name != "help" {
			row("every command", flagName(f), f.Help)
		}
	}
	leaves := p.Model.Leaves(true)
	shared := sharedFlags(leaves)
	for _, leaf := range leaves {
		path := strings.TrimPrefix(leaf.Path(), "trackd ")
		row("**"+path+"**", "", leaf.Help)
		var filter []string
		for _, o := range options(leaf) {
			if _, in := shared[o]; in {
				filter = append(filter, o.name)
			} else {
				row(path, o.name, o.help)
			}
		}
		if len(filter) > 0 {
			row(path, strings.Join(filter, " "), "The filter.")
		}
	}
	b.WriteString("\nThe filter:\n\n| flag or argument | meaning |\n|---|---|\n")
	for _, o := range slices.SortedFunc(maps.Keys(shared), func(x, y option) int { return shared[x] - shared[y] }) {
		fmt.Fprintf(&b, "| %s | %s |\n", o.name, tableCell(o.help))
	}
	return b.String() + "\n"
}

// option is a flag or an argument.
type option struct{ name, help string }

func options(leaf *kong.Node) []option {
	var all []option
	for _, arg := range leaf.Positional {
		all = append(all, option{"`" + arg.Summary() + "`", arg.Help})
	}
	for _, f := range leaf.Flags {
		all = append(all, option{flagName(f), f.Help})
	}
	return all
}

// sharedFlags are those that many commands have: the filter. They come with
// their order.
func sharedFlags(leaves []*kong.Node) map[option]int {
	count, order := map[option]int{}, map[option]int{}
	for _, leaf := range leaves {
		for _, o := range options(leaf) {
			if count[o]++; count[o] == 1 {
				order[o] = len(order)
			}
		}
	}
	maps.DeleteFunc(order, func(o option, _ int) bool { return count[o] < 4 })
	return order
}

func flagName(f *kong.Flag) string {
	if f.IsBool() {
		return "`--" + f.Name + "`"
	}
	return "`--" + f.Name + "=" + f.FormatPlaceHolder() + "`"
}

// metricsTable has a row for every metric of the daemon, with the label values
// that are there from the start.
func metricsTable(t *testing.T) string {
	t.Helper()
	families, err := wired(t).Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "trackd_") {
			continue
		}
		labels := map[string][]string{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
		var cells []string
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			slices.Sort(labels[name])
			cells = append(cells, fmt.Sprintf("`%s`: %s", name, strings.Join(slices.Compact(labels[name]), ", ")))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()),
			strings.Join(cells, "; "), tableCell(f.GetHelp()))
	}
	return b.String() + "\n"
}

// wired returns a daemon that is wired but not running.
func wired(t *testing.T) *daemon.Daemon {
	t.Helper()
	dir := t.TempDir()
	env := map[string]string{
		"TRACKD_UPSTREAM_URL": "http://127.0.0.1:1/v1", "TRACKD_UPSTREAM_API_KEY": "key",
		"TRACKD_QUEUE_DIR":     filepath.Join(dir, "queue"),
		"TRACKD_INGEST_SOCKET": filepath.Join(dir, "events.sock"), "TRACKD_INGEST_HTTP": "127.0.0.1:0",
		"TRACKD_ADMIN_SOCKET": filepath.Join(dir, "admin.sock"), "TRACKD_ADMIN_HTTP": "127.0.0.1:0",
	}
	cfg, err := config.Load(config.LoadOptions{Getenv: func(name string) string { return env[name] },
		ReadFile: func(string) ([]byte, error) { return nil, os.ErrNotExist }})
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.New(daemon.Options{Config: cfg, Source: daemon.Source{Level: &slog.LevelVar{}}, Version: version, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// constants returns the constants of a package whose names begin with prefix
// and go on with a capital letter, as text.
func constants(t *testing.T, dir, prefix string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				v := spec.(*ast.ValueSpec)
				rest, ok := strings.CutPrefix(v.Names[0].Name, prefix)
				if !ok || rest == "" || rest[0] < 'A' || rest[0] > 'Z' || len(v.Values) != 1 {
					continue
				}
				if lit, ok := v.Values[0].(*ast.BasicLit); ok {
					found[v.Names[0].Name] = strings.Trim(lit.Value, `"`)
				}
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s: no constant begins with %s", dir, prefix)
	}
	return found
}

var code = regexp.MustCompile("`([^`]*)`")

// firstColumn returns the words in code of the first column of the tables of a
// section, sorted.
func firstColumn(t *testing.T, page, section string) []string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "\n## "+section+"\n")
	if !ok {
		t.Fatalf("%s: no section %s", referencePath, strconv.Quote(section))
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var words []string
	for line := range strings.Lines(rest) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
				words = append(words, m[1])
			}
		}
	}
	slices.Sort(words)
	return words
}
