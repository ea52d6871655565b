package main

import (
	"fmt"
	"os"
	"text/tabwriter"

	"trackd/admin"
	"trackd/config"
)

type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Tell everything that is wrong with the configuration and with what it names on this host."`
	Show  configShowCmd  `cmd:"" help:"Show every setting in use and where it came from; keys are not shown."`
}

type configShowCmd struct {
	JSON bool `name:"json" help:"Print one JSON object a line."`
}

// Run shows the configuration the daemon would start with. Where that cannot
// be complete, it shows what a client uses, and says so.
func (c configShowCmd) Run(w *world) error {
	cfg, err := w.wholeConfig()
	if err != nil {
		var clientErr error
		if cfg, clientErr = w.config(true); clientErr != nil {
			return err
		}
		fmt.Fprintf(w.stderr, "note: the daemon would not start with this: trackd config check says why\n")
	}
	table := tabwriter.NewWriter(w.stdout, 0, 0, 2, ' ', 0)
	for _, e := range cfg.Entries() {
		if c.JSON {
			if err := admin.EncodeLine(w.stdout, shownEntry(e)); err != nil {
				return err
			}
			continue
		}
		value := e.Value
		if value == "" {
			value = `""`
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", e.Key, printable(value), printable(e.Origin))
	}
	return table.Flush()
}

// wholeConfig loads what the daemon would start with. Where systemd would hand
// it the key, that counts here, too.
func (w *world) wholeConfig() (config.Config, error) {
	o := w.loadOptions(false)
	o.CredentialStores = w.credentialStores
	c, err := config.Load(o)
	if err != nil {
		return c, &fault{code: exitUsage, err: fmt.Errorf("configuration:\n%w", err)}
	}
	return c, nil
}

// shownEntry is a [config.Entry] as JSON.
type shownEntry struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

type configCheckCmd struct {
	Upstream bool `help:"Also ask the destination whether it accepts the key: posts one empty event, which it must refuse."`
}

// Run tells every problem, first those of the configuration, then those of
// what it names on this host.
func (c configCheckCmd) Run(w *world) error {
	cfg, err := w.wholeConfig()
	if err != nil {
		return err
	}
	host := inspection{euid: os.Geteuid()}
	host.inspect(cfg)
	for _, note := range host.notes {
		fmt.Fprintf(w.stdout, "note: %s\n", note)
	}
	for _, finding := range host.findings {
		fmt.Fprintf(w.stdout, "%s\n", finding)
	}
	findings := len(host.findings)
	if c.Upstream && !askUpstream(w, cfg) {
		findings++
	}
	if findings > 0 {
		return &fault{code: exitFailure, err: fmt.Errorf("config check: %s", count(findings, "finding"))}
	}
	_, err = fmt.Fprintln(w.stdout, "the configuration is sound")
	return err
}
