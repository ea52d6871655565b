package main

import (
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheServiceManagerIsToldOfStartReloadAndStop is systemd's other end of
// NOTIFY_SOCKET.
func TestTheServiceManagerIsToldOfStartReloadAndStop(t *testing.T) {
	t.Parallel()
	_, upstream := newSandbox(t)
	d := newProcess(t, upstream)
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: d.path("notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	d.env = append(d.env, "NOTIFY_SOCKET="+d.path("notify"), "WATCHDOG_USEC=400000")
	var heard []string // and not asked for yet: the watchdog and the status come whenever they like
	hear := func(want string) {
		t.Helper()
		text := make([]byte, 4096)
		for socket.SetReadDeadline(time.Now().Add(patience)); ; {
			i := slices.IndexFunc(heard, func(message string) bool { return strings.HasPrefix(message, want) })
			if i >= 0 {
				heard = slices.Delete(heard, i, i+1)
				return
			}
			n, err := socket.Read(text)
			if err != nil {
				t.Fatalf("waiting for %q: %v; heard %q", want, err, heard)
			}
			heard = append(heard, string(text[:n]))
		}
	}
	d.start()
	hear("READY=1")
	if status := d.status(); status.Queue.Full != "" {
		t.Errorf("it said READY and refuses events: %s", status.Queue.Full)
	}
	hear("WATCHDOG=1")
	hear("STATUS=upstream open; nothing queued")
	hear("WATCHDOG=1")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1\nMONOTONIC_USEC=")
	hear("READY=1")
	if code, _ := d.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	hear("STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000\nSTATUS=stopping")
}
