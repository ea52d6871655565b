package pgtest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"trackd/internal/pgtest"
)

func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv("TRACKD_POSTGRES") == "" {
		t.Skip("starts PostgreSQL servers: set TRACKD_POSTGRES=1, as .ci/run postgres and make fleet do")
	}
}

func TestAPromotedStandbyHasWhatThePrimaryAcknowledged(t *testing.T) {
	wanted(t)
	primary := pgtest.Start(t, pgtest.Options{})
	standby := primary.Standby("standby1")
	primary.Synchronous("standby1")
	primary.Exec("CREATE TABLE kept (n int)")
	primary.Exec("INSERT INTO kept VALUES (7)")
	primary.Kill()
	standby.Promote()
	if got := standby.Value("SELECT n FROM kept"); got != "7" {
		t.Errorf("got %s, want 7", got)
	}
}

func TestACutProxyLetsNothingThroughUntilItIsHealed(t *testing.T) {
	wanted(t)
	primary := pgtest.Start(t, pgtest.Options{})
	proxy := pgtest.NewProxy(t, primary.Addr())
	conn, err := pgx.Connect(t.Context(), "postgres://trackd@"+proxy.Addr()+"/postgres?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	proxy.Cut()
	answered := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("answered through a cut proxy: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	proxy.Heal()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
