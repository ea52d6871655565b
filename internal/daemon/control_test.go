package daemon

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackd/config"
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
		if _, err := newPauser(dir, s); err != nil {
			t.Fatal(err)
		}
		if l := s.Upstream(); l.State != "paused" || !strings.Contains(l.Why, "trackd resume") {
			t.Errorf("%s: got %+v", name, l)
		}
	}
}

// What to do about a refused key depends on where the daemon has it from.
func TestANewKeyComesIntoForceWhereTheOldOneCameFrom(t *testing.T) {
	for _, test := range []struct {
		name, file string
		env, files map[string]string
		want       string
	}{
		{"a credential", "", map[string]string{"CREDENTIALS_DIRECTORY": "/cred"}, map[string]string{"/cred/api_key": "k"}, "systemctl restart trackd"},
		{"a file", "upstream: {api_key_file: /key}", nil, map[string]string{"/key": "k"}, "put the right one into /key"},
		{"a variable", "", map[string]string{"TRACKD_UPSTREAM_API_KEY": "k"}, nil, "restart trackd with the right one in TRACKD_UPSTREAM_API_KEY"},
		{"the configuration", "upstream: {api_key: k}", nil, nil, "then trackd reload"},
	} {
		c, err := config.Load(config.LoadOptions{Path: "/c.yaml",
			Getenv: func(name string) string {
				if name == "TRACKD_UPSTREAM_REGION" {
					return "us"
				}
				return test.env[name]
			},
			ReadFile: func(path string) ([]byte, error) {
				if text, there := test.files[path]; there {
					return []byte(text), nil
				} else if path == "/c.yaml" {
					return []byte(test.file), nil
				}
				return nil, fs.ErrNotExist
			}})
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := newKey(c); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}
