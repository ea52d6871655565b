package config

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

const (
	keyAPIKey     = "upstream.api_key"
	keyAPIKeyFile = "upstream.api_key_file"

	credentialName   = "api_key"        // LoadCredential=api_key:trackd.api_key in the unit
	storedCredential = "trackd.api_key" // the same in a credential store
	originStore      = "credential store of systemd"
)

// OriginCredential is the origin of a key file that systemd handed over.
const OriginCredential = "systemd credential"

// require checks what only the daemon needs, and reads the keys.
func (l *loader) require() {
	if l.config.Upstream.Region == "" && l.config.Upstream.URL == "" && l.sound("upstream.region", "upstream.url") {
		l.missing("upstream.region", "region: us", "us", "the workspace's region, us or eu; the wrong one may accept events and lose them")
	}
	l.requireAPIKey()
	if l.config.Queue.Dir == "" && l.sound("queue.dir") {
		l.missing("queue.dir", "dir: DIRECTORY", "DIRECTORY", "this user has no home directory to keep a queue in")
	}
	if path := l.config.Ingest.KeyFile; path != "" {
		l.config.Ingest.Key = l.readIngestKey(path)
	}
	l.requirePostgresURL()
	l.checkCertificates()
}

// requirePostgresURL reads where the queue is, if it is in a database.
func (l *loader) requirePostgresURL() {
	const key = "queue.postgres_url_file"
	q := &l.config.Queue
	if q.Backend != "postgres" || !l.sound("queue.backend", key) {
		return
	}
	path := q.PostgresURLFile
	if dir := l.Getenv("CREDENTIALS_DIRECTORY"); path == "" && dir != "" {
		path = filepath.Join(dir, "postgres_url")
	}
	if path == "" {
		l.missing(key, "postgres_url_file: PATH", "PATH", "the file holds the URL of the database, or systemd hands it over as credential postgres_url")
		return
	}
	q.PostgresURL = l.readSecret(key, path)
}

// RereadKeys returns c with what its key files hold now. Everything else stays
// as it is, whatever the configuration file says meanwhile. The error is of
// type [Problems].
func (c Config) RereadKeys(o LoadOptions) (Config, error) {
	l := newLoader(o)
	l.config = &c
	if path := c.Upstream.APIKeyFile; path != "" {
		c.Upstream.APIKey = l.readSecret(keyAPIKeyFile, path)
	}
	if path := c.Ingest.KeyFile; path != "" {
		c.Ingest.Key = l.readIngestKey(path)
	}
	if len(l.problems) > 0 {
		return Config{}, l.problems
	}
	return c, nil
}

// requireAPIKey takes the key from the one place that has it.
func (l *loader) requireAPIKey() {
	up := &l.config.Upstream
	credential, hasCredential := l.credential()
	var given []string
	if up.APIKeyFile != "" {
		given = append(given, fmt.Sprintf("%s (%s)", keyAPIKeyFile, l.where(keyAPIKeyFile)))
	}
	if hasCredential {
		given = append(given, fmt.Sprintf("the systemd credential (%s)", credential))
	}
	if !up.APIKey.IsZero() || !l.sound(keyAPIKey) {
		given = append(given, fmt.Sprintf("%s (%s)", keyAPIKey, l.where(keyAPIKey)))
	}
	switch {
	case len(given) > 1:
		l.reportAt("", keyAPIKey, "given more than once, allowed exactly one of: "+strings.Join(given, ", "))
		return
	case len(given) == 0 && l.takeStored():
		return
	case len(given) == 0:
		l.missing(keyAPIKeyFile, "api_key_file: PATH", "PATH",
			fmt.Sprintf("or the key itself as %s; it is that of a Data Pipelines source", l.fields[keyAPIKey].Env))
		return
	case hasCredential:
		up.APIKeyFile = credential
		l.config.origins[keyAPIKeyFile] = OriginCredential
	}
	if up.APIKeyFile != "" {
		up.APIKey = l.readSecret(keyAPIKeyFile, up.APIKeyFile)
		l.config.origins[keyAPIKey] = keyAPIKeyFile
	}
}

// credential is the file in which systemd hands over the key, if it does.
func (l *loader) credential() (path string, exists bool) {
	dir := l.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", false
	}
	path = filepath.Join(dir, credentialName)
	_, err := l.ReadFile(path)
	return path, !errors.Is(err, fs.ErrNotExist)
}

