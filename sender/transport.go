package sender

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"trackd/event"
)

// client makes the requests.
type client struct {
	targets   []*url.URL // by event type
	transport http.RoundTripper
	timeout   time.Duration
	agent     string
	creds     atomic.Pointer[credentials]
}

// credentials is a key and what is made from it. It is never changed.
type credentials struct {
	key    string
	token  string          // as it stands in the Authorization header
	blanks []*http.Request // by event type: what all requests with this key have in common
}

func newClient(o Options) (*client, error) {
	c := &client{transport: o.Transport, timeout: o.Timeout, agent: "trackd/" + o.Version}
	for _, t := range event.Types() {
		target, err := url.Parse(strings.TrimRight(o.URL, "/") + "/" + t.String())
		if err != nil {
			return nil, errors.New("url does not parse")
		}
		c.targets = append(c.targets, target)
	}
	if c.transport == nil {
		transport, err := newTransport(o)
		if err != nil {
			return nil, err
		}
		c.transport = transport
	}
	c.useKey(o.Key)
	return c, nil
}

// newTransport keeps one connection per worker alive. It is used without
// http.Client: RoundTrip follows no redirects.
func newTransport(o Options) (*http.Transport, error) {
	tlsConfig, err := trust(o.CAFile)
	if err != nil {
		return nil, err
	}
	if o.CertFile != "" {
		tlsConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("client certificate: %w", err)
			}
			return &pair, nil
		}
		if _, err := tlsConfig.GetClientCertificate(nil); err != nil {
			return nil, err
		}
	}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return &proxyError{status: resp.StatusCode}
			}
			return nil
		},
		DialContext:         (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     tlsConfig,
		TLSHandshakeTimeout: o.Timeout,
		ForceAttemptHTTP2:   true,
		// A pinged HTTP/2 connection that is dead is found out; without, all
		// requests would go on timing out on it.
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConns:        o.Workers,
		MaxIdleConnsPerHost: o.Workers,
		IdleConnTimeout:     90 * time.Second,
	}, nil
}

// proxyError is a proxy's refusal to connect us to the destination.
type proxyError struct{ status int }

func (e *proxyError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("the proxy answered HTTP %d %s to CONNECT", e.status, http.StatusText(e.status)))
}

// trust returns a TLS configuration that trusts the authorities in file beside
// the system's.
func trust(file string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return config, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read ca_file: %w", err)
	}
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		config.RootCAs = x509.NewCertPool()
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file %s: no PEM certificate in it", file)
	}
	return config, nil
}

// useKey makes requests from now on carry key and reports whether that is a
// change.
func (c *client) useKey(key string) (changed bool) {
	if old := c.creds.Load(); old != nil && old.key == key {
		return false
	}
	token := base64.StdEncoding.EncodeToString([]byte(key + ":"))
	header := http.Header{
		"Authorization": {"Basic " + token},
		"Content-Type":  {"application/json"},
		"User-Agent":    {c.agent},
		// Without it a bad event is answered 200 and dropped.
		"X-Strict-Mode": {"1"},
		// Empty, so never sent: tells net/http that a request may be repeated
		// on another connection when a kept-alive one turns out to be dead.
		// The messageId makes a repetition harmless.
		"Idempotency-Key": {},
	}
	creds := &credentials{key: key, token: token}
	for _, target := range c.targets {
		creds.blanks = append(creds.blanks, &http.Request{Method: http.MethodPost, URL: target, Host: target.Host, Header: header})
	}
	c.creds.Store(creds)
	return true
}

// redact takes the key out of a text of foreign origin.
func (c *credentials) redact(text string) string {
	text = strings.ReplaceAll(text, c.token, "[redacted]")
	return strings.ReplaceAll(text, c.key, "[redacted]")
}

// hangUp closes idle connections: after trouble the next request looks the
// name up and dials anew.
func (c *client) hangUp() {
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
