package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"

	"trackd/admin"
	"trackd/queue"
)

type deadCmd struct {
	List    deadListCmd    `cmd:"" help:"List dead letters, the oldest first."`
	Show    deadShowCmd    `cmd:"" help:"Show one dead letter whole: the event, and what was said about it."`
	Replay  deadReplayCmd  `cmd:"" help:"Have dead letters sent again, with the same messageId."`
	Discard deadDiscardCmd `cmd:"" help:"Throw dead letters away, for ever."`
	Export  deadExportCmd  `cmd:"" help:"Print dead letters whole, one JSON object a line. They stay where they are."`
	Import  deadImportCmd  `cmd:"" help:"Take events from a file: mended exports, or bare events, one a line."`
}

type deadListCmd struct {
	letterFilter
	JSON bool `name:"json" help:"Print one JSON object a line, with the whole event."`
}

// Run lists letters.
func (c deadListCmd) Run(w *world) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	if c.JSON {
		return exportLetters(w, f, c.narrow())
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
	for l, err := range client.Letters(w.ctx, f) {
		if err != nil {
			return err
		}
		if n++; n == listed+1 && asked == 0 && !c.All {
			break
		}
		if n == 1 {
			fmt.Fprintln(table, "ADDRESS\tDIED\tREASON\tHTTP\tTRIES\tEVENT\tMESSAGE ID\tSAID")
		}
		fmt.Fprintf(table, "%s\t%s ago\t%s\t%s\t%d\t%s\t%s\t%s\n", l.Address, ago(l.Died), l.Reason, httpStatus(l.Status),
			l.Attempts, cell(l.Name, 40), cell(l.MessageID, 40), cell(l.Detail, 60))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return w.concludeList(n, f.Limit == listed+1, "dead letter", c.narrow())
}

func httpStatus(code int) string {
	if code == 0 {
		return "-"
	}
	return fmt.Sprint(code)
}

type deadShowCmd struct {
	Which string `arg:"" name:"address-or-id" help:"Its address or its messageId."`
	JSON  bool   `name:"json" help:"Print it as JSON."`
}

// Run shows the letters at an address or of a messageId.
func (c deadShowCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	found, err := find(w.ctx, c.Which, client.LetterAt, client.Letters)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return w.nothing("dead letter", true)
	}
	for _, l := range found {
		if err := c.print(w, l); err != nil {
			return err
		}
	}
	return nil
}

func (c deadShowCmd) print(w *world, l admin.Letter) error {
	if c.JSON {
		return printJSON(w.stdout, l)
	}
	who, attempts := "destination", fmt.Sprint(l.Attempts)
	reason := string(l.Reason)
	if l.Status != 0 {
		reason += fmt.Sprintf(" (HTTP %d)", l.Status)
	}
	if l.AtDoor {
		who, attempts = "door", "none: it was rejected at the door"
	}
	return printFacts(w, [][2]string{
		{"address", l.Address},
		{"reason", reason},
		{"event", l.Name},
		{"message id", l.MessageID},
		{"taken", at(l.Taken)},
		{"died", at(l.Died)},
		{"attempts", attempts},
		{who + " said", cmp.Or(l.Detail, "nothing")},
	}, l.Event)
}

type deadExportCmd struct {
	letterFilter
}

// Run prints letters whole.
func (c deadExportCmd) Run(w *world) error {
	f, err := c.filter()
	if err != nil {
		return err
	}
	return exportLetters(w, f, c.narrow())
}

func exportLetters(w *world, f queue.Filter, narrow bool) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	n := 0
	for l, err := range client.Letters(w.ctx, f) {
		if err == nil {
			err = printJSON(w.stdout, l)
		}
		if err != nil {
			return fmt.Errorf("export, after %s: %w", count(n, "letter"), err)
		}
		n++
	}
	if n == 0 {
		return w.nothing("dead letter", narrow)
	}
	return nil
}
