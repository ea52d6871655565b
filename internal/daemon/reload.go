package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trackd/config"
	"trackd/event"
	"trackd/ingest"
	"trackd/internal/listen"
	"trackd/internal/status"
	"trackd/internal/systemd"
	"trackd/sender"
)

// keyFilesEvery is how often the files that hold keys are looked at: two calls
// of stat(2). Watching through inotify would miss files that are
// mounted over, as a container's secrets are.
const keyFilesEvery = 5 * time.Second

// Source is where a changed configuration comes from, and what it changes that
// no other package owns.
type Source struct {
	Load  func() (config.Config, error)              // reads all of it
	Keys  func(config.Config) (config.Config, error) // the same with its key files read again
	Level *slog.LevelVar                             // of the log
}

// reloader puts a changed configuration into force in a running daemon, as far
// as that can be done without closing anything.
type reloader struct {
	Source
	current  config.Config                 // in force; owned by the goroutine of run
	rules    *atomic.Pointer[ingest.Rules] // of ingest, for whoever judges by them too
	ingest   *ingest.Server
	tls      *listen.TLS // of ingest's listeners; nil: they speak none
	sender   *sender.Sender
	host     *systemd.Service // is told of reloads
	exposed  bool             // a listener that systemd opened is open to others: it needs a key
	log      *slog.Logger
	requests requests // of operators

	mu          sync.Mutex
	last        status.Reload // of the whole configuration; guarded by mu
	keyProblems []string      // why a changed key is not in force; guarded by mu
}

// requests are operators who wait for a reload; the goroutine of run answers.
type requests chan chan<- status.Reload

func newRequests() requests { return make(requests) }

// liveSetting is one setting that a reload can change.
type liveSetting struct {
	key    string   // what logs call it
	also   []string // other keys that it is made of
	secret bool     // read from a file that may change by itself
	same   func(a, b config.Config) bool
	adopt  func(into *config.Config, from config.Config)
}

// liveSettings lists them. Everything else needs a restart.
func liveSettings() []liveSetting {
	return []liveSetting{
		{key: "upstream.api_key", also: []string{"upstream.api_key_file"}, secret: true,
			same: func(a, b config.Config) bool {
				return a.Upstream.APIKey == b.Upstream.APIKey && a.Upstream.APIKeyFile == b.Upstream.APIKeyFile
			},
			adopt: func(into *config.Config, from config.Config) {
				into.Upstream.APIKey, into.Upstream.APIKeyFile = from.Upstream.APIKey, from.Upstream.APIKeyFile
			}},
		{key: "ingest.key_file", secret: true,
			same: func(a, b config.Config) bool {
				return a.Ingest.Key == b.Ingest.Key && a.Ingest.KeyFile == b.Ingest.KeyFile
			},
			adopt: func(into *config.Config, from config.Config) {
				into.Ingest.Key, into.Ingest.KeyFile = from.Ingest.Key, from.Ingest.KeyFile
			}},
		{key: "ingest.accept",
			same:  func(a, b config.Config) bool { return a.Ingest.Accept == b.Ingest.Accept },
			adopt: func(into *config.Config, from config.Config) { into.Ingest.Accept = from.Ingest.Accept }},
		{key: "sender.rate",
			same:  func(a, b config.Config) bool { return a.Sender.Rate == b.Sender.Rate },
			adopt: func(into *config.Config, from config.Config) { into.Sender.Rate = from.Sender.Rate }},
		{key: "sender.burst",
			same:  func(a, b config.Config) bool { return a.Sender.Burst == b.Sender.Burst },
			adopt: func(into *config.Config, from config.Config) { into.Sender.Burst = from.Sender.Burst }},
		{key: "log.level",
			same:  func(a, b config.Config) bool { return a.Log.Level == b.Log.Level },
			adopt: func(into *config.Config, from config.Config) { into.Log.Level = from.Log.Level }},
	}
}

