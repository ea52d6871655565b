package sender

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"trackd/event"
)

// dialled makes a client for url, with key sesame and little patience.
func dialled(t testing.TB, url string, change func(*Options)) *client {
	t.Helper()
	o := Options{Settings: Settings{Key: "sesame"}, URL: url, Timeout: 300 * time.Millisecond}.withDefaults()
	if change != nil {
		change(&o)
	}
	c, err := newClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.hangUp)
	return c
}

// tcp serves raw bytes: each connection is handed to serve.
func tcp(t testing.TB, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// after reads a request's beginning, then writes text.
func after(text string, then func(*net.TCPConn)) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		c.Read(make([]byte, 4096))
		io.WriteString(c, text)
		if then != nil {
			then(c)
		}
	}
}

func linger(c *net.TCPConn) { io.Copy(io.Discard, c) }
func reset(c *net.TCPConn)  { c.SetLinger(0) }

// certified starts a TLS server with a certificate for name, valid until then,
// signed by itself, and returns its address and the certificate's file.
func certified(t testing.TB, name string, until time.Time) (url, caFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		DNSNames: []string{name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if ip := net.ParseIP(name); ip != nil {
		template.DNSNames, template.IPAddresses = nil, []net.IP{ip}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s.URL, caFile
}

func TestRealTroubleIsNamed(t *testing.T) {
	tomorrow := time.Now().Add(24 * time.Hour)
	trusting := func(file string) func(*Options) {
		return func(o *Options) { o.CAFile = file }
	}
	closed := func() string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return "http://" + l.Addr().String()
	}
	noNames := func(o *Options) {
		resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no name server")
		}}
		o.Transport = &http.Transport{DialContext: (&net.Dialer{Resolver: resolver}).DialContext}
	}
	goodTLS, goodCA := certified(t, "127.0.0.1", tomorrow)
	otherTLS, otherCA := certified(t, "elsewhere.test", tomorrow)
	oldTLS, oldCA := certified(t, "127.0.0.1", time.Now().Add(-time.Hour))
	plain := tcp(t, after("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", nil))

	for _, c := range []struct {
		name    string
		url     string
		change  func(*Options)
		verdict verdict
		result  result
	}{
		{"all well", plain, nil, delivered, resultDelivered},
		{"all well over TLS", goodTLS, trusting(goodCA), delivered, resultDelivered},
		{"refused", closed(), nil, retry, resultConnect},
		{"name does not resolve", "http://destination.test", noNames, retry, resultDNS},
		{"reset before the answer", tcp(t, after("", reset)), nil, retry, resultReset},
		{"closed before the answer", tcp(t, after("", nil)), nil, retry, resultReset},
		{"closed amid the header", tcp(t, after("HTTP/1.1 200 OK\r\nDate: x\r\n", nil)), nil, retry, resultReset},
		{"closed amid the status line", tcp(t, after("HTTP/1.1 20", nil)), nil, retry, resultMalformed},
		{"closed amid the body of 200", tcp(t, after("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", nil)), nil, retry, resultCutOff},
		{"reset amid the body of 400", tcp(t, after("HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\n{", reset)), nil, retry, resultCutOff},
		{"silence", tcp(t, linger), nil, retry, resultTimeout},
		{"silence amid the header", tcp(t, after("HTTP/1.1 200 OK\r\nContent-", linger)), nil, retry, resultTimeout},
		{"silence amid the body", tcp(t, after("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", linger)), nil, retry, resultTimeoutAnswer},
		{"endless body", tcp(t, after("HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat(" ", maxAnswer+1), linger)), nil, deny, resultForeign},
		{"not HTTP", tcp(t, after("220 smtp.test ESMTP\r\n", nil)), nil, retry, resultMalformed},
		{"malformed header", tcp(t, after("HTTP/1.1 200 OK\r\nwhat is this\r\n\r\n", nil)), nil, retry, resultMalformed},
		{"certificate for another name", otherTLS, trusting(otherCA), retry, resultTLSName},
		{"certificate expired", oldTLS, trusting(oldCA), retry, resultTLSExpired},
		{"authority unknown", goodTLS, nil, retry, resultTLSAuthority},
		{"TLS spoken to plain HTTP", strings.Replace(plain, "http:", "https:", 1), nil, retry, resultPlainHTTP},
		{"TLS spoken to something else", strings.Replace(tcp(t, after("220 smtp.test\r\n", nil)), "http:", "https:", 1), nil, retry, resultTLS},
		{"plain HTTP spoken to TLS of Go", strings.Replace(goodTLS, "https:", "http:", 1), nil, deny, resultForeign},
		{"plain HTTP spoken to TLS of others", tcp(t, after("\x15\x03\x01\x00\x02\x02\x16", nil)), nil, retry, resultWantsTLS},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := dialled(t, c.url, c.change).attempt(t.Context(), event.TypeTrack, []byte(`{"type":"track"}`), make([]byte, 64))
			if v, r := judge(a); v != c.verdict || r != c.result {
				t.Errorf("judged %d %s, want %d %s (status %d, %v)", v, r, c.verdict, c.result, a.status, a.err)
			}
		})
	}
}

func TestAnAttemptCutOffByUsIsUntried(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url := tcp(t, func(c *net.TCPConn) { c.Read(make([]byte, 1)); cancel(); linger(c) })
	a := dialled(t, url, nil).attempt(ctx, event.TypeTrack, []byte("{}"), nil)
	if v, r := judge(a); v != untried || r != resultStopped {
		t.Errorf("judged %d %s (%v), want untried", v, r, a.err)
	}
}

// TestAProxyThatRefusesToConnectIsToldAsThat has a proxy answer CONNECT in its
// own way, before there is any connection to the destination.
func TestAProxyThatRefusesToConnectIsToldAsThat(t *testing.T) {
	for _, c := range []struct {
		status  int
		verdict verdict
		result  result
	}{{407, deny, resultProxyAuth}, {403, deny, resultProxyRefused}, {502, retry, resultProxyRefused}} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodConnect {
				t.Errorf("the proxy was sent %s", r.Method)
			}
			w.WriteHeader(c.status)
		}))
		defer proxy.Close()
		address, err := url.Parse(proxy.URL)
		if err != nil {
			t.Fatal(err)
		}
		client := dialled(t, "https://destination.test/v1", nil)
		client.transport.(*http.Transport).Proxy = http.ProxyURL(address)
		a := client.attempt(t.Context(), event.TypeTrack, []byte("{}"), nil)
		if v, r := judge(a); v != c.verdict || r != c.result || !strings.Contains(a.summary(), "proxy answered HTTP") {
			t.Errorf("CONNECT answered %d: judged %d %s, %q", c.status, v, r, a.summary())
		}
	}
}

func TestTheTransportHonoursTheEnvironmentAndPings(t *testing.T) {
	transport, err := newTransport(Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	if reflect.ValueOf(transport.Proxy).Pointer() != reflect.ValueOf(http.ProxyFromEnvironment).Pointer() {
		t.Error("the proxy of the environment is not asked")
	}
	if h := transport.HTTP2; h == nil || h.SendPingTimeout <= 0 || h.PingTimeout <= 0 {
		t.Errorf("HTTP/2 is %+v, want dead connections found out by pings", h)
	}
}
