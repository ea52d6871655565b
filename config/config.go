// Package config reads trackd's settings: defaults, then a YAML file, then the
// environment, each over the one before.
//
// It is strict. An unknown key, a value out of range and two settings that
// contradict each other are problems, and [Load] tells all of them at once,
// each with where it stands, what was found, what is allowed and, for what is
// missing, how to set it. A mistyped variable of ours is a problem too.
//
// Each key is declared once, as a tagged field of [Config]; file keys,
// variables, defaults, bounds and documentation all come from the tags. Not
// its job: opening anything but the files that hold keys and certificates.
//
// Reading order: config.go (the settings), load.go (the layers), key.go (what
// the tags say), file.go and environ.go (where text comes from), value.go (text
// to values), directories.go (where things lie), validate.go (rules that span
// keys), secrets.go (keys read from files), problem.go (how trouble is told).
package config

import (
	"log/slog"
	"time"
)

// Config is every setting of trackd. The tags of a field are its declaration:
//
//	yaml     its name in the file; section and name give the variable
//	default  {state} and {runtime} stand for the host's directories
//	allow    the words it may be
//	min, max its bounds, inclusive
//	doc      what it means
type Config struct {
	Upstream        Upstream      `yaml:"upstream"`
	Ingest          Ingest        `yaml:"ingest"`
	Queue           Queue         `yaml:"queue"`
	Sender          Sender        `yaml:"sender"`
	Admin           Admin         `yaml:"admin"`
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout" default:"20s" min:"0s" doc:"time given to requests in flight when stopping"`
	Log             Log           `yaml:"log"`

	origins map[string]string // key name to where its value came from
}

