package main

import (
	"fmt"
	"net/http"
	"strings"

	"trackd/config"
	"trackd/internal/daemon"
)

// askUpstream has the sender post an event that no destination can accept,
// prints the reply as it came and reports whether the key was accepted.
func askUpstream(w *world, c config.Config) bool {
	fmt.Fprintf(w.stdout, "POST %s/track {}\n", c.BaseURL())
	got, err := daemon.CheckUpstream(w.ctx, c, version)
	switch {
	case err != nil:
		fmt.Fprintf(w.stdout, "not asked: %v\n", err)
		return false
	case got.Err != nil:
		fmt.Fprintf(w.stdout, "no answer: %v\n", got.Err)
		fmt.Fprintln(w.stdout, got.Meaning)
		return false
	}
	fmt.Fprintf(w.stdout, "HTTP %d %s\n", got.Status, http.StatusText(got.Status))
	if text := strings.TrimSpace(printable(got.Text)); text != "" {
		fmt.Fprintln(w.stdout, text)
	}
	fmt.Fprintln(w.stdout, got.Meaning)
	fmt.Fprintln(w.stdout, "this cannot prove the region: compare it with the workspace's settings, since the wrong one may accept events and lose them")
	return got.Accepted
}
