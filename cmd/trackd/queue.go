package main

import (
	"fmt"

	"trackd/admin"
)

type queueCmd struct {
	List   queueListCmd   `cmd:"" help:"List events that wait to be delivered, the oldest first."`
	Show   queueShowCmd   `cmd:"" help:"Show one waiting event whole."`
	Export queueExportCmd `cmd:"" help:"Print waiting events whole, one JSON object a line. They stay in the queue."`
}

func queuedEvents() listing[admin.QueuedEvent] {
	return listing[admin.QueuedEvent]{
		what:   "waiting event",
		header: "ADDRESS\tTAKEN\tTRIES\tFAILING\tHTTP\tEVENT\tMESSAGE ID\tSAID",
		fetch:  (*admin.Client).Queued,
		row: func(e admin.QueuedEvent) string {
			tries, failing, status, said := "-", "-", "-", "-"
			if f := e.Failures; f != nil {
				tries, failing, said = fmt.Sprint(f.Attempts), ago(f.Since), cell(f.LastDetail, 60)
				if f.LastStatus != 0 {
					status = fmt.Sprint(f.LastStatus)
				}
			}
			return fmt.Sprintf("%s\t%s ago\t%s\t%s\t%s\t%s\t%s\t%s", e.Address, ago(e.Taken), tries, failing, status,
				cell(e.Name, 40), cell(e.MessageID, 40), said)
		},
		facts: func(e admin.QueuedEvent) [][2]string {
			facts := [][2]string{{"address", e.Address}, {"event", e.Name}, {"message id", e.MessageID}, {"taken", at(e.Taken)}}
			if f := e.Failures; f != nil {
				facts = append(facts, [][2]string{{"attempts", fmt.Sprint(f.Attempts)}, {"failing since", at(f.Since)},
					{"strikes", fmt.Sprintf("%.1f of sender.max_attempts", f.Strikes)}}...)
				if f.LastStatus != 0 {
					facts = append(facts, [2]string{"last answer", fmt.Sprintf("HTTP %d", f.LastStatus)})
				}
				facts = append(facts, [2]string{"last said", f.LastDetail})
			}
			return facts
		},
		content: func(e admin.QueuedEvent) admin.Content { return e.Content },
	}
}

type queueListCmd struct {
	eventFilter
	JSON bool `name:"json" help:"Print one JSON object a line, with the whole event."`
}

// Run lists queued events.
func (c queueListCmd) Run(w *world) error {
	s, err := c.selection()
	if err != nil {
		return err
	}
	if c.JSON {
		return queuedEvents().export(w, s)
	}
	return queuedEvents().list(w, s)
}

type queueShowCmd struct {
	Which string `arg:"" name:"address-or-id" help:"Its address or its messageId."`
	JSON  bool   `name:"json" help:"Print it as JSON."`
}

// Run shows the queued events at an address or of a messageId.
func (c queueShowCmd) Run(w *world) error { return queuedEvents().show(w, c.Which, c.JSON) }

type queueExportCmd struct {
	eventFilter
}

// Run prints queued events whole.
func (c queueExportCmd) Run(w *world) error {
	s, err := c.selection()
	if err != nil {
		return err
	}
	return queuedEvents().export(w, s)
}
