package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trackd/internal/pgtest"
	"trackd/queue/pgqueue"
)

func TestFleetMakesTheTablesAndTellsWhoDelivers(t *testing.T) {
	if os.Getenv("TRACKD_POSTGRES") == "" {
		t.Skip("starts a PostgreSQL server: set TRACKD_POSTGRES=1, as .ci/run postgres and make fleet do")
	}
	server := pgtest.Start(t, pgtest.Options{})
	dir := t.TempDir()
	url := filepath.Join(dir, "url")
	if err := os.WriteFile(url, []byte(server.URL("postgres")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"TRACKD_CONFIG=", "TRACKD_UPSTREAM_REGION=us", "TRACKD_UPSTREAM_API_KEY=key", "TRACKD_QUEUE_DIR=" + dir,
		"TRACKD_QUEUE_BACKEND=postgres", "TRACKD_QUEUE_POSTGRES_URL_FILE=" + url}
	fleet := func(code int, args ...string) string {
		t.Helper()
		var out, said strings.Builder
		if got := run(t.Context(), append([]string{"fleet"}, args...), environ, strings.NewReader(""), &out, &said); got != code {
			t.Fatalf("fleet %v: exit code %d, want %d: %s%s", args, got, code, out.String(), said.String())
		}
		return out.String() + said.String()
	}
	wantIn := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
	wantIn(fleet(exitFailure, "status"), "trackd fleet init")
	wantIn(fleet(exitOK, "init", "--dry-run"), "CREATE TABLE trackd.events")
	wantIn(fleet(exitOK, "init"), "0001_queue")
	wantIn(fleet(exitOK, "init"), "the tables are those of this version")
	wantIn(fleet(exitFailure, "status"), "nobody delivers")
	q, err := pgqueue.Open(t.Context(), pgqueue.Options{URL: server.URL("postgres"), Name: "host1"})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	for !q.Clear() {
	}
	got := fleet(exitFailure, "status") // a server with fsync off and no standby
	wantIn(got, "host1 delivers since")
	wantIn(got, "no synchronous standby")
	environ = append(environ, "TRACKD_QUEUE_BACKEND=bolt")
	wantIn(fleet(exitUsage, "status"), "queue.backend: postgres")
}
