package daemon

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"

	"trackd/config"
	"trackd/internal/listen"
)

// The names of the sockets that systemd may open for us: FileDescriptorName= in
// systemd/trackd.socket and systemd/trackd-http.socket.
const (
	socketEvents = "events" // NDJSON
	socketHTTP   = "http"   // on TCP or a Unix socket
)

// Activated returns the sockets that came with this process, if it is the one
// they are meant for, and hides them from processes that it starts.
func Activated() []*os.File { return activation.Files(true) }

// takeOver serves on sockets that somebody else opened for us and holds open
// while we restart, so that no client is refused meanwhile. It returns cfg
// without the addresses that they stand for.
func (d *Daemon) takeOver(files []*os.File, cfg config.Config) (config.Config, error) {
	var errs []error
	for _, f := range files {
		name := f.Name()
		ln, err := listen.Inherited(f)
		if err == nil {
			err = d.assign(name, ln, &cfg)
		}
		errs = append(errs, err)
	}
	return cfg, errors.Join(errs...)
}

// assign makes ln the listener that it is named for.
func (d *Daemon) assign(name string, ln net.Listener, cfg *config.Config) error {
	var to *[]net.Listener
	var configured *string
	onTCP := ln.Addr().Network() == "tcp"
	switch {
	case name == socketEvents && onTCP:
		return errors.Join(ln.Close(), fmt.Errorf("take over socket %q (%s): events without HTTP come over a Unix socket only, "+
			"whose mode says who may send", name, ln.Addr()))
	case name == socketEvents:
		to, configured = &d.clients.Lines, &cfg.Ingest.Socket
	case name == socketHTTP && onTCP:
		to, configured = &d.clients.HTTP, &cfg.Ingest.HTTP
	case name == socketHTTP:
		to, configured = &d.clients.HTTP, &cfg.Ingest.HTTPSocket
	default:
		return errors.Join(ln.Close(), fmt.Errorf("take over socket %q (%s): FileDescriptorName= must be %s or %s",
			name, ln.Addr(), socketEvents, socketHTTP))
	}
	if onTCP && !isLoopback(ln) {
		d.exposed = true
		if cfg.Ingest.Key.IsZero() && cfg.Ingest.ClientCA == "" {
			return errors.Join(ln.Close(), fmt.Errorf("take over socket %q (%s): others can reach it, allowed only with a key: "+
				"set ingest.key_file or ingest.client_ca_file, or bind 127.0.0.1 in ListenStream=", name, ln.Addr()))
		}
	}
	if *configured != "" && *configured != ln.Addr().String() {
		d.log.Warn("systemd listens elsewhere than configured, which is not opened", "configured", *configured, "address", ln.Addr().String())
	}
	*configured = ""
	return d.opened(to, ln, nil)
}

func isLoopback(ln net.Listener) bool {
	tcp, ok := ln.Addr().(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
