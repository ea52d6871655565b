package pgqueue

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one numbered step of the tables.
type migration struct {
	number int
	name   string
	sql    string
}

// migrations lists every step in order. Their files are numbered from 0001
// without gaps.
func migrations() ([]migration, error) {
	files, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	var all []migration
	for _, file := range files {
		text, err := migrationFiles.ReadFile("migrations/" + file.Name())
		if err != nil {
			return nil, err
		}
		m := migration{number: len(all) + 1, name: strings.TrimSuffix(file.Name(), ".sql"), sql: string(text)}
		if !strings.HasPrefix(m.name, fmt.Sprintf("%04d_", m.number)) {
			return nil, fmt.Errorf("migration %s: want number %04d", file.Name(), m.number)
		}
		all = append(all, m)
	}
	return all, nil
}

// Init brings the tables to the version this program knows, in one transaction,
// and returns the names of the migrations it applied. With dryRun it applies
// nothing and returns what it would apply as SQL. It may take as long as ctx
// lets it.
func Init(ctx context.Context, url string, dryRun bool) ([]string, error) {
	db, err := connect(ctx, Options{URL: url}.withDefaults())
	if err != nil {
		return nil, fmt.Errorf("initialise queue: %w", err)
	}
	defer db.pool.Close()
	var done []string
	err = pgx.BeginFunc(ctx, db.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil {
			return err
		}
		applied, err := appliedMigrations(ctx, tx)
		if err != nil {
			return err
		}
		all, err := migrations()
		if err != nil {
			return err
		}
		if applied > len(all) {
			return newerTables(applied, len(all))
		}
		for _, m := range all[applied:] {
			if dryRun {
				done = append(done, m.sql)
				continue
			}
			if _, err := tx.Exec(ctx, m.sql, pgx.QueryExecModeSimpleProtocol); err != nil {
				return fmt.Errorf("migration %s: %w", m.name, err)
			}
			if _, err := tx.Exec(ctx, "INSERT INTO trackd.migrations (number) VALUES ($1)", m.number); err != nil {
				return fmt.Errorf("migration %s: %w", m.name, err)
			}
			done = append(done, m.name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("initialise queue: %w", err)
	}
	return done, nil
}

// checkMigrations refuses tables of another version than this program's.
func checkMigrations(ctx context.Context, pool *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	applied, err := appliedMigrations(ctx, pool)
	if err != nil {
		return err
	}
	all, err := migrations()
	switch {
	case err != nil:
		return err
	case applied == 0:
		return errors.New("the database has no tables of trackd: run \"trackd fleet init\" once")
	case applied < len(all):
		return fmt.Errorf("the tables are of version %d, this program needs %d: run \"trackd fleet init\" once all centres run this version", applied, len(all))
	case applied > len(all):
		return newerTables(applied, len(all))
	}
	return nil
}

func newerTables(applied, known int) error {
	return fmt.Errorf("the tables are of version %d, this program knows %d: run the version of trackd that made them, or a later one", applied, known)
}

// rowQuerier is a pool or a transaction.
type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// appliedMigrations returns the number of the last one, 0 if there are no tables.
func appliedMigrations(ctx context.Context, db rowQuerier) (number int, err error) {
	var exists bool
	if err := db.QueryRow(ctx, "SELECT to_regclass('trackd.migrations') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return 0, err
	}
	err = db.QueryRow(ctx, "SELECT coalesce(max(number), 0) FROM trackd.migrations").Scan(&number)
	if denied := (*pgconn.PgError)(nil); errors.As(err, &denied) && denied.Code == "42501" {
		return 0, fmt.Errorf("the role may not read the tables of trackd: grant it what the first lines of migration 0001 say: %w", err)
	}
	return number, err
}
