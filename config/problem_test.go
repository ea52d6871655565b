package config_test

import (
	"errors"
	"strings"
	"testing"

	"trackd/config"
)

// stories are configurations with what is wrong about them, word for word: an
// operator's only help at three in the morning.
var stories = map[string]struct {
	host host
	want []string
}{
	"nothing is set": {
		want: []string{
			`upstream.region: not set: write "region: us" under "upstream:" in /c.yaml, or set TRACKD_UPSTREAM_REGION=us (the workspace's region, us or eu; the wrong one may accept events and lose them)`,
			`upstream.api_key_file: not set: write "api_key_file: PATH" under "upstream:" in /c.yaml, or set TRACKD_UPSTREAM_API_KEY_FILE=PATH (or the key itself as TRACKD_UPSTREAM_API_KEY; it is that of a Data Pipelines source)`,
		},
	},
	"a user without a home": {
		host: host{env: enough(), euid: 7},
		want: []string{`queue.dir: not set: write "dir: DIRECTORY" under "queue:" in /c.yaml, or set TRACKD_QUEUE_DIR=DIRECTORY (this user has no home directory to keep a queue in)`},
	},
	"keys that do not exist": {
		host: host{env: enough(), file: "upstream:\n  regoin: us\nrate: 10\nsendr: {x: 1}\nlog:\n  colour: true\n\"a\\nb\": 1\n"},
		want: []string{
			`/c.yaml:2:3: upstream.regoin: no such key; did you mean upstream.region?`,
			`/c.yaml:3:1: rate: no such key; did you mean sender.rate?`,
			`/c.yaml:4:1: sendr: no such key; did you mean sender?`,
			`/c.yaml:6:3: log.colour: no such key`,
			`/c.yaml:7:1: "a\nb": no such key`,
		},
	},
	"values that are not allowed": {
		host: host{env: enough("TRACKD_SENDER_RATE=NaN", "TRACKD_QUEUE_MAX_AGE="), file: `
upstream: {timeout: 10}
ingest: {socket_mode: "0999", accept: some}
queue: {max_bytes: 10GB, min_free_bytes: -1}
sender: {burst: 0, workers: 2000, retry_min: -1s}
log: {level: loud}
`},
		want: []string{
			`/c.yaml:2:21: upstream.timeout: found "10", allowed a duration like 500ms, 10s or 5m, from 100ms to 5m`,
			`/c.yaml:3:23: ingest.socket_mode: found "0999", allowed an octal mode like 0660`,
			`/c.yaml:3:39: ingest.accept: found "some", allowed lifecycle or track or all`,
			`/c.yaml:4:20: queue.max_bytes: found "10GB", allowed a size like 512MiB, 10GiB or a number of bytes, at least 512MiB`,
			`/c.yaml:4:42: queue.min_free_bytes: found "-1", allowed a size like 512MiB, 10GiB or a number of bytes`,
			`/c.yaml:5:17: sender.burst: found "0", allowed a whole number, at least 1`,
			`/c.yaml:5:29: sender.workers: found "2000", allowed a whole number, from 1 to 1024`,
			`/c.yaml:5:46: sender.retry_min: found "-1s", allowed a duration like 500ms, 10s or 5m, at least 1ms`,
			`/c.yaml:6:14: log.level: found "loud", allowed debug or info or warn or error`,
			`TRACKD_QUEUE_MAX_AGE: queue.max_age: found "", allowed a duration like 500ms, 10s or 5m`,
			`TRACKD_SENDER_RATE: sender.rate: found "NaN", allowed a number, at least 0.1`,
		},
	},
	"values of another shape": {
		host: host{env: enough(), file: "queue:\n  dir: [a]\n  max_age:\nsender: 5\nadmin: {http: {a: 1}, socket: &x y}\nlog: {format: !!str text}\n5: b\n? c\n: d\n"},
		want: []string{
			`/c.yaml:2:8: queue.dir: found a list, allowed text`,
			`/c.yaml:3:11: queue.max_age: found nothing (for an empty value write "", for the default remove the line), allowed a duration like 500ms, 10s or 5m`,
			`/c.yaml:4:9: sender: found a plain value, allowed keys, each as "name: value" on a line of its own`,
			`/c.yaml:5:15: admin.http: found keys, allowed text`,
			`/c.yaml:5:31: admin.socket: found an anchor or alias, allowed text`,
			`/c.yaml:6:15: log.format: found a tag, allowed auto or text or json`,
			`/c.yaml:7:1: 5: no such key`,
			`/c.yaml:8:1: found a key behind "?", allowed the name of a key`,
		},
	},
	"no YAML": {
		host: host{file: "upstream:\n  region: us\n region: eu\n"},
		want: []string{`/c.yaml:3:2: value is not allowed in this context`},
	},
	"the same key twice": {
		host: host{env: enough(), file: "sender: {rate: 1}\nlog: {level: info}\nsender: {burst: 1}\n"},
		want: []string{`/c.yaml:3:1: mapping key "sender" already defined at [1:1]`},
	},
	"two documents": {
		host: host{env: enough(), file: "log: {level: info}\n---\nlog: {level: info}\n"},
		want: []string{`/c.yaml:3:4: a second document; allowed is one`},
	},
	"a file too large": {
		host: host{file: strings.Repeat("#", 1<<20+1)},
		want: []string{`/c.yaml: 1048577 bytes long, allowed 1048576: is this the right file?`},
	},
	"a file that cannot be read": {
		host: host{files: map[string]string{"/c.yaml": "denied"}},
		want: []string{`read the configuration: open /c.yaml: permission denied`},
	},
	"variables that do not exist": {
		host: host{env: enough("TRACKD_UPSTREAM_REGOIN=us", "TRACKD_UPSTEAM_URL=x", "TRACKD_LOG_COLOUR=1",
			// Somebody else's:
			"TRACKD_TEST_SEED=1", "TRACKD_PORT=tcp://10.0.0.1:80", "TRACKD_QUEUE_PORT_80_TCP=tcp://10.0.0.1:80", "TRACKD_ADMIN_SERVICE_HOST=10.0.0.1")},
		want: []string{
			`TRACKD_LOG_COLOUR: no such variable`,
			`TRACKD_UPSTEAM_URL: no such variable; did you mean TRACKD_UPSTREAM_URL?`,
			`TRACKD_UPSTREAM_REGOIN: no such variable; did you mean TRACKD_UPSTREAM_REGION?`,
		},
	},
	"a base without a host": {
		host: host{env: enough("TRACKD_UPSTREAM_URL=cdp.customer.io/v1")},
		want: []string{`TRACKD_UPSTREAM_URL: upstream.url: found "cdp.customer.io/v1", allowed a full base like https://cdp.customer.io/v1`},
	},
	"a base without a path": {
		host: host{env: enough("TRACKD_UPSTREAM_URL=https://cdp.customer.io/")},
		want: []string{`TRACKD_UPSTREAM_URL: upstream.url: found "https://cdp.customer.io/", which has no path, allowed a base with its path, like https://cdp.customer.io/v1`},
	},
	"a base with a password": {
		host: host{env: enough("TRACKD_UPSTREAM_URL=https://sesame:x@cdp.customer.io/v1")},
		want: []string{`TRACKD_UPSTREAM_URL: upstream.url: found a user name, a query or a fragment in it, allowed none of them: the key belongs in upstream.api_key_file`},
	},
	"a broken base with a password": {
		host: host{env: enough("TRACKD_UPSTREAM_URL=ftp://sesame:x@cdp.customer.io/v1")},
		want: []string{`TRACKD_UPSTREAM_URL: upstream.url: found "…@cdp.customer.io/v1", allowed a full base like https://cdp.customer.io/v1`},
	},
	"a key in the clear": {
		host: host{env: enough("TRACKD_UPSTREAM_URL=http://10.0.0.5:8484/v1")},
		want: []string{`TRACKD_UPSTREAM_URL: upstream.url: found "http://10.0.0.5:8484/v1", allowed plain http to loopback only: the API key would cross the network in the clear; use https`},
	},
	"a key given three times": {
		host: host{
			file:  "upstream: {api_key_file: /key}",
			env:   enough("CREDENTIALS_DIRECTORY=/cred"),
			files: map[string]string{"/key": "a", "/cred/api_key": "b"},
		},
		want: []string{`upstream.api_key: given more than once, allowed exactly one of: upstream.api_key_file (/c.yaml:1), the systemd credential (/cred/api_key), upstream.api_key (TRACKD_UPSTREAM_API_KEY)`},
	},
	"keys that cannot be read": {
		host: host{
			file:  "upstream: {region: us, api_key_file: /key, ca_file: /ca}\ningest: {key_file: /absent}\n",
			files: map[string]string{"/key": "denied", "/ca": "no PEM"},
			env:   map[string]string{"HOME": "/home/ann"},
			euid:  1000,
		},
		want: []string{
			`/c.yaml:1: upstream.api_key_file: open /key: permission denied; it must be there and readable by user 1000, as whom trackd runs`,
			`/c.yaml:2: ingest.key_file: open /absent: file does not exist; it must be there and readable by user 1000, as whom trackd runs`,
			`/c.yaml:1: upstream.ca_file: /ca holds no PEM certificate`,
		},
	},
	"keys that are none": {
		host: host{
			file:  "upstream: {region: us, api_key_file: /key}\ningest: {key_file: /empty}\n",
			files: map[string]string{"/key": "sesame open\n", "/empty": " \n"},
		},
		want: []string{
			`/c.yaml:1: upstream.api_key_file: /key holds more than one word of printable ASCII, allowed one key: is it the right file?`,
			`/c.yaml:2: ingest.key_file: /empty is empty, allowed one key`,
		},
	},
	"a key with a colon": {
		host: host{
			file:  "upstream: {region: us, api_key_file: /key}\ningest: {key_file: /in}\n",
			files: map[string]string{"/key": "sesame", "/in": "open:sesame\n"},
		},
		want: []string{
			`/c.yaml:2: ingest.key_file: /in holds a key with a colon, allowed one without: clients send it as the user name of Basic auth, which ends at the first colon`,
		},
	},
	"a key in place of its file": {
		host: host{file: "upstream: {region: us, api_key_file: sesame}\n"},
		want: []string{
			`/c.yaml:1: upstream.api_key_file: found a name without a directory that is no file here (not shown, as it may be the key itself), allowed the path of a file that holds the key`,
		},
	},
	"a variable without its section": {
		host: host{env: enough("TRACKD_API_KEY=sesame")},
		want: []string{`TRACKD_API_KEY: no such variable; did you mean TRACKD_UPSTREAM_API_KEY?`},
	},
	"a key that is none": {
		host: host{env: map[string]string{"TRACKD_UPSTREAM_REGION": "us", "TRACKD_UPSTREAM_API_KEY": "open sesame"}},
		want: []string{`TRACKD_UPSTREAM_API_KEY: upstream.api_key: found something else, allowed one word of printable ASCII`},
	},
	"no door": {
		host: host{env: enough("TRACKD_INGEST_SOCKET=", "TRACKD_INGEST_HTTP=")},
		want: []string{`ingest: socket, http and http_socket are all empty: at least one must be set, or no event can come in`},
	},
	"an open door": {
		host: host{env: enough("TRACKD_INGEST_HTTP=:8484")},
		want: []string{`TRACKD_INGEST_HTTP: ingest.http: found ":8484", which others can reach, allowed only with a key or client certificates: set ingest.key_file (TRACKD_INGEST_KEY_FILE) or ingest.client_ca_file, or bind 127.0.0.1`},
	},
	"addresses that are none": {
		host: host{env: enough("TRACKD_INGEST_HTTP=8484", "TRACKD_ADMIN_HTTP=[::1]:http")},
		want: []string{
			`TRACKD_ADMIN_HTTP: admin.http: found "[::1]:http", allowed an address and a port like 127.0.0.1:8484, or "" to turn it off`,
			`TRACKD_INGEST_HTTP: ingest.http: found "8484", allowed an address and a port like 127.0.0.1:8484, or "" to turn it off`,
		},
	},
	"doors at one address": {
		host: host{env: enough("TRACKD_INGEST_HTTP_SOCKET=/run/trackd/../trackd/events.sock", "TRACKD_ADMIN_HTTP=127.0.0.1:8484")},
		want: []string{
			`TRACKD_INGEST_HTTP_SOCKET: ingest.http_socket: found "/run/trackd/events.sock", which ingest.socket has too: each needs its own`,
			`TRACKD_ADMIN_HTTP: admin.http: found "127.0.0.1:8484", which ingest.http has too: each needs its own`,
		},
	},
	"more than Customer.io takes": {
		host: host{env: enough("TRACKD_SENDER_BURST=1001"), file: "sender: {rate: 5000}"},
		want: []string{
			`/c.yaml:1: sender.rate: found 5000, allowed at most 1000, which is what Customer.io takes; more only where upstream.url is set`,
			`TRACKD_SENDER_BURST: sender.burst: found 1001, allowed at most 1000, which is what Customer.io takes; more only where upstream.url is set`,
		},
	},
	"bounds the wrong way round": {
		host: host{env: enough("TRACKD_QUEUE_DEAD_MAX_BYTES=11GiB"), file: "sender: {retry_min: 10m}"},
		want: []string{
			`/c.yaml:1: sender.retry_min: found 10m, allowed at most sender.retry_max, which is 5m (default)`,
			`TRACKD_QUEUE_DEAD_MAX_BYTES: queue.dead_max_bytes: found 11GiB, allowed at most queue.max_bytes, which is 10GiB (default)`,
		},
	},
}

