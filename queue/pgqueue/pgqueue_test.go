package pgqueue_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"trackd/internal/pgtest"
	"trackd/queue"
	"trackd/queue/pgqueue"
	"trackd/queue/queuetest"
)

// lease is short, so that a test which kills the holder need not wait long, and
// long enough for a loaded machine to renew it in time.
const lease = 2 * time.Second

// shared is the server that tests of one server run on, each in a database of
// its own.
var shared struct {
	once   sync.Once
	server *pgtest.Server
	end    pgtest.Keeper
	number atomic.Int64
}

func TestMain(m *testing.M) {
	if url := os.Getenv(childURL); url != "" {
		child(url)
		os.Exit(0)
	}
	code := m.Run()
	shared.end.End()
	os.Exit(code)
}

// server returns the shared server. It skips the test where there is none.
func server(t testing.TB) *pgtest.Server {
	t.Helper()
	if os.Getenv("TRACKD_POSTGRES") == "" {
		t.Skip("starts PostgreSQL servers, for minutes: set TRACKD_POSTGRES=1, as .ci/run postgres and make fleet do")
	}
	if _, err := pgtest.Find(); err != nil {
		t.Skip(err)
	}
	shared.once.Do(func() {
		shared.server = pgtest.Start(&shared.end, pgtest.Options{})
		newDatabase(t, shared.server, "template", "template1")
	})
	return shared.server
}

// newDatabase makes a database with the tables of trackd and returns its URL.
func newDatabase(t testing.TB, s *pgtest.Server, name, template string) string {
	t.Helper()
	s.Exec(fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, template))
	if template == "template1" {
		if _, err := pgqueue.Init(context.Background(), s.URL(name), false); err != nil {
			t.Fatal(err)
		}
	}
	return s.URL(name)
}

// database returns the URL of a new database of the shared server.
func database(t testing.TB) string {
	t.Helper()
	s := server(t)
	return newDatabase(t, s, fmt.Sprintf("test%d", shared.number.Add(1)), "template")
}

// open opens a queue, which is abandoned when the test ends if it is open then.
func open(t testing.TB, o pgqueue.Options) *pgqueue.Queue {
	t.Helper()
	if o.Lease == 0 {
		o.Lease = lease
	}
	q, err := pgqueue.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Abandon)
	return q
}

func harness() queuetest.Harness {
	var mu sync.Mutex
	urls := map[queue.Queue]string{}
	at := func(t testing.TB, url string) queue.Queue {
		q := open(t, pgqueue.Options{URL: url, Lease: time.Minute})
		mu.Lock()
		defer mu.Unlock()
		urls[q] = url
		return q
	}
	return queuetest.Harness{
		Open: func(t testing.TB) queue.Queue { return at(t, database(t)) },
		Reopen: func(t testing.TB, q queue.Queue) queue.Queue {
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			return at(t, urls[q])
		},
		Crash: func(t testing.TB, q queue.Queue) queue.Queue {
			q.(*pgqueue.Queue).Abandon()
			// The time that the lease would still last has passed.
			query[string](t, urls[q], "UPDATE trackd.drainer SET until = '-infinity' RETURNING owner")
			return at(t, urls[q])
		},
		Full: func(t testing.TB) queue.Queue {
			return open(t, pgqueue.Options{URL: database(t), Lease: time.Minute, MaxBytes: 16 << 20})
		},
		RejectsFull: func(t testing.TB) queue.Queue {
			return open(t, pgqueue.Options{URL: database(t), Lease: time.Minute, RejectBytes: 1 << 20})
		},
		Bounded: func(t testing.TB, bytes int64) queue.Queue {
			return open(t, pgqueue.Options{URL: database(t), Lease: time.Minute, MaxBytes: bytes})
		},
		Join:       func(t testing.TB, q queue.Queue) queue.Queue { return at(t, urls[q]) },
		Properties: queue.Properties{Ordered: true, Shared: true},
		Remembers:  true,
	}
}

func TestQueueKeepsTheContract(t *testing.T) { queuetest.Run(t, harness()) }

func TestRandomCallsRestartsAndCrashesMatchTheLedger(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { queuetest.Compare(t, harness(), seed, 100) })
	}
}

// query returns the single value of a query.
func query[T any](t testing.TB, url, sql string, args ...any) (value T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return value
}
