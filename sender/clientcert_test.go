package sender

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// An endpoint of one's own may ask for a certificate. Renewed files are shown at
// the next handshake.
func TestAnEndpointThatAsksIsShownTheCertificateOfTheFiles(t *testing.T) {
	shown := make(chan int, 1)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown <- len(r.TLS.PeerCertificates)
		w.Header().Set("Connection", "close")
		io.WriteString(w, "{}")
	}))
	srv.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	srv.StartTLS()
	defer srv.Close()

	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := srv.TLS.Certificates[0] // any will do
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{CAFile: write("ca", "CERTIFICATE", pair.Certificate[0]),
		CertFile: write("cert", "CERTIFICATE", pair.Certificate[0]), KeyFile: filepath.Join(dir, "key")}
	if _, err := newTransport(o); err == nil {
		t.Error("a certificate without its key was taken")
	}
	write("key", "PRIVATE KEY", der)
	transport, err := newTransport(o)
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	ask := func() error {
		req, err := http.NewRequest(http.MethodPost, srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := ask(); err != nil || <-shown != 1 {
		t.Errorf("a certificate that was asked for: %v, want it shown", err)
	}
	write("key", "PRIVATE KEY", []byte("broken"))
	transport.CloseIdleConnections()
	if err := ask(); err == nil {
		t.Error("a broken key was not noticed at the next handshake")
	}
}
