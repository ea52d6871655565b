package systemd

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonic is the time by the clock that systemd compares with.
func monotonic() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
		return 0 // not on any Linux there is; systemd takes 0 for an old reload
	}
	return time.Duration(ts.Nano())
}