// Upstream is the API that events are delivered to.
type Upstream struct {
	Region     string        `yaml:"region" allow:"us eu" doc:"region of the workspace; required unless url is set, which wins"`
	URL        string        `yaml:"url" doc:"full base of the API with its path; plain http only to loopback"`
	APIKey     Secret        `yaml:"api_key" doc:"the API key itself; prefer api_key_file. After Load the key, wherever it came from"`
	APIKeyFile string        `yaml:"api_key_file" doc:"file that holds the API key; white space around it is trimmed. Exactly one of this, the systemd credential api_key, and api_key"`
	CAFile     string        `yaml:"ca_file" doc:"PEM certificates to trust instead of the system's"`
	CertFile   string        `yaml:"cert_file" doc:"PEM certificate to show to an endpoint that asks for one; renewed files are read by themselves"`
	KeyFile    string        `yaml:"key_file" doc:"PEM key of cert_file"`
	Timeout    time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"5m" doc:"for one request, from dialling to the end of the answer"`
}

// Ingest is where events come in.
type Ingest struct {
	Socket      string `yaml:"socket" default:"{runtime}/events.sock" doc:"Unix socket that takes NDJSON; empty turns it off"`
	SocketMode  Mode   `yaml:"socket_mode" default:"0660" doc:"permissions of socket and http_socket"`
	SocketGroup string `yaml:"socket_group" doc:"group of socket and http_socket, a name or a number; empty leaves the daemon's"`
	HTTP        string `yaml:"http" default:"127.0.0.1:8484" doc:"TCP address that takes HTTP; empty turns it off"`
	HTTPSocket  string `yaml:"http_socket" doc:"Unix socket that takes HTTP; empty turns it off"`
	KeyFile     string `yaml:"key_file" doc:"file that holds the key HTTP clients must send, on http and http_socket; without a colon in it; required to bind beyond loopback, unless client_ca_file is set"`
	TLSCertFile string `yaml:"tls_cert_file" doc:"PEM certificate, with those between it and the authority; with tls_key_file, http speaks TLS. Renewed files are read by themselves"`
	TLSKeyFile  string `yaml:"tls_key_file" doc:"PEM key of tls_cert_file"`
	ClientCA    string `yaml:"client_ca_file" doc:"PEM certificates of authorities: then clients of http must show a certificate that one of them signed, and no key is required to bind beyond loopback"`
	Hosts       Names  `yaml:"hosts" doc:"further names by which requests over TCP may address ingest.http and admin.http; loopback names and literal addresses always may, any other is refused, as web pages could use it"`
	Accept      string `yaml:"accept" default:"lifecycle" allow:"lifecycle track all" doc:"lifecycle takes the seven mobile lifecycle events, track any track event with a name, all every call of the API"`

	Key Secret // what KeyFile holds; empty without one
}

// Queue is where events wait on disk.
type Queue struct {
	Dir             string        `yaml:"dir" default:"{state}" doc:"directory of the queue, on a local disk, for this daemon alone"`
	MaxBytes        ByteSize      `yaml:"max_bytes" default:"10GiB" min:"512MiB" doc:"bound on the disk used by dir; when reached, new events are refused"`
	MinFreeBytes    ByteSize      `yaml:"min_free_bytes" default:"256MiB" min:"0" doc:"free disk space left to others; below it new events are refused"`
	MaxAge          time.Duration `yaml:"max_age" default:"0s" min:"0s" doc:"age at which an undelivered event becomes a dead letter; 0s keeps it until delivered"`
	Backend         string        `yaml:"backend" default:"bolt" allow:"bolt postgres" doc:"bolt keeps the queue in dir; postgres in a database that several daemons share: they all take, one delivers at a time"`
	PostgresURLFile string        `yaml:"postgres_url_file" doc:"file that holds the URL of the database: postgres://role:password@host1,host2/name?sslmode=verify-full. Where there is none: the systemd credential postgres_url"`
	Lease           time.Duration `yaml:"lease" default:"10s" min:"1s" max:"5m" doc:"with postgres: how long nobody delivers after the daemon that did has died"`
	DeadMaxBytes    ByteSize      `yaml:"dead_max_bytes" default:"256MiB" min:"0" doc:"bound on what rejected input costs on disk, at most a quarter of max_bytes; past it rejected input is refused"`

	PostgresURL Secret // what PostgresURLFile or the credential holds; empty with bolt
}

// Sender is how they are delivered.
type Sender struct {
	Rate        float64       `yaml:"rate" default:"250" min:"0.1" doc:"events per second; the sum over all hosts must stay at or below 1000. More than 1000 only where upstream.url is set"`
	Burst       int           `yaml:"burst" default:"50" min:"1" doc:"events that may go out at once after a pause; more than 1000 only where upstream.url is set"`
	Workers     int           `yaml:"workers" default:"16" min:"1" max:"1024" doc:"requests in flight at most"`
	RetryMin    time.Duration `yaml:"retry_min" default:"500ms" min:"1ms" doc:"delay before the first retry"`
	RetryMax    time.Duration `yaml:"retry_max" default:"5m" min:"1ms" doc:"delay that growing delays stop at"`
	MaxAttempts int           `yaml:"max_attempts" default:"20" min:"1" doc:"failures of one event, while others pass, after which it may be buried as poison"`
	PoisonAfter time.Duration `yaml:"poison_after" default:"24h" min:"0s" doc:"not buried as poison sooner than this after its first failure"`
	Order       string        `yaml:"order" default:"person" allow:"person none" doc:"person: events that share a userId, anonymousId or previousId are sent in the order they came; none: as fast as possible"`
	OrderHold   time.Duration `yaml:"order_hold" default:"5m" min:"1ms" doc:"for how long, while the upstream is open, an event that fails holds up the later ones of its person"`
}

// Admin is where operators look and act.
type Admin struct {
	Socket string `yaml:"socket" default:"{runtime}/admin.sock" doc:"Unix socket, mode 0600, that may pause, replay and discard; empty turns it off"`
	HTTP   string `yaml:"http" default:"127.0.0.1:9484" doc:"TCP address of metrics, health and status, read only; empty turns it off"`
}

// Log is what the daemon writes to standard error.
type Log struct {
	Level  slog.Level `yaml:"level" default:"info" allow:"debug info warn error" doc:"the least severe lines written"`
	Format string     `yaml:"format" default:"auto" allow:"auto text json" doc:"auto is text on a terminal, else json"`
}

// BaseURL is the address that calls are made under, without a slash at its
// end. The addresses of the regions are the vendor's published ones.
func (c Config) BaseURL() string {
	switch {
	case c.Upstream.URL != "":
		return c.Upstream.URL
	case c.Upstream.Region == "eu":
		return "https://cdp-eu.customer.io/v1"
	default:
		return "https://cdp.customer.io/v1"
	}
}

// Entry is one key with its value in use.
type Entry struct {
	Key    string // as in the file, for example "sender.rate"
	Value  string // as the file would have it; secrets redacted
	Origin string // "default", file:line, a variable's name, or "systemd credential"
}

// Entries lists every key of c, in the order of [Keys].
func (c Config) Entries() []Entry {
	var entries []Entry
	for _, f := range fields(&c) {
		origin := c.origins[f.Name]
		if origin == "" {
			origin = originDefault
		}
		entries = append(entries, Entry{Key: f.Name, Value: format(f.value), Origin: origin})
	}
	return entries
}
