package main

import (
	"context"
	"fmt"
	"iter"
	"text/tabwriter"

	"trackd/admin"
	"trackd/queue"
)

// tableRows is how many rows a table has unless told.
const tableRows = 100

// listing is how one kind of thing that the queue holds is listed, shown and
// exported: dead letters or queued events.
type listing[T any] struct {
	what    string // what one is called
	header  string // of the table, columns separated by tabs
	fetch   func(*admin.Client, context.Context, queue.Filter) iter.Seq2[T, error]
	row     func(T) string        // its row of the table
	facts   func(T) [][2]string   // what is known about it, each with a label
	content func(T) admin.Content // what the client sent
}

// selection is what the flags of a command select.
type selection struct {
	queue.Filter
	all    bool // --all was given
	narrow bool // some flag leaves something out
}

// list prints a table, without disturbing what it shows.
func (l listing[T]) list(w *world, s selection) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()

	// One more than is shown tells whether there are more.
	bounded := s.Limit == 0 && !s.all
	if bounded {
		s.Limit = tableRows + 1
	}
	table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	n := 0
	for item, err := range l.fetch(client, w.ctx, s.Filter) {
		if err != nil {
			return err
		}
		if n++; bounded && n > tableRows {
			break
		}
		if n == 1 {
			fmt.Fprintln(table, l.header)
		}
		fmt.Fprintln(table, l.row(item))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if n == 0 {
		return w.nothing(l.what, s.narrow)
	}
	if bounded && n > tableRows {
		fmt.Fprintf(w.stderr, "only the first %d are shown: --limit N or --all shows more\n", tableRows)
	}
	return nil
}

// export prints what is selected whole, one JSON object a line.
func (l listing[T]) export(w *world, s selection) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	n := 0
	for item, err := range l.fetch(client, w.ctx, s.Filter) {
		if err == nil {
			err = admin.EncodeLine(w.stdout, item)
		}
		if err != nil {
			return fmt.Errorf("export, after %s: %w", count(n, l.what), err)
		}
		n++
	}
	if n == 0 {
		return w.nothing(l.what, s.narrow)
	}
	return nil
}

// show prints what lies at the address that which is, or else whatever has it
// as its messageId, which may look like an address.
func (l listing[T]) show(w *world, which string, asJSON bool) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	filters := []queue.Filter{{ID: which}}
	if address, err := queue.ParseAddress(which); err == nil {
		filters = []queue.Filter{admin.Exactly(address), {ID: which}}
	}
	for _, filter := range filters {
		n := 0
		for item, err := range l.fetch(client, w.ctx, filter) {
			if err == nil && asJSON {
				err = admin.EncodeLine(w.stdout, item)
			} else if err == nil {
				err = printFacts(w.stdout, l.facts(item), l.content(item).Indented())
			}
			if err != nil {
				return err
			}
			n++
		}
		if n > 0 {
			return nil
		}
	}
	return w.nothing(l.what, true)
}

// nothing says that a selection is empty, which is a finding only if somebody
// narrowed it.
func (w *world) nothing(what string, narrow bool) error {
	if narrow {
		return &fault{code: exitFailure, err: fmt.Errorf("no %s matches", what)}
	}
	fmt.Fprintf(w.stderr, "no %ss\n", what)
	return nil
}
