package main

import (
	"fmt"
	"text/tabwriter"

	"trackd/admin"
	"trackd/queue"
)

// listed is how many rows a table has unless told.
const listed = 100

type queueCmd struct {
	List   queueListCmd   `cmd:"" help:"List events that wait to be delivered, the oldest first."`
	Show   queueShowCmd   `cmd:"" help:"Show one waiting event whole."`
	Export queueExportCmd `cmd:"" help:"Print waiting events whole, one JSON object a line. They stay in the queue."`
}

type queueListCmd struct {
	eventFilter
	JSON bool `name:"json" help:"Print one JSON object a line, with the whole event."`
}

// Run lists waiting events without disturbing them.
func (c queueListCmd) Run(w *world) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	if c.JSON {
		return exportQueued(w, f, c.narrow())
	}
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	asked := f.Limit
	if asked == 0 && !c.All {
		f.Limit = listed + 1
	}
	table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	n := 0
	for e, err := range client.Queued(w.ctx, f) {
		if err != nil {
			return err
		}
		if n++; n == listed+1 && asked == 0 && !c.All {
			break
		}
		if n == 1 {
			fmt.Fprintln(table, "ADDRESS\tTAKEN\tEVENT\tMESSAGE ID")
		}
		fmt.Fprintf(table, "%s\t%s ago\t%s\t%s\n", e.Address, ago(e.Taken), cell(e.Name, 40), cell(e.MessageID, 40))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return w.concludeList(n, f.Limit == listed+1, "waiting event", c.narrow())
}

// concludeList says what a table leaves out.
func (w *world) concludeList(n int, cut bool, what string, narrow bool) error {
	if n == 0 {
		return w.nothing(what, narrow)
	}
	if cut && n > listed {
		fmt.Fprintf(w.stderr, "only the first %d are shown: --limit N or --all shows more\n", listed)
	}
	return nil
}

type queueShowCmd struct {
	Which string `arg:"" name:"address-or-id" help:"Its address or its messageId."`
	JSON  bool   `name:"json" help:"Print it as JSON."`
}

// Run shows the waiting events at an address or of a messageId.
func (c queueShowCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	found, err := find(w.ctx, c.Which, client.QueuedAt, client.Queued)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return w.nothing("waiting event", true)
	}
	for _, e := range found {
		if err := c.print(w, e); err != nil {
			return err
		}
	}
	return nil
}

func (c queueShowCmd) print(w *world, e admin.Waiting) error {
	if c.JSON {
		return printJSON(w.stdout, e)
	}
	return printFacts(w, [][2]string{
		{"address", e.Address},
		{"event", e.Name},
		{"message id", e.MessageID},
		{"taken", at(e.Taken)},
	}, e.Event)
}

// printFacts prints labelled facts and the event they are about.
func printFacts(w *world, facts [][2]string, body []byte) error {
	table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	for _, fact := range facts {
		if fact[1] != "" {
			fmt.Fprintf(table, "%s\t%s\n", fact[0], printable(fact[1]))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w.stdout, "\n%s\n", indented(body))
	return err
}

type queueExportCmd struct {
	eventFilter
}

// Run prints waiting events whole.
func (c queueExportCmd) Run(w *world) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	return exportQueued(w, f, c.narrow())
}

func exportQueued(w *world, f queue.Filter, narrow bool) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	n := 0
	for e, err := range client.Queued(w.ctx, f) {
		if err == nil {
			err = printJSON(w.stdout, e)
		}
		if err != nil {
			return fmt.Errorf("export, after %s: %w", count(n, "event"), err)
		}
		n++
	}
	if n == 0 {
		return w.nothing("waiting event", narrow)
	}
	return nil
}
