package listen

import (
	"net"
	"net/netip"
	"strings"
)

// Hosts decides by which names requests may address a listener on TCP. A page
// whose name an attacker has made resolve to this host (DNS rebinding) gives
// itself away by that name. The zero Hosts allows loopback names and literal
// addresses.
type Hosts struct {
	names       map[string]bool
	certificate *TLS // its names, too; nil: none
}

// NewHosts returns Hosts that allow names, too, and those of a certificate if
// there is one.
func NewHosts(names []string, certificate *TLS) Hosts {
	h := Hosts{names: map[string]bool{}, certificate: certificate}
	for _, name := range names {
		h.names[normalHost(name)] = true
	}
	return h
}

// Allow reports whether a request may name host, which may have a port. No
// browser leaves it out.
func (h Hosts) Allow(host string) bool {
	name := host
	if bare, _, err := net.SplitHostPort(host); err == nil {
		name = bare
	}
	name = normalHost(strings.Trim(name, "[]"))
	if _, err := netip.ParseAddr(name); err == nil || name == "" {
		return true
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || h.names[name] ||
		h.certificate != nil && h.certificate.Names(name)
}

// normalHost returns name as it is compared.
func normalHost(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
