package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sabotage is one edit of trackd's source that breaks a promise. The proof of
// that promise must fail on what is built from it, or it proves nothing.
type sabotage struct {
	file     string // from the root of the module
	old, new string // old stands there once
}

// The ways in which yes may come before the disk.
var (
	yesBeforeCommit = sabotage{"queue/boltqueue/append.go", "return await(ctx, s.group)", "return nil"}
	noFsync         = sabotage{"queue/boltqueue/segment/file.go", " s.noSync,", " true,"}
	noDirFsync      = sabotage{"queue/boltqueue/segment/disk.go", "return d.Sync()", "return nil"}
)

// build returns the path of a trackd with the edit in it; the source stays as
// it is. Where the source no longer has the place to edit, the test fails
// rather than pass for the wrong reason.
func (s sabotage) build(tb testing.TB) string {
	tb.Helper()
	if raceDetector {
		tb.Skip("what is broken here is built without the race detector; the run without it covers this")
	}
	gotool, err := exec.LookPath("go")
	if err != nil {
		tb.Skipf("needs the go command to build a broken trackd: %v", err)
	}
	path, err := filepath.Abs(filepath.Join("..", "..", s.file))
	if err != nil {
		tb.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if n := strings.Count(string(source), s.old); n != 1 {
		tb.Fatalf("%s has %d places like %q, want 1: say anew how to break it", s.file, n, s.old)
	}
	dir := tb.TempDir()
	broken := filepath.Join(dir, "broken.go")
	writeFile(tb, broken, []byte(strings.Replace(string(source), s.old, s.new, 1)))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: broken}})
	if err != nil {
		tb.Fatal(err)
	}
	writeFile(tb, filepath.Join(dir, "overlay.json"), overlay)
	exe := filepath.Join(dir, "trackd")
	build := exec.CommandContext(tb.Context(), gotool, "build", "-buildvcs=false",
		"-overlay", filepath.Join(dir, "overlay.json"), "-o", exe, ".")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build a trackd with %q in %s: %v\n%s", s.new, s.file, err, out)
	}
	return exe
}

func writeFile(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
}
