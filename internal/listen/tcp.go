package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
)

// TCP listens on address, a host and a port. An empty host is every interface.
func TCP(address string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w%s", address, withoutAddress(err), advice(err))
	}
	return listener, nil
}

// advice ends the message with what to do, where that is known.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return `: another process has the port ("ss -ltnp" tells which); stop it or choose another port`
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return ": no interface of this host has the address"
	case errors.Is(err, fs.ErrPermission):
		return ": ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one"
	default:
		return ""
	}
}
