package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"trackd/event"
	"trackd/internal/listen"
	"trackd/internal/sandbox"
)

const (
	demoKey = "demo-key"

	// demoBacklog is how many events pile up while the sandbox is down.
	demoBacklog = 500

	// demoPatience bounds every wait of the demo.
	demoPatience = 30 * time.Second
)

type demoCmd struct {
	Stay bool `help:"Keep the daemon and the sandbox running at the end, to play with."`
}

// demo is one run: the real daemon as a child process, on a temporary
// directory, against a sandbox in this process.
type demo struct {
	*world
	dir  string
	box  *sandbox.Server
	env  []string // of the child
	http string   // addresses of the child
	ops  string
	sock string
	ids  []string // of every event the daemon said yes to
	step int

	child *child
}

// Run plays the demo and exits 0 only if the account balances to the event.
func (c demoCmd) Run(w *world) (err error) {
	dir, err := os.MkdirTemp("", "trackd-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demo{world: w, dir: dir, sock: filepath.Join(dir, "events.sock")}
	stop, err := d.setUp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.child.kill(), stop()) }()
	if err := d.play(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if c.Stay {
		d.stay()
	}
	return d.account()
}

// setUp starts the sandbox and says how the daemon reaches it.
func (d *demo) setUp() (stop func() error, err error) {
	if d.box, err = sandbox.New(sandbox.Options{Key: demoKey}); err != nil {
		return nil, err
	}
	upstream, err := listen.TCP("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, errors.Join(err, upstream.Close())
	}
	d.http, d.ops = ports[0], ports[1]
	d.env = append(withoutSettings(d.environ),
		"TRACKD_UPSTREAM_URL=http://"+upstream.Addr().String()+"/v1",
		"TRACKD_UPSTREAM_API_KEY="+demoKey,
		"TRACKD_CONFIG=", // not the one this host may have
		"TRACKD_QUEUE_DIR="+d.queueDir(),
		"TRACKD_INGEST_SOCKET="+d.sock,
		"TRACKD_INGEST_HTTP="+d.http,
		"TRACKD_ADMIN_SOCKET="+filepath.Join(d.dir, "admin.sock"),
		"TRACKD_ADMIN_HTTP="+d.ops,
		"TRACKD_SENDER_RETRY_MAX=1s",
	)
	return serveSandbox(d.ctx, d.box, upstream, slog.New(slog.DiscardHandler)), nil
}

func (d *demo) queueDir() string { return filepath.Join(d.dir, "queue") }

// play tells the story, a step a line.
func (d *demo) play() error {
	d.say("a stand-in for Customer.io listens; trackd starts on an empty queue in %s", d.dir)
	if err := d.startChild(); err != nil {
		return err
	}

	d.say("the app sends the seven lifecycle events over the socket, then over HTTP")
	if err := errors.Join(d.overSocket(lifecycle("socket", 7)), d.overHTTP(lifecycle("http", 7))); err != nil {
		return err
	}
	if err := d.awaitReceived("delivered"); err != nil {
		return err
	}

	d.say("the stand-in breaks: it closes every connection; the app sends %d more, half through each door", demoBacklog)
	if err := d.box.SetTrouble(trouble("down")); err != nil {
		return err
	}
	more := lifecycle("outage", demoBacklog)
	if err := errors.Join(d.overSocket(more[:demoBacklog/2]), d.overHTTP(more[demoBacklog/2:])); err != nil {
		return err
	}
	if err := d.showBacklog(); err != nil {
		return err
	}

	d.say("trackd is killed (SIGKILL) and started again on the same directory")
	if err := errors.Join(d.child.kill(), d.startChild()); err != nil {
		return err
	}
	if err := d.showBacklog(); err != nil {
		return err
	}

	d.say("the stand-in is well again")
	if err := d.box.SetTrouble(nil); err != nil {
		return err
	}
	return d.awaitReceived("delivered")
}

func trouble(preset string) sandbox.Trouble { return sandbox.Trouble{{Preset: preset}} }

// lifecycle returns n events, going through the seven names.
func lifecycle(prefix string, n int) []event.Event {
	names := event.Names()
	events := make([]event.Event, n)
	for i := range events {
		id := fmt.Sprintf("%s-%04d", prefix, i)
		name := names[i%len(names)]
		events[i] = event.Event{ID: id, Name: name,
			Body: fmt.Appendf(nil, `{"event":%q,"messageId":%q,"userId":"user-%d"}`, name, id, i%50)}
	}
	return events
}

func (d *demo) say(format string, args ...any) {
	d.step++
	fmt.Fprintf(d.stdout, "%d. %s\n", d.step, fmt.Sprintf(format, args...))
}

func (d *demo) note(format string, args ...any) {
	fmt.Fprintf(d.stdout, "   %s\n", fmt.Sprintf(format, args...))
}

// stay leaves everything running until the user has seen enough.
func (d *demo) stay() {
	fmt.Fprintf(d.stdout, "\nEverything stays up until Ctrl-C:\n"+
		"  echo '{\"event\":\"Application Opened\",\"userId\":\"you\"}' | trackd send --socket %s\n"+
		"  curl -d '{\"event\":\"Application Opened\",\"userId\":\"you\"}' http://%s/v1/track\n"+
		"  curl http://%s/status\n", d.sock, d.http, d.ops)
	<-d.ctx.Done()
	d.ctx = context.WithoutCancel(d.ctx)
}
