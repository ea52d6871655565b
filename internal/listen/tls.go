package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// tlsFilesEvery is how often the files of a [TLS] are looked at: renewed ones
// are read by themselves.
const tlsFilesEvery = 5 * time.Second

// TLSFiles name what a listener that speaks TLS shows and asks for, in PEM.
type TLSFiles struct {
	Cert, Key string
	ClientCA  string // if set, clients must show a certificate that it signed
}

// TLS is the side of a TLS connection that listens, made of files that may be
// renewed while it is in use. It is safe for concurrent use.
type TLS struct {
	files TLSFiles
	log   *slog.Logger

	mu      sync.Mutex
	config  *tls.Config   // from the files as they were last readable; guarded by mu
	seen    []os.FileInfo // the files as they were when last read; guarded by mu
	looked  time.Time     // when that was last compared; guarded by mu
	refused bool          // what was last read is not in force; guarded by mu
}

// LoadTLS reads files. The log, which may be nil, is told of renewed ones.
func LoadTLS(files TLSFiles, log *slog.Logger) (*TLS, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &TLS{files: files, log: log}
	t.seen = t.look()
	config, err := files.load()
	if err != nil {
		return nil, err
	}
	t.config, t.looked = config, time.Now()
	return t, nil
}

// load makes a configuration of what the files hold.
func (f TLSFiles) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", f.Cert, f.Key, err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}
	if f.ClientCA == "" {
		return config, nil
	}
	text, err := os.ReadFile(f.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("client CA: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("client CA: %s holds no PEM certificate", f.ClientCA)
	}
	return config, nil
}

// Config returns a configuration that follows the files. The names of the
// certificate are hosts that requests may name.
func (t *TLS) Config() *tls.Config {
	return &tls.Config{
		NextProtos:         []string{"http/1.1"},
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return t.current(), nil },
	}
}

// Names reports whether the certificate is for host.
func (t *TLS) Names(host string) bool {
	leaf := t.current().Certificates[0].Leaf
	return leaf != nil && leaf.VerifyHostname(host) == nil
}

// current returns the configuration that the files make now, or made when they
// were last in order.
func (t *TLS) current() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.looked) >= tlsFilesEvery {
		_ = t.reloadLocked() // logged; what was in force stays
	}
	return t.config
}

// Reload reads the files if they have changed. After an error what was in force
// stays.
func (t *TLS) Reload() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reloadLocked()
}

func (t *TLS) reloadLocked() error {
	t.looked = time.Now()
	now := t.look()
	if slices.EqualFunc(now, t.seen, sameFile) && !t.refused {
		return nil
	}
	config, err := t.files.load()
	if err != nil {
		if !t.refused || !slices.EqualFunc(now, t.seen, sameFile) {
			t.log.Error("changed TLS files refused, those before stay in force", "error", err)
		}
		t.seen, t.refused = now, true
		return err
	}
	t.log.Info("TLS files read again", "certificate", t.files.Cert)
	t.config, t.seen, t.refused = config, now, false
	return nil
}

// look says how the files are; nil for one that is not there.
func (t *TLS) look() []os.FileInfo {
	var infos []os.FileInfo
	for _, path := range []string{t.files.Cert, t.files.Key, t.files.ClientCA} {
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		infos = append(infos, info)
	}
	return infos
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}
