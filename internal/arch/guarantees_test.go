package arch_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every promise in docs/guarantees.md names the tests that prove it. A proof
// that was renamed or removed is missed here.
func TestEveryGuaranteeNamesProofsThatExist(t *testing.T) {
	page, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	promised, _, _ := strings.Cut(string(page), "\n## Not promised")
	for promise := range strings.SplitSeq(promised, "\n\n**") {
		if title, _, is := strings.Cut(promise, ".**"); is && !strings.Contains(promise, "_test.go)") {
			t.Errorf("%q names no test", title)
		}
	}
	links := regexp.MustCompile(`\[(\w+)\]\(\.\./([^)]+_test\.go)\)`).FindAllStringSubmatch(promised, -1)
	if len(links) < 20 {
		t.Errorf("found %d tests, want at least 20", len(links))
	}
	for _, link := range links {
		source, err := os.ReadFile(filepath.FromSlash(link[2]))
		if err != nil || !strings.Contains(string(source), "\nfunc "+link[1]+"(") {
			t.Errorf("%s is not in %s (%v)", link[1], link[2], err)
		}
	}
}
