//go:build !linux

package systemd

import "time"

// monotonic is of interest to systemd alone.
func monotonic() time.Duration { return 0 }
