// Command bench measures trackd beside bare floors: programs that do the same
// work with nothing of what makes it safe to operate.
//
//	go run ./internal/bench [-runs 5] [-time 2s] [-only http,drain] [-dir DIR]
//	go run ./internal/bench -tables [-full]
//
// Every figure comes from real processes over real sockets: the server, the
// client and the destination each run as a process of their own. trackd and its
// floor run in alternation, A B A B …, and the ratio is the median of the pairs,
// so that it holds while the machine's speed drifts. It talks to loopback only,
// ends by itself and leaves nothing behind. Figures of a process need Linux.
//
// Reading order: main.go (the command), plan.go (the tables, as data),
// measure.go (measuring one row after another), report.go (what is printed),
// run.go (the processes of one measurement) and usage_linux.go (what they used);
// then what is measured and the roles of those processes: workload.go (the
// events), client.go, floor.go, backlog.go, drain.go and idle.go.
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
	runs   int
	time   time.Duration
	fill   int
	only   []string
	tables bool
	full   bool
	dir    string
	binary string // trackd, if it is built already
}

func main() {
	if err := command(os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// command plays a role if args name one, and otherwise measures. A role dies of
// a signal; a measurement has processes to stop and directories to remove first.
func command(args []string, out io.Writer) error {
	if len(args) > 1 && args[0] == "role" {
		return playRole(context.Background(), args[1], args[2:])
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
	flags.IntVar(&set.runs, "runs", 5, "counted pairs a row, after one that is not counted; with 1 there is none")
	flags.DurationVar(&set.time, "time", 2*time.Second, "`length` of one measurement")
	flags.IntVar(&set.fill, "fill", 100_000, "`events` of one drain; the sizes of -tables are multiples of it")
	only := flags.String("only", "", "only these `rows` and tables, by name, separated by commas: "+strings.Join(names(allTables(set)), ", "))
	flags.BoolVar(&set.tables, "tables", false, "measure growth and fairness instead: "+strings.Join(names(growthTables(set)), ", "))
	flags.BoolVar(&set.full, "full", false, "with -tables: a backlog of 100 times -fill too, which takes minutes and gigabytes")
	flags.StringVar(&set.dir, "dir", "", "`directory` in which the queues lie, on a disk with nothing else to do: every row waits\n"+
		"for fsync, so a disk that is noisy makes all of them noise (default: a temporary directory)")
	if err := flags.Parse(args); err != nil {
		return set, err
	}
	if *only != "" {
		set.only = strings.Split(*only, ",")
	}
	switch {
	case flags.NArg() > 0:
		return set, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case set.runs < 1 || set.time <= 0 || set.fill < 100:
		return set, errors.New("want -runs of at least 1, -time above 0 and -fill of at least 100")
	}
	return set, nil
}