// takeStored takes the key from where systemd would hand it to the service. It
// reports whether there is something to be told or taken there.
func (l *loader) takeStored() bool {
	if l.Getenv("CREDENTIALS_DIRECTORY") != "" {
		return false // systemd has handed over what there is
	}
	for _, dir := range l.CredentialStores {
		path := filepath.Join(dir, storedCredential)
		switch _, err := l.ReadFile(path); {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission):
			l.reportAt("", keyAPIKeyFile, fmt.Sprintf("not set, and user %d cannot see whether systemd would hand over %s: run this as root", l.EUID, path))
			return true
		}
		l.config.Upstream.APIKeyFile = path
		l.config.origins[keyAPIKeyFile] = originStore
		l.config.Upstream.APIKey = l.readSecret(keyAPIKeyFile, path)
		l.config.origins[keyAPIKey] = keyAPIKeyFile
		return true
	}
	return false
}

// readSecret reads the key in the file that the setting key names.
func (l *loader) readSecret(key, path string) Secret {
	var secret Secret
	text, err := l.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !strings.ContainsRune(path, '/'):
		// A key put where its file should be named must not reach the log.
		l.report(key, "found a name without a directory that is no file here (not shown, as it may be the key itself), allowed the path of a file that holds the key")
	case err != nil:
		l.report(key, fmt.Sprintf("%v; it must be there and readable by user %d, as whom trackd runs", err, l.EUID))
	case len(strings.TrimSpace(string(text))) == 0:
		l.report(key, fmt.Sprintf("%s is empty, allowed one key", path))
	case secret.UnmarshalText(text) != nil:
		l.report(key, fmt.Sprintf("%s holds more than one word of printable ASCII, allowed one key: is it the right file?", path))
	}
	return secret
}

// readIngestKey reads the key that clients must show.
func (l *loader) readIngestKey(path string) Secret {
	key := l.readSecret("ingest.key_file", path)
	if strings.ContainsRune(key.Reveal(), ':') {
		l.report("ingest.key_file", fmt.Sprintf("%s holds a key with a colon, allowed one without: clients send it as the user name of Basic auth, which ends at the first colon", path))
	}
	return key
}

// checkCertificates wants the files of certificates to hold what they are there
// for.
func (l *loader) checkCertificates() {
	in, up := l.config.Ingest, l.config.Upstream
	for _, ca := range []struct{ key, path string }{
		{"upstream.ca_file", up.CAFile}, {"ingest.client_ca_file", in.ClientCA},
	} {
		if text, ok := l.readPEM(ca.key, ca.path); ok && !x509.NewCertPool().AppendCertsFromPEM(text) {
			l.report(ca.key, fmt.Sprintf("%s holds no PEM certificate", ca.path))
		}
	}
	for _, pair := range []struct{ certKey, cert, keyKey, key string }{
		{"ingest.tls_cert_file", in.TLSCertFile, "ingest.tls_key_file", in.TLSKeyFile},
		{"upstream.cert_file", up.CertFile, "upstream.key_file", up.KeyFile},
	} {
		cert, certOK := l.readPEM(pair.certKey, pair.cert)
		key, keyOK := l.readPEM(pair.keyKey, pair.key)
		if !certOK || !keyOK {
			continue
		}
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			l.report(pair.certKey, fmt.Sprintf("%s with %s: %v", pair.cert, pair.key, err))
		}
	}
}

// readPEM reads the file that the setting key names, if it names one.
func (l *loader) readPEM(key, path string) (text []byte, ok bool) {
	if path == "" {
		return nil, false
	}
	text, err := l.ReadFile(path)
	if err != nil {
		l.report(key, fmt.Sprintf("%v; it must be there and readable by user %d, as whom trackd runs", err, l.EUID))
	}
	return text, err == nil
}

// missing tells that key is not set, and each way to set it.
func (l *loader) missing(key, line, value, why string) {
	section, _, _ := strings.Cut(key, ".")
	l.reportAt("", key, fmt.Sprintf("not set: write %q under %q in %s, or set %s=%s (%s)",
		line, section+":", cmp.Or(l.path, DefaultPath), l.fields[key].Env, value, why))
}
