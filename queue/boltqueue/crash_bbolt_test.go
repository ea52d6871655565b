package boltqueue_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// hookBolt lets faults strike inside bbolt's commits. It is nil unless the
// test binary was built around a patched bbolt.
var hookBolt func(fault func(point string, after bool) error)

// boltPoints are the places inside bbolt's commit, in the order in which they
// are passed.
func boltPoints() []string {
	return []string{"bbolt.grow", "bbolt.page", "bbolt.sync", "bbolt.meta", "bbolt.metasync"}
}

// boltPatches puts Strike around what a commit of bbolt does to its file. Each
// text must be there once.
func boltPatches() [][2]string {
	return [][2]string{
		{`if err = tx.db.grow(int(tx.meta.Pgid()+1) * tx.db.pageSize); err != nil {`,
			`if err = strike("bbolt.grow", func() error { return tx.db.grow(int(tx.meta.Pgid()+1) * tx.db.pageSize) }); err != nil {`},
		{`if _, err := tx.db.ops.writeAt(buf, offset); err != nil {`,
			`if err := strike("bbolt.page", func() error { _, err := tx.db.ops.writeAt(buf, offset); return err }); err != nil {`},
		{"// gofail: var beforeSyncDataPages struct{}\n\t\tif err := fdatasync(tx.db); err != nil {",
			`if err := strike("bbolt.sync", func() error { return fdatasync(tx.db) }); err != nil {`},
		{`if _, err := tx.db.ops.writeAt(buf, int64(p.Id())*int64(tx.db.pageSize)); err != nil {`,
			`if err := strike("bbolt.meta", func() error { _, err := tx.db.ops.writeAt(buf, int64(p.Id())*int64(tx.db.pageSize)); return err }); err != nil {`},
		{"// gofail: var beforeSyncMetaPage struct{}\n\t\tif err := fdatasync(tx.db); err != nil {",
			`if err := strike("bbolt.metasync", func() error { return fdatasync(tx.db) }); err != nil {`},
	}
}

// boltStrike is added to the patched bbolt.
const boltStrike = `package bbolt

import "errors"

// Strike is called before and after each thing that a commit does to its file.
var Strike func(point string, after bool) error

func strike(point string, effect func() error) error {
	if Strike == nil {
		return effect()
	}
	if err := Strike(point, false); err != nil {
		return err
	}
	return errors.Join(effect(), Strike(point, true))
}
`

// patchedBinary builds this package's tests around a patched bbolt and returns
// the binary's path.
func patchedBinary(t testing.TB) string {
	t.Helper()
	if !everything() {
		t.Skip("builds a patched bbolt, which takes long: set TRACKD_CRASH=all, or run make crash")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("builds a patched bbolt, and there is no go command: ", err)
	}
	work := t.TempDir()
	patched := filepath.Join(work, "bbolt")
	must(t, os.CopyFS(patched, os.DirFS(line(t, "go", "list", "-m", "-f", "{{.Dir}}", "go.etcd.io/bbolt"))))
	text := read(t, filepath.Join(patched, "tx.go"))
	for _, patch := range boltPatches() {
		if n := strings.Count(text, patch[0]); n != 1 {
			t.Fatalf("bbolt has changed: %d times %q", n, patch[0])
		}
		text = strings.Replace(text, patch[0], patch[1], 1)
	}
	write(t, patched, "tx.go", text)
	write(t, patched, "strike.go", boltStrike)
	module := line(t, "go", "env", "GOMOD")
	write(t, work, "go.sum", read(t, filepath.Join(filepath.Dir(module), "go.sum")))
	modfile := write(t, work, "go.mod", read(t, module)+fmt.Sprintf("\nreplace go.etcd.io/bbolt => %s\n", patched))
	binary := filepath.Join(work, "boltqueue.test")
	command(t, "go", "test", "-c", "-mod=mod", "-modfile", modfile, "-tags", "bboltstrike", "-o", binary, ".")
	return binary
}

func line(t testing.TB, name string, args ...string) string {
	t.Helper()
	return strings.TrimSpace(string(command(t, name, args...)))
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func write(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	_ = os.Remove(path) // what was copied from the module cache is read-only
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// command runs a command and returns what it printed.
func command(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// TestWhereverACommitOfBboltDiesOrFailsNothingAcknowledgedIsLost is the matrix
// inside the commits of bbolt: between two pages, before the meta page, between
// writing and syncing. Births, appends, marks, seals and thinned copies are
// all such commits; which one is struck depends on how often it was passed.
func TestWhereverACommitOfBboltDiesOrFailsNothingAcknowledgedIsLost(t *testing.T) {
	binary := patchedBinary(t)
	var runs atomic.Int64
	t.Run("at", func(t *testing.T) {
		for _, point := range boltPoints() {
			times := []int{1, 2, 3, 5, 8, 13, 21, 34, 55}
			if point == "bbolt.page" { // several to a commit
				times = append(times, 89, 144, 180)
			}
			for _, nth := range times {
				for _, s := range boltStrikes(point, nth) {
					t.Run(s.String(), func(t *testing.T) {
						t.Parallel()
						switch {
						case crashOnce(t, binary, script{Story: "life", Strike: s, Seed: uint64(nth)}):
							runs.Add(1)
						case point != "bbolt.grow":
							t.Error("the story does not pass here that often")
						}
					})
				}
			}
		}
	})
	t.Logf("%d faults that struck", runs.Load())
}

func boltStrikes(point string, nth int) (all []strike) {
	for _, after := range []bool{false, true} {
		all = append(all, strike{Point: point, After: after, Nth: nth, Kill: true})
		for _, errno := range []unix.Errno{unix.EIO, unix.ENOSPC} {
			all = append(all, strike{Point: point, After: after, Nth: nth, Errno: errno})
		}
	}
	return all
}

// TestAFailedFsyncInsideBboltEndsWritingToItsFile runs the tests of eio_test.go
// with errors where the kernel gives them: at the sync of the pages and at
// that of the meta page.
func TestAFailedFsyncInsideBboltEndsWritingToItsFile(t *testing.T) {
	out := command(t, patchedBinary(t), "-test.v", "-test.run", "^(TestAFailedFsyncEndsWritingToItsFile|TestTheNextProcessBeginsANewFileAfterAFailedOne)$")
	for _, point := range boltPoints() {
		if point != "bbolt.grow" && !strings.Contains(string(out), "--- PASS: TestAFailedFsyncEndsWritingToItsFile/"+point) {
			t.Errorf("%s was not tried:\n%s", point, out)
		}
	}
	t.Logf("%d failures tried", strings.Count(string(out), "--- PASS: TestAFailedFsyncEndsWritingToItsFile/"))
}
