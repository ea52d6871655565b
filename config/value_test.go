package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"trackd/config"
)

func TestNothingShowsASecret(t *testing.T) {
	c := host{env: enough("TRACKD_UPSTREAM_API_KEY=sesame")}.load(t)
	secret := c.Upstream.APIKey
	shown := map[string]string{"String": secret.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T %v"} {
		shown[verb] = fmt.Sprintf(strings.ReplaceAll(verb, "%T ", ""), secret)
		shown[verb+" of the section"] = fmt.Sprintf(strings.ReplaceAll(verb, "%T ", ""), c.Upstream)
	}
	inJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	inYAML, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown["JSON"], shown["YAML"] = string(inJSON), string(inYAML)
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("text", "key", secret, "section", c.Upstream)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("json", "key", secret, "section", c.Upstream)
	shown["slog"] = logged.String()

	for way, text := range shown {
		if strings.Contains(text, "sesame") || strings.Contains(text, fmt.Sprintf("%x", "sesame")) {
			t.Errorf("%s shows the secret: %s", way, text)
		}
		if !strings.Contains(text, "[redacted]") {
			t.Errorf("%s does not say that it hides something: %s", way, text)
		}
	}
}

func TestAnEmptySecretIsSeenToBeEmpty(t *testing.T) {
	if got := config.NewSecret("").String(); got != "" {
		t.Errorf("got %q, want nothing", got)
	}
}

func TestByteSizesReadAndWrite(t *testing.T) {
	for _, tc := range []struct {
		text    string
		want    config.ByteSize
		written string
	}{
		{"0", 0, "0"},
		{"1", 1, "1B"},
		{"1B", 1, "1B"},
		{"1000", 1000, "1000B"},
		{"1024", 1 << 10, "1KiB"},
		{"3 KiB", 3 << 10, "3KiB"},
		{"1536MiB", 1536 << 20, "1536MiB"},
		{"10GiB", 10 << 30, "10GiB"},
		{"2048GiB", 2 << 40, "2TiB"},
		{"9223372036854775807", math.MaxInt64, "9223372036854775807B"},
	} {
		var got config.ByteSize
		if err := got.UnmarshalText([]byte(tc.text)); err != nil || got != tc.want || got.String() != tc.written {
			t.Errorf("%q: got %d, %s, %v; want %d, %s", tc.text, got, got, err, tc.want, tc.written)
		}
	}
	for _, text := range []string{"", "GiB", "10GB", "10g", "1.5GiB", "-1", "8388608TiB", "9223372036854775808", "1KiBB"} {
		var got config.ByteSize
		if got.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}

func TestModesAreOctal(t *testing.T) {
	var got config.Mode
	if err := got.UnmarshalText([]byte("640")); err != nil || got != 0o640 || got.String() != "0640" {
		t.Errorf("got %s, %v; want 0640", got, err)
	}
	for _, text := range []string{"", "1777", "0o660", "rw-", "8"} {
		if got.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q: got %s, want an error", text, got)
		}
	}
}

func TestNamesAreAListInTheFileAndOneTextInTheEnvironment(t *testing.T) {
	for file, want := range map[string][]string{
		"":                                   nil,
		"ingest: {hosts: []}":                nil,
		`ingest: {hosts: ""}`:                nil,
		"ingest: {hosts: [a.example, b]}":    {"a.example", "b"},
		"ingest:\n  hosts:\n  - a\n  - 10\n": {"a", "10"},
		"ingest: {hosts: 'a.example, b.example'}": {"a.example", "b.example"},
	} {
		if got := (host{env: enough(), file: file}).load(t).Ingest.Hosts.List(); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", file, got, want)
		}
	}
	if got := (host{env: enough("TRACKD_INGEST_HOSTS=x,y")}).load(t).Ingest.Hosts.List(); !slices.Equal(got, []string{"x", "y"}) {
		t.Errorf("from the environment: got %q", got)
	}
	_, err := config.Load(host{env: enough("TRACKD_INGEST_HOSTS=x y"), file: "ingest: {hosts: [[a]]}"}.options())
	want := `/c.yaml:1:17: ingest.hosts: found a list, allowed a list like [a.example, b.example], or a.example,b.example
TRACKD_INGEST_HOSTS: ingest.hosts: found "x y", allowed a list like [a.example, b.example], or a.example,b.example`
	if err == nil || err.Error() != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
}
