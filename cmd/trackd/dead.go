package main

import (
	"cmp"
	"fmt"

	"trackd/admin"
)

type deadCmd struct {
	List    deadListCmd    `cmd:"" help:"List dead letters, the oldest first."`
	Show    deadShowCmd    `cmd:"" help:"Show one dead letter whole: the event, and what was said about it."`
	Replay  deadReplayCmd  `cmd:"" help:"Have dead letters sent again, with the same messageId."`
	Discard deadDiscardCmd `cmd:"" help:"Throw dead letters away, for ever."`
	Export  deadExportCmd  `cmd:"" help:"Print dead letters whole, one JSON object a line. They stay where they are."`
	Import  deadImportCmd  `cmd:"" help:"Take events from a file: mended exports, or bare events, one a line."`
}

func deadLetters() listing[admin.DeadLetter] {
	return listing[admin.DeadLetter]{
		what:   "dead letter",
		header: "ADDRESS\tDIED\tREASON\tHTTP\tTRIES\tEVENT\tMESSAGE ID\tSAID",
		fetch:  (*admin.Client).DeadLetters,
		row: func(l admin.DeadLetter) string {
			status := "-"
			if l.Status != 0 {
				status = fmt.Sprint(l.Status)
			}
			return fmt.Sprintf("%s\t%s ago\t%s\t%s\t%d\t%s\t%s\t%s", l.Address, ago(l.Died), l.Reason, status,
				l.Attempts, cell(l.Name, 40), cell(l.MessageID, 40), cell(l.Detail, 60))
		},
		facts:   deadLetterFacts,
		content: func(l admin.DeadLetter) admin.Content { return l.Content },
	}
}

func deadLetterFacts(l admin.DeadLetter) [][2]string {
	who, attempts := "destination", fmt.Sprint(l.Attempts)
	reason := string(l.Reason)
	if l.Status != 0 {
		reason += fmt.Sprintf(" (HTTP %d)", l.Status)
	}
	if l.AtIngest {
		who, attempts = "trackd", "none: it was rejected when it came in"
	}
	return [][2]string{
		{"address", l.Address},
		{"reason", reason},
		{"event", l.Name},
		{"message id", l.MessageID},
		{"taken", at(l.Taken)},
		{"died", at(l.Died)},
		{"attempts", attempts},
		{who + " said", cmp.Or(l.Detail, "nothing")},
	}
}

type deadListCmd struct {
	letterFilter
	JSON bool `name:"json" help:"Print one JSON object a line, with the whole event."`
}

// Run lists dead letters.
func (c deadListCmd) Run(w *world) error {
	s, err := c.selection()
	if err != nil {
		return err
	}
	if c.JSON {
		return deadLetters().export(w, s)
	}
	return deadLetters().list(w, s)
}

type deadShowCmd struct {
	Which string `arg:"" name:"address-or-id" help:"Its address or its messageId."`
	JSON  bool   `name:"json" help:"Print it as JSON."`
}

// Run shows the dead letters at an address or of a messageId.
func (c deadShowCmd) Run(w *world) error { return deadLetters().show(w, c.Which, c.JSON) }

type deadExportCmd struct {
	letterFilter
}

// Run prints dead letters whole.
func (c deadExportCmd) Run(w *world) error {
	s, err := c.selection()
	if err != nil {
		return err
	}
	return deadLetters().export(w, s)
}
