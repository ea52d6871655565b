// Command flow sends one event through trackd, from the Unix socket to the POST
// and its settlement, and writes which code that ran. The script count beside it
// makes the number of functions and files of that, which is how far a reader has
// to follow one event.
//
// It must be built for coverage with atomic counters, as the script does.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/coverage"
	"time"

	"golang.org/x/sync/errgroup"

	"trackd/event"
	"trackd/ingest"
	"trackd/internal/listen"
	"trackd/queue/boltqueue"
	"trackd/sender"
)

// settling is how long everything takes to come to rest: marks reach the disk
// within a fifth of a second.
const settling = time.Second

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "flow:", err)
		os.Exit(1)
	}
}

// run writes the counters of one event's way into the directory to.
func run(to string) error {
	dir, err := os.MkdirTemp("", "flow")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	posted := make(chan struct{}, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"success":true}`)
		posted <- struct{}{}
	}))
	defer upstream.Close()

	// The three parts that an event passes, as internal/daemon wires them.
	q, err := boltqueue.Open(boltqueue.Options{Dir: filepath.Join(dir, "queue")})
	if err != nil {
		return err
	}
	out, err := sender.New(sender.Options{Settings: sender.Settings{Key: "key"}, URL: upstream.URL + "/v1", Queue: q})
	if err != nil {
		return err
	}
	in, err := ingest.New(ingest.Options{Queue: q, Rules: ingest.Rules{Parser: event.Parser{}}, Backpressure: out.Busy})
	if err != nil {
		return err
	}
	socket := filepath.Join(dir, "events.sock")
	ln, err := listen.Unix(socket, 0o600, "")
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error { return in.Run(ctx, ingest.Listeners{Lines: []net.Listener{ln}}) })
	parts.Go(func() error { return out.Run(ctx) })
	time.Sleep(settling)

	// Everything is at rest: what runs from now on is the event's way.
	if err := coverage.ClearCounters(); err != nil {
		return err
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(conn, `{"event":"Application Opened","messageId":"one","userId":"ann"}`); err != nil {
		return err
	}
	<-posted
	time.Sleep(settling)
	if err := coverage.WriteMetaDir(to); err != nil {
		return err
	}
	if err := coverage.WriteCountersDir(to); err != nil {
		return err
	}
	_ = conn.Close()
	stop()
	if err := parts.Wait(); err != nil {
		return err
	}
	return q.Close()
}
