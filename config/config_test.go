package config_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"trackd/config"
)

// host is a machine to load a configuration on.
type host struct {
	file  string            // what /c.yaml holds, which is the file named
	files map[string]string // other files; "denied" as content makes one unreadable
	env   map[string]string
	euid  int
}

// enough is the least environment that serve runs with.
func enough(more ...string) map[string]string {
	env := map[string]string{"TRACKD_UPSTREAM_REGION": "us", "TRACKD_UPSTREAM_API_KEY": "k1"}
	for _, variable := range more {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	return env
}

func (h host) options() config.LoadOptions {
	var environ []string
	for name, value := range h.env {
		environ = append(environ, name+"="+value)
	}
	return config.LoadOptions{
		Path:     "/c.yaml",
		EUID:     h.euid,
		Getenv:   func(name string) string { return h.env[name] },
		Environ:  environ,
		ReadFile: h.readFile,
	}
}

func (h host) readFile(path string) ([]byte, error) {
	files := map[string]string{"/c.yaml": h.file}
	maps.Copy(files, h.files)
	text, exists := files[path]
	switch {
	case !exists:
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case text == "denied":
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
	}
	return []byte(text), nil
}

func (h host) load(t testing.TB) config.Config {
	t.Helper()
	c, err := config.Load(h.options())
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return c
}

func TestRegionAndKeyAreEnough(t *testing.T) {
	got := host{env: enough()}.load(t)
	want := config.Config{
		Upstream: config.Upstream{Region: "us", APIKey: config.NewSecret("k1"), Timeout: 10 * time.Second},
		Ingest: config.Ingest{
			Socket: "/run/trackd/events.sock", SocketMode: 0o660,
			HTTP: "127.0.0.1:8484", Accept: "lifecycle",
		},
		Queue: config.Queue{
			Dir: "/var/lib/trackd", MaxBytes: 10 << 30, MinFreeBytes: 256 << 20, Backend: "bolt", Lease: 10 * time.Second, DeadMaxBytes: 256 << 20,
		},
		Sender: config.Sender{
			Rate: 250, Burst: 50, Workers: 16,
			RetryMin: 500 * time.Millisecond, RetryMax: 5 * time.Minute, MaxAttempts: 20, PoisonAfter: 24 * time.Hour,
			Order: "person", OrderHold: 5 * time.Minute,
		},
		Admin:           config.Admin{Socket: "/run/trackd/admin.sock", HTTP: "127.0.0.1:9484"},
		ShutdownTimeout: 20 * time.Second,
		Log:             config.Log{Format: "auto"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{}), cmp.AllowUnexported(config.Secret{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestEnvironmentGoesOverFileGoesOverDefault(t *testing.T) {
	c := host{
		file: "sender:\n  rate: 100\n  burst: 7\nshutdown_timeout: 1m\n",
		env:  enough("TRACKD_SENDER_RATE=0.5", "TRACKD_SHUTDOWN_TIMEOUT=30s"),
	}.load(t)
	if c.Sender.Rate != 0.5 || c.Sender.Burst != 7 || c.Sender.Workers != 16 || c.ShutdownTimeout != 30*time.Second {
		t.Errorf("got rate %v, burst %v, workers %v, shutdown_timeout %v",
			c.Sender.Rate, c.Sender.Burst, c.Sender.Workers, c.ShutdownTimeout)
	}
}

func TestEntriesSayWhereEachValueCameFrom(t *testing.T) {
	c := host{
		file: "upstream:\n  api_key: sesame\nqueue: {max_bytes: 1073741824}\nlog:\n  level: debug\n",
		env:  map[string]string{"TRACKD_UPSTREAM_REGION": "eu", "TRACKD_SENDER_RETRY_MAX": "3600s"},
	}.load(t)
	want := map[string]config.Entry{
		"upstream.region":      {Value: "eu", Origin: "TRACKD_UPSTREAM_REGION"},
		"upstream.api_key":     {Value: "[redacted]", Origin: "/c.yaml:2"},
		"queue.max_bytes":      {Value: "1GiB", Origin: "/c.yaml:3"},
		"log.level":            {Value: "debug", Origin: "/c.yaml:5"},
		"sender.retry_max":     {Value: "1h", Origin: "TRACKD_SENDER_RETRY_MAX"},
		"ingest.socket_mode":   {Value: "0660", Origin: "default"},
		"upstream.url":         {Value: "", Origin: "default"},
		"queue.min_free_bytes": {Value: "256MiB", Origin: "default"},
	}
	entries := c.Entries()
	for _, got := range entries {
		w, asked := want[got.Key]
		w.Key = got.Key
		if asked && got != w {
			t.Errorf("got %+v, want %+v", got, w)
		}
		delete(want, got.Key)
	}
	if len(want) > 0 {
		t.Errorf("no entry for %v", slices.Collect(maps.Keys(want)))
	}
	if len(entries) != len(config.Keys()) {
		t.Errorf("%d entries for %d keys", len(entries), len(config.Keys()))
	}
}

func TestValuesAreReadAsWrittenInYAML(t *testing.T) {
	c := host{env: enough(), file: `
upstream: # nothing set here
ingest:
  socket: ""
  socket_mode: 0600
  socket_group: 1001
queue:
  dir: |
    /srv/queue
  max_bytes: 536870912
sender: {rate: 1e2, retry_min: "250ms"}
`}.load(t)
	if c.Ingest.Socket != "" || c.Ingest.SocketMode != 0o600 || c.Ingest.SocketGroup != "1001" {
		t.Errorf("ingest: %+v", c.Ingest)
	}
	if c.Queue.Dir != "/srv/queue" || c.Queue.MaxBytes != 512<<20 {
		t.Errorf("queue: %+v", c.Queue)
	}
	if c.Sender.Rate != 100 || c.Sender.RetryMin != 250*time.Millisecond {
		t.Errorf("sender: %+v", c.Sender)
	}
}

func TestAnEmptyVariableTurnsADoorOff(t *testing.T) {
	c := host{env: enough("TRACKD_INGEST_HTTP=")}.load(t)
	if c.Ingest.HTTP != "" {
		t.Errorf("got ingest.http %q, want it off", c.Ingest.HTTP)
	}
}

func TestTheAPIKeyComesFromExactlyOnePlace(t *testing.T) {
	for name, tc := range map[string]struct {
		host   host
		origin string
	}{
		"the key itself": {
			host:   host{env: map[string]string{"TRACKD_UPSTREAM_API_KEY": "sesame"}},
			origin: "TRACKD_UPSTREAM_API_KEY",
		},
		"a file": {
			host: host{
				file:  "upstream: {api_key_file: /key}",
				files: map[string]string{"/key": "\n sesame \r\n"},
			},
			origin: "upstream.api_key_file",
		},
		"systemd": {
			host: host{
				env:   map[string]string{"CREDENTIALS_DIRECTORY": "/cred"},
				files: map[string]string{"/cred/api_key": "sesame\n"},
			},
			origin: "upstream.api_key_file",
		},
		"a file beside a credentials directory without a key": {
			host: host{
				file:  "upstream: {api_key_file: /key}",
				env:   map[string]string{"CREDENTIALS_DIRECTORY": "/cred"},
				files: map[string]string{"/key": "sesame"},
			},
			origin: "upstream.api_key_file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.host.env = maps.Clone(tc.host.env)
			if tc.host.env == nil {
				tc.host.env = map[string]string{}
			}
			tc.host.env["TRACKD_UPSTREAM_REGION"] = "us"
			c := tc.host.load(t)
			if got := c.Upstream.APIKey.Reveal(); got != "sesame" {
				t.Errorf("got key %q, want sesame", got)
			}
			want := config.Entry{Key: "upstream.api_key", Value: "[redacted]", Origin: tc.origin}
			if !slices.Contains(c.Entries(), want) {
				t.Errorf("no %+v in %+v", want, c.Entries())
			}
		})
	}
}

// The daemon is handed its key by systemd; commands beside it must look where
// systemd does.
func TestAStoredCredentialCountsForThoseWhoLook(t *testing.T) {
	const store = "/etc/credstore/trackd.api_key"
	region := map[string]string{"TRACKD_UPSTREAM_REGION": "us"}
	for name, tc := range map[string]struct {
		host   host
		stores []string
		key    string
		wrong  string
	}{
		"nobody looks":       {host: host{env: region, files: map[string]string{store: "sesame"}}, wrong: "api_key_file: not set: write"},
		"there is one":       {host: host{env: region, files: map[string]string{store: "sesame"}}, stores: []string{"/run/credstore", "/etc/credstore"}, key: "sesame"},
		"there is none":      {host: host{env: region}, stores: []string{"/etc/credstore"}, wrong: "api_key_file: not set: write"},
		"it cannot be seen":  {host: host{env: region, files: map[string]string{store: "denied"}}, stores: []string{"/etc/credstore"}, wrong: "cannot see whether systemd would hand over /etc/credstore/trackd.api_key: run this as root"},
		"another key is set": {host: host{file: "upstream: {api_key: other}", env: region, files: map[string]string{store: "sesame"}}, stores: []string{"/etc/credstore"}, key: "other"},
	} {
		t.Run(name, func(t *testing.T) {
			o := tc.host.options()
			o.CredentialStores = tc.stores
			c, err := config.Load(o)
			if tc.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("got %v, want %q", err, tc.wrong)
				}
				return
			}
			if err != nil || c.Upstream.APIKey.Reveal() != tc.key {
				t.Errorf("got key %q, %v", c.Upstream.APIKey.Reveal(), err)
			}
		})
	}
}

func TestClientsNeedNeitherRegionNorKeys(t *testing.T) {
	o := host{
		file:  "upstream: {api_key_file: /key}\nadmin: {socket: /a.sock}",
		files: map[string]string{"/key": "denied"},
		euid:  1000,
	}.options()
	o.Client = true
	c, err := config.Load(o)
	if err != nil || c.Admin.Socket != "/a.sock" {
		t.Errorf("got admin.socket %q, error %v", c.Admin.Socket, err)
	}
}

func TestTheFileNobodyNamedMayBeAbsent(t *testing.T) {
	o := host{env: enough()}.options()
	o.Path = ""
	if _, err := config.Load(o); err != nil {
		t.Errorf("without %s: %v", config.DefaultPath, err)
	}
	o.Path = config.DefaultPath
	if _, err := config.Load(o); err == nil {
		t.Error("a file that was named and is absent was not missed")
	}
}

func TestTheFileMayBeNamedByTheEnvironment(t *testing.T) {
	h := host{
		env:   enough("TRACKD_CONFIG=/other.yaml"),
		files: map[string]string{"/other.yaml": "sender: {burst: 3}"},
	}
	o := h.options()
	o.Path = ""
	c, err := config.Load(o)
	if err != nil || c.Sender.Burst != 3 {
		t.Errorf("got burst %d, error %v", c.Sender.Burst, err)
	}
}

func TestBaseURL(t *testing.T) {
	for _, tc := range []struct{ region, url, want string }{
		{"us", "", "https://cdp.customer.io/v1"},
		{"eu", "", "https://cdp-eu.customer.io/v1"},
		{"", "http://127.0.0.1:8500/v1/", "http://127.0.0.1:8500/v1"},
		{"eu", "http://[::1]:8500/v1", "http://[::1]:8500/v1"},
		{"", "https://proxy.example/cio/v1", "https://proxy.example/cio/v1"},
	} {
		c := host{env: map[string]string{
			"TRACKD_UPSTREAM_REGION": tc.region, "TRACKD_UPSTREAM_URL": tc.url, "TRACKD_UPSTREAM_API_KEY": "k",
		}}.load(t)
		if got := c.BaseURL(); got != tc.want {
			t.Errorf("region %q, url %q: got %s, want %s", tc.region, tc.url, got, tc.want)
		}
	}
}

func TestKeysDeclareEverySetting(t *testing.T) {
	keys := config.Keys()
	for _, k := range keys {
		if k.Doc == "" || k.Allowed == "" {
			t.Errorf("%s: no documentation or no word on what it may be: %+v", k.Name, k)
		}
		if strings.ContainsAny(k.Default, "{}") {
			t.Errorf("%s: default %q names a place of no host", k.Name, k.Default)
		}
	}
	want := config.Key{
		Name: "sender.rate", Env: "TRACKD_SENDER_RATE", Default: "250", Allowed: "a number, at least 0.1",
		Doc: "events per second; the sum over all hosts must stay at or below 1000. More than 1000 only where upstream.url is set",
	}
	if !slices.Contains(keys, want) {
		t.Errorf("no %+v in %+v", want, keys)
	}
}

// Every default, fed back as if it had been written down, must be accepted and
// change nothing: so the tags agree with one another.
func TestDefaultsMayBeWrittenDown(t *testing.T) {
	env := enough()
	for _, k := range config.Keys() {
		if k.Default != "" {
			env[k.Env] = k.Default
		}
	}
	got, want := host{env: env}.load(t), host{env: enough()}.load(t)
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(config.Config{}), cmp.AllowUnexported(config.Secret{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDirectoriesFitTheHost(t *testing.T) {
	for name, tc := range map[string]struct {
		euid        int
		env         []string
		dir, socket string
	}{
		"root": {0, []string{"HOME=/root", "XDG_RUNTIME_DIR=/run/user/0"}, "/var/lib/trackd", "/run/trackd/events.sock"},
		"a user with a session": {1000, []string{"HOME=/home/ann", "XDG_RUNTIME_DIR=/run/user/1000"},
			"/home/ann/.local/state/trackd", "/run/user/1000/trackd/events.sock"},
		"a user without one": {1000, []string{"HOME=/home/ann"},
			"/home/ann/.local/state/trackd", "/tmp/trackd-1000/events.sock"},
		"a user with places of their own": {1000, []string{"XDG_STATE_HOME=/s", "XDG_RUNTIME_DIR=relative", "TMPDIR=/t"},
			"/s/trackd", "/t/trackd-1000/events.sock"},
		"a unit": {998, []string{"STATE_DIRECTORY=/var/lib/trackd:/var/lib/more", "RUNTIME_DIRECTORY=/run/trackd"},
			"/var/lib/trackd", "/run/trackd/events.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			c := host{env: enough(tc.env...), euid: tc.euid}.load(t)
			if c.Queue.Dir != tc.dir || c.Ingest.Socket != tc.socket {
				t.Errorf("got %s and %s, want %s and %s", c.Queue.Dir, c.Ingest.Socket, tc.dir, tc.socket)
			}
		})
	}
}

// FuzzLoadNeverPanics: whatever the file holds, the answer is a configuration
// or problems that each take one line.
func FuzzLoadNeverPanics(f *testing.F) {
	for _, seed := range []string{
		"", "# nothing", "upstream:\n  region: us\n", "a: [1, {b: c}]", "? x\n: y", "a: &a 1\nb: *a\n<<: *a",
		"--- 1\n--- 2", "queue: {max_bytes: 99999999999999999999GiB}", "sender: {rate: .nan}", "\t", "a: 'x", "!!map a",
	} {
		f.Add(seed, "")
	}
	f.Add("", "9223372036854775807TiB")
	f.Fuzz(func(t *testing.T, file, value string) {
		env := enough("TRACKD_QUEUE_MAX_BYTES="+value, "TRACKD_INGEST_SOCKET_MODE="+value, "TRACKD_SENDER_RETRY_MIN="+value)
		_, err := config.Load(host{file: file, env: env}.options())
		if err == nil {
			return
		}
		problems, ok := errors.AsType[config.Problems](err)
		if !ok {
			t.Fatalf("got error %v, want Problems", err)
		}
		for _, p := range problems {
			if strings.Contains(p.String(), "\n") {
				t.Errorf("a problem of more than one line: %q", p)
			}
		}
	})
}

// The least that serve needs, from the environment alone.
func ExampleLoad() {
	env := map[string]string{"TRACKD_UPSTREAM_REGION": "eu", "TRACKD_UPSTREAM_API_KEY": "sesame"}
	c, err := config.Load(config.LoadOptions{
		Getenv:   func(name string) string { return env[name] },
		ReadFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.BaseURL(), c.Upstream.APIKey, c.Queue.MaxBytes)
	// Output: https://cdp-eu.customer.io/v1 [redacted] 10GiB
}
