// Command trackd takes mobile lifecycle events from apps on this host, keeps
// them on disk and delivers them to Customer.io's Data Pipelines API.
//
// Every command is driven by [run], with nothing taken from the process but
// what run is given; one file holds one command. What the daemon is made of is in
// package internal/daemon.
//
// Reading order: main.go (the grammar, exit codes and the voice on stderr),
// serve.go (the daemon), then the commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"trackd/config"
	"trackd/internal/tuning"
)

// version is stamped by the linker: -ldflags "-X main.version=1.2.3".
var version = "dev"

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1 // a finding, or something failed
	exitUsage       = 2 // the command line or the configuration is wrong
	exitUnreachable = 3 // the daemon does not answer
)

func main() {
	tuning.Apply()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal kills at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

// grammar is the whole command line.
type grammar struct {
	Config string `type:"path" placeholder:"FILE" help:"Configuration file. Default: /etc/trackd/config.yaml if there is one."`

	Serve   serveCmd   `cmd:"" help:"Run the daemon: take events, keep them on disk, deliver them."`
	Demo    demoCmd    `cmd:"" help:"See the daemon at work against a stand-in, with trouble, in a minute."`
	Sandbox sandboxCmd `cmd:"" help:"Run a stand-in for Customer.io on this machine."`
	Send    sendCmd    `cmd:"" help:"Send events, one JSON object a line, to the daemon."`
	Status  statusCmd  `cmd:"" help:"Show how the daemon, its queue and its destination are."`
	Dead    deadCmd    `cmd:"" help:"See, mend, replay and discard what could not be delivered."`
	Queue   queueCmd   `cmd:"" help:"See what waits to be delivered."`
	Pause   pauseCmd   `cmd:"" help:"Stop sending, until resumed. Events are still taken."`
	Resume  resumeCmd  `cmd:"" help:"Go on sending, and try the destination at once."`
	Reload  reloadCmd  `cmd:"" help:"Have the daemon read its configuration again, and tell whether it is in force."`
	Drain   drainCmd   `cmd:"" help:"Take no more events and wait until everything is sent, before this host goes away."`
	Backup  backupCmd  `cmd:"" help:"Have the daemon copy its queue into a directory, while it works."`
	Check   checkCmd   `cmd:"" help:"Check a queue at rest: every checksum, every book, the conservation law."`
	Fleet   fleetCmd   `cmd:"" help:"Several daemons on one queue in PostgreSQL: its tables, and who delivers."`
	Conf    configCmd  `cmd:"" name:"config" help:"See the configuration, and what is wrong with it."`
	Version versionCmd `cmd:"" help:"Print the version."`

	Completion completionCmd `cmd:"" hidden:"" help:"Print a script that completes command lines."`
}

// world is everything a command may touch.
type world struct {
	ctx        context.Context
	environ    []string
	stdin      io.Reader
	stdout     io.Writer
	stderr     io.Writer
	configFile string

	credentialStores []string // of this host's systemd
}

// getenv looks a variable up in the world's environment; the last one wins.
func (w *world) getenv(name string) string {
	for i := len(w.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(w.environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// config loads the configuration. A client needs no region and no keys.
func (w *world) config(client bool) (config.Config, error) {
	c, err := config.Load(w.loadOptions(client))
	if err != nil {
		return c, &fault{code: exitUsage, err: fmt.Errorf("configuration:\n%w", err)}
	}
	return c, nil
}

func (w *world) loadOptions(client bool) config.LoadOptions {
	return config.LoadOptions{Path: w.configFile, Client: client, EUID: os.Geteuid(), Getenv: w.getenv, Environ: w.environ}
}

// fault is an error that knows its exit code and what to do about it.
type fault struct {
	code int
	err  error
	hint string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// run runs one command line and returns the exit code.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	w := &world{ctx: ctx, environ: environ, stdin: stdin, stdout: stdout, stderr: stderr,
		credentialStores: []string{"/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore"}}
	var g grammar
	exited := false
	parser, err := kong.New(&g, kong.Name("trackd"), kong.Writers(stdout, stderr), kong.UsageOnError(),
		kong.Description("Durable delivery of mobile lifecycle events to Customer.io."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Exit(func(int) { exited = true }))
	if err != nil {
		return report(stderr, err)
	}
	command, err := parser.Parse(args)
	if exited { // --help was printed
		return exitOK
	}
	if err != nil {
		return report(stderr, &fault{code: exitUsage, err: err, hint: "trackd --help lists the commands"})
	}
	w.configFile = g.Config
	return report(stderr, w.explain(command.Run(w)))
}

// report prints err as "trackd: what: why" and a hint, and returns its exit
// code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := exitFailure, ""
	if f, ok := errors.AsType[*fault](err); ok {
		code, hint = f.code, f.hint
	}
	if text := err.Error(); text != "" {
		fmt.Fprintf(stderr, "trackd: %s\n", printable(text))
	}
	if hint != "" {
		fmt.Fprintf(stderr, "hint: %s\n", printable(hint))
	}
	return code
}
