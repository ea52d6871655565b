package arch_test

import (
	stdjson "encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// expression is one PromQL expression and where it stands.
type expression struct{ where, text string }

// expressions returns those of the alerts and of the dashboard.
func expressions(t *testing.T) (all []expression) {
	t.Helper()
	rules := regexp.MustCompile(`(?m)^ +- alert: (\w+)\n +expr: (.+)$`).FindAllStringSubmatch(read(t, "deploy/prometheus/rules.yml"), -1)
	for _, r := range rules {
		all = append(all, expression{"alert " + r[1], r[2]})
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Name, Expr string } }
	}
	if err := stdjson.Unmarshal([]byte(read(t, "deploy/grafana/trackd.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			all = append(all, expression{"panel " + p.Title, target.Expr})
		}
	}
	for _, a := range dashboard.Annotations.List {
		all = append(all, expression{"annotation " + a.Name, a.Expr})
	}
	if len(rules) < 10 || len(all) < len(rules)+20 {
		t.Fatalf("found %d alerts and %d expressions in all", len(rules), len(all))
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A metric that was renamed makes an alert that never fires, and nobody is told.
// docs/reference.md, which a test compares with the daemon, lists what there is.
func TestAlertsAndDashboardNameMetricsThatExist(t *testing.T) {
	listed := regexp.MustCompile("(?m)^\\| `(trackd_\\w+)` \\| (\\w+) \\| ([^|]*) \\|").FindAllStringSubmatch(read(t, "docs/reference.md"), -1)
	if len(listed) < 20 {
		t.Fatalf("docs/reference.md lists %d metrics", len(listed))
	}
	labels := map[string]string{} // by name of a series
	for _, m := range listed {
		labels[m[1]] = m[3]
		if m[2] == "histogram" {
			labels[m[1]+"_bucket"] = m[3] + " `le`: "
		}
	}
	series := regexp.MustCompile(`\b((?:trackd|process|go)_\w+|up\b)(?:\{([^}]*)\})?`)
	matcher := regexp.MustCompile(`(\w+)=~?"([^"]*)"`)
	for _, e := range expressions(t) {
		found := series.FindAllStringSubmatch(e.text, -1)
		if len(found) == 0 {
			t.Errorf("%s: no metric in %s", e.where, e.text)
		}
		for _, s := range found {
			has, known := labels[s[1]]
			if !strings.HasPrefix(s[1], "trackd_") {
				continue // of the Go runtime, the process and Prometheus itself
			}
			if !known {
				t.Errorf("%s: docs/reference.md has no metric %s", e.where, s[1])
			}
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				if m[1] == "instance" || m[1] == "job" {
					continue // Prometheus adds them
				}
				_, values, there := strings.Cut(has, "`"+m[1]+"`: ")
				values, _, _ = strings.Cut(values, ";")
				for value := range strings.SplitSeq(m[2], "|") {
					if !there || !slices.Contains(strings.Split(strings.TrimSpace(values), ", "), value) {
						t.Errorf("%s: docs/reference.md has no %s=%q of %s", e.where, m[1], value, s[1])
					}
				}
			}
		}
		for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(e.text, -1) {
			for label := range strings.SplitSeq(by[1], ", ") {
				if label != "instance" && !slices.ContainsFunc(found, func(s []string) bool { return strings.Contains(labels[s[1]], "`"+label+"`: ") }) {
					t.Errorf("%s: no metric has the label %s", e.where, label)
				}
			}
		}
	}
}

// Who is woken by an alert needs to know what to do.
func TestEveryAlertLinksToARecipe(t *testing.T) {
	headings := map[string]bool{}
	for _, h := range regexp.MustCompile(`(?m)^## (.+)$`).FindAllStringSubmatch(read(t, "docs/operations.md"), -1) {
		anchor := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(h[1]), "")
		headings["docs/operations.md#"+strings.ReplaceAll(anchor, " ", "-")] = true
	}
	tests := read(t, "deploy/prometheus/rules_test.yml")
	alerts := strings.Split(read(t, "deploy/prometheus/rules.yml"), "- alert: ")[1:]
	for _, alert := range alerts {
		name, _, _ := strings.Cut(alert, "\n")
		link := regexp.MustCompile(`docs/operations.md#[a-z0-9-]+`).FindString(alert)
		if !headings[link] {
			t.Errorf("%s links to %q, which docs/operations.md does not have", name, link)
		}
		if strings.Count(tests, "alertname: "+name+"\n") < 2 {
			t.Errorf("%s: rules_test.yml does not show when it fires and when not", name)
		}
	}
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool on this machine: it comes with Prometheus, and .ci/run monitoring fetches it")
	}
	for _, args := range [][]string{{"check", "rules", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = "deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