// run reloads everything when a signal or an operator asks for it, and the keys
// alone when a file that holds one has changed: the rest of the configuration
// may be half edited.
func (r *reloader) run(ctx context.Context, hangup <-chan os.Signal) {
	tick := time.NewTicker(keyFilesEvery)
	defer tick.Stop()
	// The key files are looked at before they are read, so that one that changes
	// meanwhile is read again. The first look finds everything changed: nobody
	// knows what has happened since the start read them.
	var seen []os.FileInfo
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			seen = r.look()
			r.reload()
		case reply := <-r.requests:
			seen = r.look()
			r.reload()
			reply <- r.LastReload()
		case <-tick.C:
			now := r.look()
			if slices.EqualFunc(now, seen, sameFile) && r.keysInForce() {
				continue
			}
			seen = now
			r.reloadKeys()
		}
	}
}

// Reload implements [admin.Control].
func (r *reloader) Reload(ctx context.Context) (status.Reload, error) {
	reply := make(chan status.Reload, 1)
	select {
	case r.requests <- reply:
	case <-ctx.Done():
		return status.Reload{}, fmt.Errorf("reload: %w", ctx.Err())
	}
	select {
	case result := <-reply:
		return result, nil
	case <-ctx.Done():
		return status.Reload{}, fmt.Errorf("reload: begun, but its end was not waited for: %w", ctx.Err())
	}
}

// LastReload implements [admin.Control]. A changed key that could not be read
// counts as refused, too.
func (r *reloader) LastReload() status.Reload {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.last
	last.Problems = append(slices.Clone(last.Problems), r.keyProblems...)
	return last
}

func (r *reloader) keysInForce() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keyProblems) == 0
}

