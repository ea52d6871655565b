package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"

	"trackd/admin"
	"trackd/config"
	"trackd/ingest"
	"trackd/internal/listen"
)

// listeners are where clients and operators come in.
type listeners struct {
	clients   ingest.Listeners
	operators admin.Listeners
	exposed   bool // one that systemd opened can be reached by others: it needs a key
}

// listen opens every listener the configuration names, but for those that
// systemd has opened.
func (d *Daemon) listen(cfg config.Config, inherited []*os.File) error {
	cfg, err := d.takeOver(inherited, cfg)
	if err != nil {
		return err
	}
	mode := fs.FileMode(cfg.Ingest.SocketMode)
	return errors.Join(
		d.unix(&d.clients.Lines, cfg.Ingest.Socket, mode, cfg.Ingest.SocketGroup),
		d.unix(&d.clients.HTTP, cfg.Ingest.HTTPSocket, mode, cfg.Ingest.SocketGroup),
		d.tcp(&d.clients.HTTP, cfg.Ingest.HTTP),
		d.unix(&d.operators.Actions, cfg.Admin.Socket, 0o600, ""),
		d.tcp(&d.operators.Pages, cfg.Admin.HTTP),
	)
}

func (d *Daemon) unix(to *[]net.Listener, path string, mode fs.FileMode, group string) error {
	if path == "" {
		return nil
	}
	ln, err := listen.Unix(path, mode, group)
	return d.opened(to, ln, err)
}

func (d *Daemon) tcp(to *[]net.Listener, address string) error {
	if address == "" {
		return nil
	}
	ln, err := listen.TCP(address)
	return d.opened(to, ln, err)
}

// opened adds a listener to those of its kind, to be closed at the end.
func (d *Daemon) opened(to *[]net.Listener, ln net.Listener, err error) error {
	if err != nil {
		return err
	}
	*to = append(*to, ln)
	d.push("listener "+ln.Addr().String(), func() error {
		if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil // its server closed it
	})
	return nil
}
