package ingest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trackd/internal/listen"
)

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, pool: x509.NewCertPool()}
	a.key, a.cert, a.pem = a.sign("authority", nil)
	a.pool.AddCert(a.cert)
	return a
}

// sign makes a certificate for name, or that of the authority itself.
func (a *authority) sign(name string, by *authority) (*ecdsa.PrivateKey, *x509.Certificate, []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	draft := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	parent, signer := draft, key
	if by == nil {
		draft.IsCA, draft.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, draft, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return key, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// issue writes a certificate for name and its key to files.
func (a *authority) issue(name, certFile, keyFile string) {
	a.t.Helper()
	key, _, text := a.sign(name, a)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, content := range map[string][]byte{certFile: text, keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

func TestHTTPSpeaksTLSAndFollowsItsFiles(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	files := listen.TLSFiles{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key"), ClientCA: filepath.Join(dir, "ca")}
	ours.issue("track.internal", files.Cert, files.Key)
	if err := os.WriteFile(files.ClientCA, ours.pem, 0o600); err != nil {
		t.Fatal(err)
	}
	log, logged := journal(slog.LevelInfo)
	secured, err := listen.LoadTLS(files, log)
	if err != nil {
		t.Fatal(err)
	}
	q := &shelf{}
	s := open(t, q, func(o *Options) { o.TLS, o.Hosts = secured, listen.NewHosts(nil, secured) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, s, Listeners{HTTP: []net.Listener{ln}})

	// client returns a client with a certificate that by signed.
	client := func(by *authority, name string) *http.Client {
		config := &tls.Config{RootCAs: ours.pool, ServerName: name}
		if by != nil {
			cert, key := filepath.Join(t.TempDir(), "c"), filepath.Join(t.TempDir(), "k")
			by.issue("app", cert, key)
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			config.Certificates = []tls.Certificate{pair}
		}
		transport := &http.Transport{TLSClientConfig: config}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	post := func(c *http.Client, scheme, host string) (int, error) {
		req, err := http.NewRequest(http.MethodPost, scheme+"://"+ln.Addr().String()+"/v1/track", strings.NewReader(opened))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := c.Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		var answer bytes.Buffer
		answer.ReadFrom(resp.Body)
		if resp.StatusCode != 200 && !strings.Contains(answer.String(), `"code":"`) {
			t.Errorf("answer %s, want JSON", answer.String())
		}
		return resp.StatusCode, nil
	}

	app := client(ours, "track.internal")
	for range 2 { // the second over the same connection
		if status, err := post(app, "https", "track.internal"); status != 200 {
			t.Errorf("a client with a certificate: %d, %v", status, err)
		}
	}
	if status, err := post(app, "https", "evil.example"); status != 403 {
		t.Errorf("a foreign host: %d, %v, want 403", status, err)
	}
	if status, err := post(client(nil, "track.internal"), "https", ""); err == nil {
		t.Errorf("a client without a certificate: %d, want none", status)
	}
	if status, err := post(client(others, "track.internal"), "https", ""); err == nil {
		t.Errorf("a client of another authority: %d, want none", status)
	}
	if status, err := post(&http.Client{}, "http", ""); status != 400 {
		t.Errorf("plain HTTP: %d, %v, want 400", status, err)
	}
	told := s.Bounced()
	for i := range told {
		if b := told[i]; b.Reason == codeTLSHandshake && b.Count != 3 || b.Reason != codeTLSHandshake && b.Reason != codeForeignHost {
			t.Errorf("bounced %+v, want three handshakes and a foreign host", told)
		}
	}

	// Renewed files are in force, broken ones are not.
	ours.issue("new.internal", files.Cert, files.Key)
	if err := secured.Reload(); err != nil {
		t.Error(err)
	}
	if status, err := post(client(ours, "new.internal"), "https", "new.internal"); status != 200 {
		t.Errorf("after the renewal: %d, %v", status, err)
	}
	if err := os.WriteFile(files.Cert, []byte("half a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := secured.Reload(); err == nil {
			t.Error("a broken certificate was taken")
		}
	}
	if status, err := post(client(ours, "new.internal"), "https", "new.internal"); status != 200 {
		t.Errorf("with a broken file: %d, %v, want the certificate before", status, err)
	}
	if n := strings.Count(logged(), "changed TLS files refused"); n != 1 {
		t.Errorf("the broken file is logged %d times:\n%s", n, logged())
	}
	q.checkKept(t, 4, 0)
}

func TestRenewedTLSFilesAreReadByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, dir := newAuthority(t), t.TempDir()
		files := listen.TLSFiles{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
		a.issue("old.internal", files.Cert, files.Key)
		secured, err := listen.LoadTLS(files, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.issue("renewed.internal", files.Cert, files.Key)
		for _, when := range []struct {
			after time.Duration
			name  string
		}{{0, "old.internal"}, {4 * time.Second, "old.internal"}, {time.Second, "renewed.internal"}} {
			time.Sleep(when.after)
			if !secured.Names(when.name) {
				t.Errorf("after %v more: the certificate is not for %s", when.after, when.name)
			}
		}
	})
}
