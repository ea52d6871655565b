//go:build !linux

package listen

import "net"

// owner names the process that listens at the other end of conn, which only
// Linux tells.
func owner(net.Conn) string { return "another process" }
