package main

import (
	"fmt"
	"strings"
)

type reloadCmd struct{}

// Run has the daemon read its configuration again. That it was refused is an
// error here, unlike for a signal, whose sender is told nothing.
func (reloadCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	got, err := client.Reload(w.ctx)
	if err != nil {
		return err
	}
	if got.Refused() {
		return &fault{code: exitFailure, err: fmt.Errorf("the configuration was refused, the one before stays in force:\n%s", strings.Join(got.Problems, "\n")),
			hint: "trackd config check finds the same without the daemon"}
	}
	if len(got.NeedRestart) > 0 {
		fmt.Fprintf(w.stderr, "note: only a restart changes %s\n", strings.Join(got.NeedRestart, ", "))
	}
	changed := "nothing has changed"
	if len(got.Changed) > 0 {
		changed = "changed: " + strings.Join(got.Changed, "; ")
	}
	_, err = fmt.Fprintf(w.stdout, "the configuration is in force; %s\n", printable(changed))
	return err
}