// look says how the files that hold keys are; nil for one that is not there.
func (r *reloader) look() []os.FileInfo {
	var infos []os.FileInfo
	for _, path := range []string{r.current.Upstream.APIKeyFile, r.current.Ingest.KeyFile} {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		infos = append(infos, info)
	}
	return infos
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// reload reads the configuration again and puts it into force, or refuses all
// of it.
func (r *reloader) reload() {
	r.host.Reloading()
	defer r.host.Ready()
	result := status.Reload{At: time.Now().Truncate(time.Millisecond)}
	next, err := r.Load()
	if err == nil {
		var merged config.Config
		merged, result.Changed = r.merge(next, true)
		if err = r.enforce(merged); err == nil {
			result.NeedRestart = needRestart(r.current, next)
			r.current = merged
		}
	}
	if err != nil {
		result.Changed, result.Problems = nil, problemsOf(err)
		r.log.Error("configuration refused, the one before stays in force", "problems", result.Problems)
	} else {
		r.log.Info("configuration reloaded", "changed", result.Changed)
		if len(result.NeedRestart) > 0 {
			r.log.Warn("these settings have changed, but need a restart", "settings", result.NeedRestart)
		}
	}
	r.mu.Lock()
	r.last = result
	if err == nil {
		r.keyProblems = nil // the keys were read with everything else
	}
	r.mu.Unlock()
	r.sender.ProbeNow() // an operator has mended something: try at once
}

// reloadKeys reads the files that hold keys again and puts what they hold into
// force. While that fails it is tried at every look, and told once.
func (r *reloader) reloadKeys() {
	next, err := r.Keys(r.current)
	var merged config.Config
	var changed []string
	if err == nil {
		merged, changed = r.merge(next, false)
		err = r.enforce(merged)
	}
	r.mu.Lock()
	before := r.keyProblems
	r.keyProblems = nil
	if err != nil {
		r.keyProblems = problemsOf(err)
	}
	now := r.keyProblems
	r.mu.Unlock()
	switch {
	case err == nil:
		r.current = merged
		if len(changed) > 0 || len(before) > 0 {
			r.log.Info("key files read again", "changed", changed)
		}
	case !slices.Equal(before, now):
		r.log.Error("changed key refused, the one before stays in force", "problems", now)
	}
}

// merge takes over from next what can be taken over, everything or the keys
// alone, and says what that changes.
func (r *reloader) merge(next config.Config, everything bool) (merged config.Config, changed []string) {
	merged = r.current
	if merged.Ingest.HTTP != next.Ingest.HTTP && next.Ingest.Key.IsZero() {
		// The listener that is open may be one that only the key protects.
		next.Ingest.Key, next.Ingest.KeyFile = merged.Ingest.Key, merged.Ingest.KeyFile
	}
	for _, s := range liveSettings() {
		if (everything || s.secret) && !s.same(merged, next) {
			s.adopt(&merged, next)
			changed = append(changed, describe(s.key, r.current, next))
		}
	}
	return merged, changed
}

// enforce hands settings to those who work by them, or changes nothing.
func (r *reloader) enforce(c config.Config) error {
	if r.exposed && c.Ingest.Key.IsZero() && r.current.Ingest.ClientCA == "" {
		return errors.New("ingest.key_file: the listener that systemd opened can be reached by others, allowed only with a key")
	}
	rules, err := ingestRules(c)
	if err != nil {
		return err
	}
	if r.tls != nil {
		if err := r.tls.Reload(); err != nil {
			return err
		}
	}
	if senderSettings(c) != senderSettings(r.current) { // else the rate limit would forget what it has learned
		if err := r.sender.Reload(senderSettings(c)); err != nil {
			return err
		}
	}
	r.ingest.SetRules(rules)
	r.rules.Store(&rules)
	r.Level.Set(c.Log.Level)
	return nil
}

func senderSettings(c config.Config) sender.Settings {
	return sender.Settings{Key: c.Upstream.APIKey.Reveal(), NewKey: newKey(c), Rate: c.Sender.Rate, Burst: c.Sender.Burst}
}

// newKey says how another API key comes into force, which depends on where this
// one came from.
func newKey(c config.Config) string {
	origins := map[string]string{}
	for _, e := range c.Entries() {
		origins[e.Key] = e.Origin
	}
	switch {
	case origins["upstream.api_key_file"] == config.OriginCredential:
		return "then systemctl restart trackd: systemd hands the key over at a start"
	case c.Upstream.APIKeyFile != "":
		return "and put the right one into " + c.Upstream.APIKeyFile + ", which is noticed within seconds"
	case strings.HasPrefix(origins["upstream.api_key"], "TRACKD_"):
		return "then restart trackd with the right one in " + origins["upstream.api_key"]
	}
	return "then trackd reload"
}

func ingestRules(c config.Config) (ingest.Rules, error) {
	accept, err := event.ParseAccept(c.Ingest.Accept)
	return ingest.Rules{Parser: event.Parser{Accept: accept}, Key: c.Ingest.Key.Reveal()}, err
}

// needRestart lists the settings that differ and that a reload does not
// change.
func needRestart(running, next config.Config) (keys []string) {
	var live []string
	for _, s := range liveSettings() {
		live = append(append(live, s.key), s.also...)
	}
	now := running.Entries()
	for i, e := range next.Entries() {
		if !slices.Contains(live, e.Key) && e.Value != now[i].Value {
			keys = append(keys, e.Key)
		}
	}
	return keys
}

// describe words a change; values of secrets are not shown.
func describe(key string, from, to config.Config) string {
	before, after := valueOf(from, key), valueOf(to, key)
	if before == after {
		return key
	}
	return fmt.Sprintf("%s: %s to %s", key, before, after)
}

func valueOf(c config.Config, key string) string {
	entries := c.Entries()
	i := slices.IndexFunc(entries, func(e config.Entry) bool { return e.Key == key })
	return entries[i].Value
}

// problemsOf lists what is wrong with a configuration.
func problemsOf(err error) []string {
	problems, ok := errors.AsType[config.Problems](err)
	if !ok {
		return []string{err.Error()}
	}
	var list []string
	for _, p := range problems {
		list = append(list, p.String())
	}
	return list
}
