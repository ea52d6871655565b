package ingest

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trackd/internal/status"
)

const (
	// bouncedQuiet is how long nothing may bounce for a reason before that
	// counts as over, and bouncedShown how long it is told afterwards.
	bouncedQuiet = 5 * time.Minute
	bouncedShown = time.Hour

	// sampleEvery bounds how often a client and a sample are worded.
	sampleEvery = time.Second

	// maxClientText and maxSampleText bound what is kept of what clients send,
	// in bytes before it is escaped.
	maxClientText = 80
	maxSampleText = 240
)

// bouncedReasons lists every reason for which a request, a connection or the
// rest of a stream is turned back, so that nothing of it is kept:
//
//   - not_found, method_not_allowed, unsupported_encoding, bad_request,
//     tls_handshake: the client speaks another API, no HTTP, or no TLS
//   - unauthorized, foreign_host, cross_origin: it may not send
//   - malformed, oversize: its body cannot be read, or is too large to be
//   - unfinished: its line, head or body stopped arriving
//   - busy, too_many_connections: others were in the way
//   - queue_full, rejects_full, unavailable: the queue did not take it
func bouncedReasons() []string {
	return []string{
		codeNotFound, codeMethod, codeEncoding, codeBadRequest, codeTLSHandshake,
		codeUnauthorized, codeForeignHost, codeCrossOrigin,
		"malformed", "oversize", codeUnfinished, codeBusy, codeTooMany,
		codeQueueFull, reasonRejectsFull, codeUnavailable,
	}
}

// bounced counts and remembers what was turned back, by reason. Otherwise an
// app all of whose events bounce would be seen by nobody: few look at the
// answers they get.
type bounced struct {
	log     *slog.Logger
	counter map[string]prometheus.Counter

	mu    sync.Mutex
	kinds map[string]*bounces // by reason, those that there were; guarded by mu
}

// bounces is what was turned back for one reason since it last began.
type bounces struct {
	status.Bounced
	over    bool      // nothing has bounced for bouncedQuiet
	sampled time.Time // when Client and Sample were worded
}

// note counts one more turned back for reason. describe says who sent it and
// what it was, as it came.
func (b *bounced) note(reason string, describe func() (client, sample string)) {
	b.counter[reason].Inc()
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.kinds[reason]
	begins := k == nil || k.over
	if begins {
		k = &bounces{Bounced: status.Bounced{Reason: reason, Since: now}}
		b.kinds[reason] = k
		time.AfterFunc(bouncedQuiet, func() { b.end(k) })
	}
	k.Count++
	k.Last = now
	if now.Sub(k.sampled) >= sampleEvery {
		client, sample := describe()
		k.Client, k.Sample, k.sampled = escape(client, maxClientText), escape(sample, maxSampleText), now
	}
	if begins && !loggedElsewhere(reason) {
		b.log.Warn("requests are turned back, nothing of them is kept", "reason", reason, "client", k.Client, "sample", k.Sample)
	}
}

// end looks whether what k counts is over, and says so, or looks again later.
func (b *bounced) end(k *bounces) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if left := bouncedQuiet - time.Since(k.Last); left > 0 {
		time.AfterFunc(left, func() { b.end(k) })
		return
	}
	k.over = true
	if !loggedElsewhere(k.Reason) {
		b.log.Info("requests are no longer turned back", "reason", k.Reason, "count", k.Count, "after", k.Last.Sub(k.Since).Round(time.Millisecond))
	}
}

// loggedElsewhere reports whether an alarm or a connection limiter logs the
// beginning and the end, which it knows better.
func loggedElsewhere(reason string) bool {
	return slices.Contains([]string{codeTooMany, codeQueueFull, reasonRejectsFull, codeUnavailable}, reason)
}

// recent returns what was turned back within the last hour, the latest first.
func (b *bounced) recent() []status.Bounced {
	b.mu.Lock()
	defer b.mu.Unlock()
	recent := []status.Bounced{}
	for _, k := range b.kinds {
		if time.Since(k.Last) < bouncedShown {
			recent = append(recent, k.Bounced)
		}
	}
	slices.SortFunc(recent, func(x, y status.Bounced) int { return y.Last.Compare(x.Last) })
	return recent
}

// escape returns at most limit bytes of text, in printable ASCII.
func escape(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit] + "..."
	}
	quoted := strconv.QuoteToASCII(text)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
}

// samplePath returns the part of a path that names an endpoint. What follows,
// in other APIs, names a person.
func samplePath(path string) string {
	const segments = 3
	at := 0
	for range segments {
		next := strings.IndexByte(path[min(at+1, len(path)):], '/')
		if next < 0 {
			return path
		}
		at += next + 1
	}
	return path[:at] + "/..."
}

// Bounced returns what was turned back within the last hour, by reason, the
// latest first.
func (s *Server) Bounced() []status.Bounced { return s.bounced.recent() }
