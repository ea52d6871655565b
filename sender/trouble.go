package sender

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"syscall"
)

// trouble names the reason why no answer came. nil cannot come from an attempt
// and counts as network.
func trouble(err error) result {
	if err == nil {
		return resultNetwork
	}
	if r := timeTrouble(err); r != "" {
		return r
	}
	if r := tlsTrouble(err); r != "" {
		return r
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return resultDNS
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH),
		errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return resultConnect
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return resultReset
	}
	return wireTrouble(err)
}

func timeTrouble(err error) result {
	if errors.Is(err, context.Canceled) {
		return resultStopped
	}
	if n, ok := errors.AsType[net.Error](err); ok && n.Timeout() {
		if _, dns := errors.AsType[*net.DNSError](err); dns {
			return resultDNS
		}
		return resultTimeout
	}
	return ""
}

func tlsTrouble(err error) result {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return resultTLSName
	}
	if c, ok := errors.AsType[x509.CertificateInvalidError](err); ok && c.Reason == x509.Expired {
		return resultTLSExpired
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return resultTLSAuthority
	}
	if h, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		if string(h.RecordHeader[:]) == "HTTP/" {
			return resultPlainHTTP
		}
		return resultTLS
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return resultPlainHTTP
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return resultTLS
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return resultTLS
	}
	return ""
}

// wireTrouble tells apart what net/http reports only in words.
func wireTrouble(err error) result {
	if _, ok := errors.AsType[textproto.ProtocolError](err); ok {
		return resultMalformed
	}
	switch text := err.Error(); {
	case strings.Contains(text, `malformed HTTP response "\x15\x03`): // a TLS alert record
		return resultWantsTLS
	case strings.Contains(text, "malformed"):
		return resultMalformed
	case strings.Contains(text, "server closed idle connection"),
		strings.Contains(text, "connection reset"):
		return resultReset
	case strings.Contains(text, "tls: "):
		return resultTLS
	}
	return resultNetwork
}

// cutReason says why an answer that had begun did not end.
func cutReason(err error) result {
	if timeTrouble(err) == resultTimeout {
		return resultTimeoutAnswer
	}
	return resultCutOff
}

// advice is what an operator can do about r, as the end of a sentence.
func (r result) advice() string {
	switch r {
	case resultUnauthorized:
		return "the API key is not accepted: check it and that it belongs to this region"
	case resultForbidden, resultDenied:
		return "the destination or a firewall before it refuses us: check the key's permissions and the account"
	case resultNotFound:
		return "there is no such call at this address: check the upstream url"
	case resultRedirect:
		return "redirects are not followed with a key in hand: set the upstream url to where it points"
	case resultProxyAuth:
		return "the proxy wants credentials: check HTTPS_PROXY"
	case resultProxyRefused:
		return "the proxy does not let us through: check HTTPS_PROXY and the proxy's rules"
	case resultProxyTooLarge:
		return "a proxy before the destination refuses a request of this size: raise its limit to 64 KiB"
	case resultForeign:
		return "something other than the events API answers at this address: check the upstream url, the proxy and the network"
	case resultTLSName:
		return "the certificate is for another name: check the upstream url and any proxy in between"
	case resultTLSExpired:
		return "the certificate is out of its time: check this host's clock, then the far side's certificate"
	case resultTLSAuthority:
		return "the certificate's authority is not trusted: install it or set ca_file"
	case resultPlainHTTP:
		return "the far side does not speak TLS: check the port, or use http://"
	case resultWantsTLS:
		return "the far side speaks TLS only: use https://"
	case resultDNS:
		return "the name does not resolve: check the upstream url and this host's DNS"
	case resultConnect:
		return "nothing listens there or a firewall is in between: check the upstream url and the network"
	default:
		return "nothing to do here: it is tried again by itself"
	}
}
