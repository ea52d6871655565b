package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// validate checks the rules that span keys, or that no tag can say. Each rule
// is silent about keys that already have a problem.
func (l *loader) validate() {
	l.validateURL()
	l.validateListeners()
	l.validateTLS()
	l.validateDistinct()
	l.validateRate()
	l.validateOrder("sender.retry_min", "sender.retry_max")
	l.validateOrder("queue.dead_max_bytes", "queue.max_bytes")
}

// validateURL wants a base that calls can be appended to, and keeps the API key
// off networks where others could read it.
func (l *loader) validateURL() {
	const key = "upstream.url"
	text := l.config.Upstream.URL
	if text == "" || !l.sound(key) {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		l.report(key, found(quoteURL(text), "a full base like https://cdp.customer.io/v1"))
	case u.User != nil, u.RawQuery != "", u.Fragment != "":
		l.report(key, "found a user name, a query or a fragment in it, allowed none of them: the key belongs in upstream.api_key_file")
	case strings.Trim(u.Path, "/") == "":
		l.report(key, found(quoteURL(text)+", which has no path", "a base with its path, like https://cdp.customer.io/v1"))
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		l.report(key, found(quoteURL(text), "plain http to loopback only: the API key would cross the network in the clear; use https"))
	}
	l.config.Upstream.URL = strings.TrimRight(text, "/")
}

// quoteURL shows a URL that may be anything, without what could be a password.
func quoteURL(text string) string {
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		text = "…" + text[at:]
	}
	return strconv.Quote(text)
}

// validateListeners wants at least one way in, addresses that can be bound, and a
// key, or client certificates, on a listener that the network can reach.
func (l *loader) validateListeners() {
	in := l.config.Ingest
	if in.Socket == "" && in.HTTP == "" && in.HTTPSocket == "" {
		l.reportAt("", "ingest", "socket, http and http_socket are all empty: at least one must be set, or no event can come in")
	}
	l.validateAddress("admin.http", l.config.Admin.HTTP)
	if !l.validateAddress("ingest.http", in.HTTP) || !l.sound("ingest.key_file") {
		return
	}
	if host, _, _ := net.SplitHostPort(in.HTTP); in.KeyFile == "" && in.ClientCA == "" && !isLoopback(host) {
		l.report("ingest.http", fmt.Sprintf("found %q, which others can reach, allowed only with a key or client certificates: set ingest.key_file (%s) or ingest.client_ca_file, or bind 127.0.0.1",
			in.HTTP, l.fields["ingest.key_file"].Env))
	}
}

// validateTLS wants a certificate to come with its key, and an authority of
// clients with both.
func (l *loader) validateTLS() {
	in, up := l.config.Ingest, l.config.Upstream
	for _, pair := range []struct{ certKey, cert, keyKey, key string }{
		{"ingest.tls_cert_file", in.TLSCertFile, "ingest.tls_key_file", in.TLSKeyFile},
		{"upstream.cert_file", up.CertFile, "upstream.key_file", up.KeyFile},
	} {
		switch {
		case pair.cert == "" && pair.key != "":
			l.report(pair.keyKey, fmt.Sprintf("found without %s, allowed both or none", pair.certKey))
		case pair.cert != "" && pair.key == "":
			l.report(pair.certKey, fmt.Sprintf("found without %s, allowed both or none", pair.keyKey))
		}
	}
	if in.TLSCertFile == "" && in.TLSKeyFile == "" && in.ClientCA != "" {
		l.report("ingest.client_ca_file", "found without ingest.tls_cert_file, allowed with it: only over TLS do clients show certificates")
	}
}

// validateAddress reports whether key holds a TCP address to look further at.
func (l *loader) validateAddress(key, text string) bool {
	if text == "" || !l.sound(key) {
		return false
	}
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		l.report(key, found(strconv.Quote(text), `an address and a port like 127.0.0.1:8484, or "" to turn it off`))
	}
	return err == nil
}

// isLoopback reports whether host is this machine whatever a resolver says.
// The empty host binds every interface.
func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// validateDistinct wants every listener to have an address of its own.
func (l *loader) validateDistinct() {
	in, admin := l.config.Ingest, l.config.Admin
	taken := map[string]string{}
	for _, listener := range []struct{ key, address string }{
		{"ingest.socket", cleanPath(in.Socket)},
		{"ingest.http_socket", cleanPath(in.HTTPSocket)},
		{"admin.socket", cleanPath(admin.Socket)},
		{"ingest.http", in.HTTP},
		{"admin.http", admin.HTTP},
	} {
		switch other := taken[listener.address]; {
		case listener.address == "", strings.HasSuffix(listener.address, ":0"), !l.sound(listener.key):
		case other != "":
			l.report(listener.key, fmt.Sprintf("found %q, which %s has too: each needs its own", listener.address, other))
		default:
			taken[listener.address] = listener.key
		}
	}
}

func cleanPath(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Clean(path)
}

// validateRate keeps to what Customer.io takes of one account, unless the
// destination is somebody's own.
func (l *loader) validateRate() {
	for _, limited := range []struct {
		key   string
		value float64
	}{{"sender.rate", l.config.Sender.Rate}, {"sender.burst", float64(l.config.Sender.Burst)}} {
		if limited.value > 1000 && l.config.Upstream.URL == "" && l.sound(limited.key) {
			l.report(limited.key, found(format(l.fields[limited.key].value),
				"at most 1000, which is what Customer.io takes; more only where upstream.url is set"))
		}
	}
}

// validateOrder wants the value of low not to be above that of high. Both are
// whole numbers of the same kind.
func (l *loader) validateOrder(low, high string) {
	a, b := l.fields[low].value, l.fields[high].value
	if !l.sound(low, high) || a.Int() <= b.Int() {
		return
	}
	l.report(low, found(format(a), fmt.Sprintf("at most %s, which is %s (%s)", high, format(b), l.config.origins[high])))
}
