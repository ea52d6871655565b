package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testingBlock finds the shell commands of docs/testing.md that a developer
// copies into a CI job.
var testingBlock = regexp.MustCompile("(?s)<!-- run: an app's integration test -->\n```sh\n(.*?)\n```\n")

func TestTheCommandsOfTheTestingPageWork(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl on this machine")
	}
	page, err := os.ReadFile("../../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	block := testingBlock.FindSubmatch(page)
	if block == nil {
		t.Fatal("docs/testing.md has no block that can be run")
	}
	dir, err := os.MkdirTemp("", "trackd-interop-") // not t.TempDir: the name of a Unix socket may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ports := freePorts(t, 3)
	commands := strings.NewReplacer("127.0.0.1:8500", ports[0], "127.0.0.1:8484", ports[1], "127.0.0.1:9484", ports[2],
		// The defaults, which the page does not name, stay away from this machine's.
		"trackd serve", "TRACKD_INGEST_HTTP="+ports[1]+" TRACKD_ADMIN_HTTP="+ports[2]+" trackd serve").Replace(string(block[1]))

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-euc", commands)
	cmd.Dir = dir
	cmd.Env = append(withoutSettings(os.Environ()), fmt.Sprintf("PATH=%s%c%s", filepath.Dir(program), os.PathListSeparator, os.Getenv("PATH")))
	// The commands start processes of their own, which end with their group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endGroup := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = endGroup
	out, err := cmd.CombinedOutput()
	_ = endGroup() // fails if all have ended by themselves
	if err != nil {
		t.Fatalf("%v\n%s\nof\n%s", err, out, commands)
	}
	if want := `"expected": 3,`; !strings.Contains(string(out), want) {
		t.Errorf("no %s in\n%s", want, out)
	}
	printed, err := os.ReadFile(filepath.Join(dir, "sandbox.log"))
	if got := strings.Count(string(printed), `track     "Application Opened"  200`); err != nil || got != 3 {
		t.Errorf("the sandbox printed %d events, want 3 (%v):\n%s", got, err, printed)
	}
	for _, port := range ports {
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			conn, err := net.Dial("tcp", port)
			if err != nil {
				break
			}
			conn.Close()
			if time.Now().After(deadline) {
				t.Fatalf("%s still listens", port)
			}
		}
	}
}
