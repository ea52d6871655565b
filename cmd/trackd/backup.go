package main

import (
	"fmt"

	"trackd/admin"
)

type backupCmd struct {
	Dir  string `arg:"" type:"path" placeholder:"DIR" help:"Where to: a directory that the daemon's user may make, or an empty one."`
	JSON bool   `name:"json" help:"Print the result as JSON."`
}

// Run has the daemon copy its queue while it works.
func (c backupCmd) Run(w *world) error {
	client, err := w.daemon()
	if err != nil {
		return err
	}
	defer client.Close()
	made, err := client.Backup(w.ctx, c.Dir)
	if err != nil {
		return &fault{code: exitFailure, err: err,
			hint: "the daemon writes it: name a directory its user may write to, under systemd one below /var/lib/trackd"}
	}
	if c.JSON {
		return admin.EncodeLine(w.stdout, made)
	}
	_, err = fmt.Fprintf(w.stdout, "%s, %s, in %s\n%s\nwhat is delivered from now on is sent again by whoever starts this copy\n",
		count(made.Files, "file"), size(made.Bytes), printable(made.Dir), made.Account)
	return err
}
