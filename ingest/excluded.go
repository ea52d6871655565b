package ingest

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"trackd/event"
	"trackd/internal/status"
)

const (
	// maxKinds bounds how many kinds of excluded calls are told apart.
	maxKinds = 64

	// excludedShown is how long a kind is told after it last came.
	excludedShown = 24 * time.Hour
)

// exclusions counts what the accept setting excludes, by kind, and warns of the
// first of every kind: a new event name in an app would otherwise vanish into
// the dead letters unnoticed.
type exclusions struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[string]*status.Excluded // guarded by mu; at most maxKinds
}

// note counts what the setting excludes in err.
func (x *exclusions) note(err *event.Error) {
	if err.Code != event.NotLifecycle {
		return
	}
	at := slices.IndexFunc(err.Problems, func(p event.Problem) bool { return p.Field == "type" || p.Field == "event" })
	if at < 0 {
		return
	}
	p, now := err.Problems[at], time.Now()

	// Count it with its kind, as far as kinds are told apart.
	x.mu.Lock()
	defer x.mu.Unlock()
	name := p.Field + " " + p.Found
	kind := x.kinds[name]
	if kind == nil && len(x.kinds) == maxKinds {
		return
	}
	if kind != nil {
		kind.Count++
		kind.Last = now
		return
	}

	// It is the first: say so, with the line to change.
	kind = &status.Excluded{Kind: escape(name, maxSampleText), Count: 1, Since: now, Last: now, Admit: "ingest.accept: track"}
	if p.Field == "type" {
		kind.Admit = "ingest.accept: all"
	}
	if x.kinds == nil {
		x.kinds = make(map[string]*status.Excluded)
	}
	x.kinds[name] = kind
	x.log.Warn("accept setting excludes this kind of event", "setting", "ingest.accept",
		"field", p.Field, "found", p.Found, "allowed", p.Allowed, "to_admit_it", kind.Admit)
}

// forget begins anew, as after a change of the setting.
func (x *exclusions) forget() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kinds = nil
}

// Excluded returns what the accept setting excluded within the last day, by
// kind, the latest first.
func (s *Server) Excluded() []status.Excluded {
	s.excluded.mu.Lock()
	defer s.excluded.mu.Unlock()
	recent := []status.Excluded{}
	for _, kind := range s.excluded.kinds {
		if time.Since(kind.Last) < excludedShown {
			recent = append(recent, *kind)
		}
	}
	slices.SortFunc(recent, func(a, b status.Excluded) int { return b.Last.Compare(a.Last) })
	return recent
}
