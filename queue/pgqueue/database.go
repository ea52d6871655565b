package pgqueue

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed sql/*.sql
var statements embed.FS

// errMaybeUnreplicated means that a commit stands on the primary, and perhaps
// nowhere else: to the caller that is not a yes.
var errMaybeUnreplicated = errors.New("the database stopped waiting for its synchronous standby: committed, but perhaps not replicated")

// warned marks a connection on which the server warned of something.
const warned = "trackd.warned"

// connections bounds each of the two pools of one centre.
const connections = 5

// database runs statements. A centre has two, so that an operator's listings
// never keep the renewal of the lease waiting for a connection.
type database struct {
	pool    *pgxpool.Pool
	timeout time.Duration // of one statement
}

// statement returns the text of sql/name.sql. A name without a file is a
// mistake in this package, which its tests find.
func statement(name string) string {
	text, err := statements.ReadFile("sql/" + name + ".sql")
	if err != nil {
		panic(err)
	}
	return string(text)
}

// connect opens a pool whose connections lead to a server that takes writes.
func connect(ctx context.Context, o Options) (d database, err error) {
	if o.URL == "" {
		return d, errors.New("no URL of a database given")
	}
	config, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		// The error of the library quotes the URL. It hides a password where it
		// finds one, which is not where every mistake puts it.
		return d, errors.New("the URL of the database cannot be read: want postgres://role:password@host1,host2/database?sslmode=verify-full")
	}
	c := config.ConnConfig
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if c.ConnectTimeout == 0 || c.ConnectTimeout > o.Timeout {
		c.ConnectTimeout = o.Timeout
	}
	dialer := &net.Dialer{Timeout: c.ConnectTimeout, KeepAlive: 15 * time.Second}
	c.DialFunc = dialer.DialContext
	c.OnNotice = func(conn *pgconn.PgConn, n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			conn.CustomData()[warned] = true
		}
	}
	// The server gives up shortly after we have, so that nothing of ours waits
	// there for long.
	millis := strconv.FormatInt(2*o.Timeout.Milliseconds(), 10)
	setDefault(c.RuntimeParams, "application_name", "trackd "+o.Name)
	setDefault(c.RuntimeParams, "statement_timeout", millis)
	setDefault(c.RuntimeParams, "lock_timeout", millis)
	setDefault(c.RuntimeParams, "idle_in_transaction_session_timeout", "60000")
	config.MaxConns, config.MinIdleConns = connections, 1
	config.PingTimeout = o.Timeout
	d.timeout = o.Timeout
	if d.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return d, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*o.Timeout)
	defer cancel()
	if err := d.pool.Ping(ctx); err != nil {
		d.pool.Close()
		return d, fmt.Errorf("reach the database: %w", err)
	}
	return d, nil
}

func setDefault(params map[string]string, key, value string) {
	if _, set := params[key]; !set {
		params[key] = value
	}
}

// run runs a statement of sql and lets scan read its rows. An error means that
// the outcome is unknown, unless aborted says otherwise. Where the server
// aborted it for the sake of another statement, it is run again.
func (d database) run(ctx context.Context, name string, scan func(pgx.Rows) error, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	for tries := 1; ; tries++ {
		err := d.runOnce(ctx, statement(name), scan, args)
		if tries == 5 || !aborted(err) {
			return d.explain(err)
		}
	}
}

func (d database) runOnce(ctx context.Context, sql string, scan func(pgx.Rows) error, args []any) error {
	conn, err := d.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	wire := conn.Conn().PgConn()
	delete(wire.CustomData(), warned)
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	for rows.Next() && err == nil {
		err = scan(rows)
	}
	rows.Close() // reads up to the end of the commit
	if err := errors.Join(err, rows.Err()); err != nil {
		return err
	}
	if wire.CustomData()[warned] != nil {
		return errMaybeUnreplicated
	}
	return nil
}

// aborted reports whether the server undid a statement because of a deadlock or
// a conflict with another: nothing of it happened, and it may be run again.
func aborted(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "40P01" || e.Code == "40001")
}

// explain adds what to do to an error of the database, and leaves a server that
// has become a standby.
func (d database) explain(err error) error {
	var e *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.Code == "25006":
		d.pool.Reset() // read-only: a standby now. The others of the URL may be writable.
		return fmt.Errorf("the database has become read-only, looking for the primary: %w", err)
	case errors.As(err, &e) && e.Code == "42501":
		return fmt.Errorf("the role lacks a privilege on the tables of trackd: %w", err)
	case errors.Is(err, context.DeadlineExceeded) && !strings.Contains(err.Error(), "connect"):
		return fmt.Errorf("the database did not answer within %v: %w", d.timeout, err)
	}
	return fmt.Errorf("database: %w", err)
}

// one scans a single row into dest, and reports in found whether there was one.
func one(found *bool, dest ...any) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		*found = true
		return rows.Scan(dest...)
	}
}
