package listen

import (
	"bytes"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// owner names the process at the other end of conn: SO_PEERCRED in unix(7) holds
// who called listen there, or connect.
func owner(conn net.Conn) string {
	const unknown = "another process"
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return unknown
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return unknown
	}
	var cred *unix.Ucred
	if ctrl := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctrl != nil || err != nil || cred.Pid == 0 { // pid 0: beyond our pid namespace
		return unknown
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cred.Pid))
	if err != nil {
		return fmt.Sprintf("process %d", cred.Pid)
	}
	return fmt.Sprintf("process %d (%s)", cred.Pid, bytes.TrimSpace(name))
}
