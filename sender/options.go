package sender

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options says how a Sender works. Queue, URL and Key are required; the zero
// value of every other field means its default.
type Options struct {
	Settings // what Reload can change: the key and the pace

	// URL is the base of the API, for example https://cdp.customer.io/v1.
	// An event is POSTed to URL + "/" + its type, for example ".../track".
	URL string

	// CertFile and KeyFile, both or none, hold in PEM the certificate that is shown
	// to an endpoint that asks for one. They are read again at each handshake.
	CertFile, KeyFile string

	CAFile  string        // PEM file of further authorities to trust; "": the system's alone
	Timeout time.Duration // of one request, from dialling to the last byte; default 10s
	Workers int           // requests in flight at most; default 16
	Version string        // sent as User-Agent: trackd/<Version>; default "dev"

	// RetryMin and RetryMax bound the wait before an event is tried again, and
	// the wait between two probes while the line is closed. Defaults 500ms, 5m.
	RetryMin, RetryMax time.Duration

	// MaxAttempts is how often an event may fail while others pass before it is
	// buried as poison; default 20.
	MaxAttempts int

	// PoisonAfter is how long after its first failure an event may be buried as
	// poison at the earliest, so that a part of the destination that is down for
	// an afternoon buries nobody; default 24h, negative: at once.
	PoisonAfter time.Duration

	// MaxAge is how old an event may be before it is buried as expired instead
	// of sent; default 0: it is sent however old it is.
	MaxAge time.Duration

	// Order says whose events are sent in the order they came; default OrderPerson.
	// OrderHold is for how long, while the upstream is open, an event that fails
	// holds up the later ones of the same person; default 5m.
	Order     Order
	OrderHold time.Duration

	// ShutdownTimeout bounds how long Run goes on after its context ended;
	// default 20s.
	ShutdownTimeout time.Duration

	// Transport makes the requests; default: one of our own that honours the
	// proxy variables of the environment and CAFile. It must not follow
	// redirects, which would take the key elsewhere.
	Transport http.RoundTripper

	// Clear reports whether requests may be made now; default: always. What was
	// leased and not begun when it turns false is returned to the queue.
	Clear func() bool

	Queue      Queue
	Log        *slog.Logger          // default: discards
	Registerer prometheus.Registerer // default: metrics are kept but not registered
}

// Order says whose events are sent in the order they came.
type Order string

// The orders.
const (
	OrderPerson Order = "person" // those that share a userId, anonymousId or previousId
	OrderNone   Order = "none"   // nobody's
)

// Settings is the part of Options that Reload can change.
type Settings struct {
	Key    string // the API key, sent as user name of Basic auth
	NewKey string // how another key comes into force, as the end of a sentence; default "then reload"

	Rate  float64 // events per second at most; default 250
	Burst int     // events at once at most; default 50
}

func (o Options) withDefaults() Options {
	o.Settings = o.Settings.withDefaults()
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Workers = cmp.Or(o.Workers, 16)
	o.Version = cmp.Or(o.Version, "dev")
	o.RetryMin = cmp.Or(o.RetryMin, 500*time.Millisecond)
	o.RetryMax = cmp.Or(o.RetryMax, 5*time.Minute)
	o.MaxAttempts = cmp.Or(o.MaxAttempts, 20)
	o.PoisonAfter = cmp.Or(o.PoisonAfter, 24*time.Hour)
	o.Order = cmp.Or(o.Order, OrderPerson)
	o.OrderHold = cmp.Or(o.OrderHold, 5*time.Minute)
	o.ShutdownTimeout = cmp.Or(o.ShutdownTimeout, 20*time.Second)
	if o.Clear == nil {
		o.Clear = func() bool { return true }
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return o
}

func (s Settings) withDefaults() Settings {
	s.NewKey = cmp.Or(s.NewKey, "then reload")
	s.Rate = cmp.Or(s.Rate, 250)
	s.Burst = cmp.Or(s.Burst, 50)
	return s
}

// validate joins every problem. It never repeats the key or the URL, which may
// hold a secret.
func (o Options) validate() error {
	var errs []error
	check := func(ok bool, problem string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(problem, args...))
		}
	}
	check(o.Queue != nil, "queue is required")
	errs = append(errs, validateURL(o.URL), o.Settings.validate())
	check(o.Timeout > 0, "timeout is %v, want more than 0", o.Timeout)
	check(o.Workers > 0, "workers is %d, want at least 1", o.Workers)
	check(o.RetryMin > 0, "retry_min is %v, want more than 0", o.RetryMin)
	check(o.RetryMax >= o.RetryMin, "retry_max is %v, want at least retry_min, %v", o.RetryMax, o.RetryMin)
	check(o.MaxAttempts > 0, "max_attempts is %d, want at least 1", o.MaxAttempts)
	check(o.MaxAge >= 0, "max_age is %v, want 0 or more", o.MaxAge)
	check(o.Order == OrderPerson || o.Order == OrderNone, "order is %q, want %q or %q", o.Order, OrderPerson, OrderNone)
	check(o.OrderHold > 0, "order_hold is %v, want more than 0", o.OrderHold)
	check(o.ShutdownTimeout > 0, "shutdown_timeout is %v, want more than 0", o.ShutdownTimeout)
	check((o.CertFile == "") == (o.KeyFile == ""), "cert_file and key_file belong together")
	check(o.CertFile == "" || o.Transport == nil, "cert_file has no effect on a transport of one's own")
	check(o.CAFile == "" || o.Transport == nil, "ca_file has no effect on a transport of one's own")
	return errors.Join(errs...)
}

func validateURL(base string) error {
	u, err := url.Parse(base)
	switch {
	case base == "":
		return errors.New("url is required")
	case err != nil:
		return errors.New("url does not parse")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("url must begin with http:// or https:// and name a host")
	case u.User != nil:
		return errors.New("url must not hold a user name or password")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("url must end with its path")
	}
	return nil
}

func (s Settings) validate() error {
	var errs []error
	if err := validateKey(s.Key); err != nil {
		errs = append(errs, err)
	}
	if !(s.Rate > 0) || math.IsInf(s.Rate, 0) {
		errs = append(errs, fmt.Errorf("rate is %v, want more than 0", s.Rate))
	}
	if s.Burst < 1 {
		errs = append(errs, fmt.Errorf("burst is %d, want at least 1", s.Burst))
	}
	return errors.Join(errs...)
}

// validateKey refuses what cannot be a user name of Basic auth (RFC 7617,
// section 2), as when "site:key" of another API was pasted.
func validateKey(key string) error {
	switch {
	case key == "":
		return errors.New("key is required")
	case strings.Contains(key, ":"):
		return errors.New("key holds a colon: want one key, not a pair")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return errors.New("key holds white space or a control character")
	}
	return nil
}
