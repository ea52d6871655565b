package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkConfig runs "config check" as on a host whose systemd holds credentials
// in store.
func checkConfig(t *testing.T, store string, upstream bool, environ ...string) (output string, err error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := &world{ctx: t.Context(), stdout: &out, stderr: &out, credentialStores: []string{filepath.Join(store, "none"), store},
		environ: append(environ, "TRACKD_CONFIG=", "TRACKD_QUEUE_DIR="+filepath.Join(dir, "queue"),
			"TRACKD_INGEST_SOCKET="+filepath.Join(dir, "e.sock"), "TRACKD_ADMIN_SOCKET="+filepath.Join(dir, "a.sock"))}
	err = configCheckCmd{Upstream: upstream}.Run(w)
	return out.String(), err
}

// The recommended installation has its key in a credential store, which only
// the service is handed.
func TestConfigCheckSeesTheCredentialOfTheService(t *testing.T) {
	store := t.TempDir()
	if err := os.WriteFile(filepath.Join(store, "trackd.api_key"), []byte("right\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := checkConfig(t, store, false, "TRACKD_UPSTREAM_REGION=us"); err != nil || !strings.Contains(out, "the configuration is sound") {
		t.Errorf("got %q, %v", out, err)
	}

	var asked string
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, _, _ = r.BasicAuth()
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"meta":{"errors":["event: missing"]}}`))
	}))
	defer upstream.Close()
	out, err := checkConfig(t, store, true, "TRACKD_UPSTREAM_URL="+upstream.URL+"/v1")
	if err != nil || !strings.Contains(out, "the API key is accepted") || asked != "right" {
		t.Errorf("--upstream: asked with key %q, got %q, %v", asked, out, err)
	}

	// A readable key is still judged by who may read it.
	if err := os.Chmod(filepath.Join(store, "trackd.api_key"), 0o604); err != nil {
		t.Fatal(err)
	}
	if out, err := checkConfig(t, store, false, "TRACKD_UPSTREAM_REGION=us"); err == nil || !strings.Contains(out, "can be read by everybody") {
		t.Errorf("open to everybody: got %q, %v", out, err)
	}

	// Where systemd has handed this process what there is, nobody looks further.
	if _, err := checkConfig(t, store, false, "TRACKD_UPSTREAM_REGION=us", "CREDENTIALS_DIRECTORY="+t.TempDir()); err == nil || !strings.Contains(err.Error(), "api_key_file: not set: write") {
		t.Errorf("within a service: got %v", err)
	}
}