func TestProblemsAreToldAllAtOnce(t *testing.T) {
	for name, tc := range stories {
		t.Run(name, func(t *testing.T) {
			_, err := config.Load(tc.host.options())
			if _, ok := errors.AsType[config.Problems](err); !ok {
				t.Fatalf("got error %v, want Problems", err)
			}
			if want := strings.Join(tc.want, "\n"); err.Error() != want {
				t.Errorf("got:\n%s\nwant:\n%s", err, want)
			}
		})
	}
}

func TestLoopbackNeedsNoKey(t *testing.T) {
	for _, address := range []string{"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"} {
		host{env: enough("TRACKD_INGEST_HTTP=" + address)}.load(t)
	}
}

func TestWithAKeyTheDoorMayBeOpen(t *testing.T) {
	c := host{
		env:   enough("TRACKD_INGEST_HTTP=:8484", "TRACKD_INGEST_KEY_FILE=/k"),
		files: map[string]string{"/k": "sesame\n"},
	}.load(t)
	if c.Ingest.Key.Reveal() != "sesame" {
		t.Errorf("got key %q, want sesame", c.Ingest.Key.Reveal())
	}
}

// The admin address is read only, and probes and scrapes must reach it.
func TestTheAdminAddressMayBeOpen(t *testing.T) {
	host{env: enough("TRACKD_ADMIN_HTTP=:9484")}.load(t)
}

func TestTLSWantsACertificateWithItsKey(t *testing.T) {
	for name, c := range map[string]struct{ ingest, want string }{
		"no key":           {"tls_cert_file: /c", "/c.yaml:1: ingest.tls_cert_file: found without ingest.tls_key_file, allowed both or none"},
		"no certificate":   {"tls_key_file: /k", "/c.yaml:1: ingest.tls_key_file: found without ingest.tls_cert_file, allowed both or none"},
		"only a client CA": {"client_ca_file: /ca", "/c.yaml:1: ingest.client_ca_file: found without ingest.tls_cert_file, allowed with it: only over TLS do clients show certificates"},
		"none of them":     {"tls_cert_file: /c, tls_key_file: /k", "/c.yaml:1: ingest.tls_cert_file: /c with /k: tls: failed to find any PEM data in certificate input"},
	} {
		t.Run(name, func(t *testing.T) {
			h := host{env: enough(), file: "ingest: {" + c.ingest + "}", files: map[string]string{"/c": "c", "/k": "k", "/ca": "-----BEGIN"}}
			_, err := config.Load(h.options())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
