package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackd/queue/queuetest"
	"trackd/sender"
)

func TestAPauseMarkThatCannotBeReadStillPauses(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "cut": `{"since":"20`} {
		dir := t.TempDir()
		s, err := sender.New(sender.Options{Settings: sender.Settings{Key: "key"}, URL: "http://127.0.0.1:1/v1", Queue: queuetest.NewMemory(queuetest.Options{})})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "paused"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := newPauser(dir, s, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if l := p.upstream(); l.State != "paused" || !strings.Contains(l.Why, "trackd resume") {
			t.Errorf("%s: got %+v", name, l)
		}
	}
}
