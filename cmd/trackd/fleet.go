package main

import (
	"errors"
	"fmt"
	"time"

	"trackd/queue/pgqueue"
)

type fleetCmd struct {
	Init   fleetInitCmd   `cmd:"" help:"Make or migrate the tables of a queue in PostgreSQL. Nothing else ever does."`
	Status fleetStatusCmd `cmd:"" help:"Show who delivers what is in a queue in PostgreSQL, and whether a standby has it."`
}

type fleetInitCmd struct {
	DryRun bool `name:"dry-run" help:"Print the SQL that would be run, and change nothing."`
}

// Run makes or migrates the tables.
func (c fleetInitCmd) Run(w *world) error {
	url, err := w.postgres()
	if err != nil {
		return err
	}
	done, err := pgqueue.Init(w.ctx, url, c.DryRun)
	if err != nil {
		return err
	}
	if len(done) == 0 {
		_, err = fmt.Fprintln(w.stdout, "the tables are those of this version")
		return err
	}
	for _, step := range done {
		if _, err := fmt.Fprintln(w.stdout, step); err != nil {
			return err
		}
	}
	return nil
}

type fleetStatusCmd struct{}

// Run shows who delivers. It finds something where nobody does, and where what
// was acknowledged may be lost.
func (fleetStatusCmd) Run(w *world) error {
	url, err := w.postgres()
	if err != nil {
		return err
	}
	s, err := pgqueue.Inspect(w.ctx, url)
	if err != nil {
		return err
	}
	drainer := "nobody delivers"
	if s.Left > 0 {
		drainer = fmt.Sprintf("%s delivers since %s, epoch %d, lease for another %v",
			printable(s.Drainer), s.Since.UTC().Format(time.RFC3339), s.Epoch, s.Left.Round(time.Millisecond))
	}
	if _, err := fmt.Fprintf(w.stdout, "%s\n%d queued, %d dead, %d delivered, %d discarded, %d lost, of %d taken\n",
		drainer, s.Queued, s.Dead, s.Delivered, s.Discarded, s.Lost, s.Taken); err != nil {
		return err
	}
	var found []error
	if s.Left <= 0 {
		found = append(found, errors.New("nobody delivers"))
	}
	for _, alarm := range s.Alarms {
		found = append(found, errors.New(alarm))
	}
	if len(found) > 0 {
		return &fault{code: exitFailure, err: errors.Join(found...), hint: "trackd status on each daemon says how it sees the database"}
	}
	return nil
}

// postgres returns the URL of the database that the configuration names.
func (w *world) postgres() (string, error) {
	c, err := w.config(false)
	if err != nil {
		return "", err
	}
	if c.Queue.Backend != "postgres" {
		return "", &fault{code: exitUsage, err: errors.New("the queue of this configuration is on this host's disk"), hint: "set queue.backend: postgres"}
	}
	return c.Queue.PostgresURL.Reveal(), nil
}
