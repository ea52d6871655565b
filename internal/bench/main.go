// Command bench measures trackd beside bare floors: programs that do the same
// work with nothing of what makes it safe to operate.
//
//	go run ./internal/bench [-runs 5] [-time 2s] [-only http,cost] [-dir DIR] [-json]
//	go run ./internal/bench -tables [-full]
//
// Every figure comes from real processes over real sockets: the server, the
// client and the sink each run as a process of their own. trackd and its floor
// take turns, A B A B …, and the ratio is the median of the pairs, so that it
// holds while the machine's speed drifts. It talks to loopback only, ends by
// itself and leaves nothing behind. It needs Linux, as the queue does.
//
// Reading order: main.go (the command), figures.go (what a measurement brings),
// plan.go, growth.go and stages.go (the tables, as data), bench.go (measuring
// one row after another), report.go (what is printed), machine.go (where it
// was), turn.go and serve.go (the processes of one measurement), usage.go (what
// they used); then the roles those processes play: sample.go and tape.go (the
// events), http.go and lines.go (the clients), floor.go (the floors), fill.go,
// drain.go and sink.go (the way out), idle.go, stage.go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// settings are what the command line can say.
type settings struct {
	Runs int           `json:"runs"`
	Time time.Duration `json:"time_ns"`
	Fill int           `json:"fill"`

	only   []string
	tables bool
	full   bool
	dir    string
	json   bool
	binary string // trackd, if it is built already
}

func main() {
	os.Exit(command())
}

// command returns the exit code.
func command() int {
	err := run(os.Args[1:], os.Stdout)
	if err != nil && !errors.Is(err, flag.ErrHelp) { // then the help is what was asked for
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	return 0
}

// run plays a role if args name one, and else measures. A role dies of a
// signal; who measures has processes and directories to see to first.
func run(args []string, out io.Writer) error {
	if len(args) > 1 && args[0] == "role" {
		return play(context.Background(), args[1], args[2:])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	set, err := parse(args)
	if err != nil {
		return err
	}
	tables, err := set.choose()
	if err != nil {
		return err
	}
	return measure(ctx, set, tables, out)
}

func parse(args []string) (settings, error) {
	var set settings
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&set.Runs, "runs", 5, "counted pairs a row, after one that is not counted; with 1 there is none")
	flags.DurationVar(&set.Time, "time", 2*time.Second, "`length` of one measurement")
	flags.IntVar(&set.Fill, "fill", 100_000, "`events` of one drain; the sizes of -tables are multiples of it")
	only := flags.String("only", "", "only these `rows` and tables, by name, separated by commas: "+strings.Join(names(), ", "))
	flags.BoolVar(&set.tables, "tables", false, "measure growth and fairness instead: "+strings.Join(namesOf(growthTables(set)), ", "))
	flags.BoolVar(&set.full, "full", false, "with -tables: a backlog of 100 times -fill too, which takes minutes and gigabytes")
	flags.StringVar(&set.dir, "dir", "", "`directory` in which the queues lie, on a disk with nothing else to do: every row waits\n"+
		"for fsync, so a disk that is noisy makes all of them noise (default: a temporary directory)")
	flags.BoolVar(&set.json, "json", false, "print one JSON object instead of text, at the end")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if *only != "" {
		set.only = strings.Split(*only, ",")
	}
	switch {
	case flags.NArg() > 0:
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case set.Runs < 1 || set.Time <= 0 || set.Fill < 100:
		return set, errors.New("want -runs of at least 1, -time above 0 and -fill of at least 100")
	}
	return set, nil
}
