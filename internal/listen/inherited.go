package listen

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// Inherited makes a listener of a socket that another process opened and handed
// to this one, as systemd does with those of its socket units. It takes file
// over, whose name it only needs for errors. Closing the listener leaves the
// socket where it is: whoever opened it goes on to take connections for us.
func Inherited(file *os.File) (net.Listener, error) {
	defer file.Close() // FileListener works on a duplicate
	if err := isListening(file); err != nil {
		return nil, fmt.Errorf("take over socket %q: %w", file.Name(), err)
	}
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over socket %q: %w", file.Name(), err)
	}
	return listener, nil
}

// isListening wants a socket that connections can be accepted from.
// net.FileListener takes any socket, and its Accept would fail for ever.
func isListening(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var kind, listening int
	ctrl := raw.Control(func(fd uintptr) {
		if kind, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_TYPE); err == nil {
			listening, err = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
		}
	})
	switch {
	case ctrl != nil:
		return ctrl
	case errors.Is(err, syscall.ENOTSOCK):
		return errors.New("it is no socket")
	case err != nil:
		return err
	case kind != syscall.SOCK_STREAM, listening == 0:
		return errors.New("it is no stream socket that listens: want ListenStream= and Accept=no")
	}
	return nil
}
