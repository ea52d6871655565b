package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"trackd/config"
)

// replyShown bounds how much of a reply is printed.
const replyShown = 4 << 10

// askUpstream posts an event that no destination can accept, prints the reply
// as it came and reports whether the key was accepted: a destination that
// knows the key says what is wrong with the event.
func askUpstream(w *world, c config.Config) bool {
	address := c.BaseURL() + "/track"
	fmt.Fprintf(w.stdout, "POST %s {}\n", address)
	status, body, err := postEmpty(w.ctx, c, address)
	if err != nil {
		fmt.Fprintf(w.stdout, "no answer: %v\n", err)
		return false
	}
	fmt.Fprintf(w.stdout, "HTTP %d %s\n", status, http.StatusText(status))
	if text := strings.TrimSpace(printable(strings.ReplaceAll(body, c.Upstream.APIKey.Reveal(), "[redacted]"))); text != "" {
		fmt.Fprintln(w.stdout, text)
	}
	meaning, ok := meaningOf(status, body)
	fmt.Fprintln(w.stdout, meaning)
	fmt.Fprintln(w.stdout, "this cannot prove the region: compare it with the workspace's settings, since the wrong one may accept events and lose them")
	return ok
}

// meaningOf says what the answer to an empty event, posted strictly, proves.
func meaningOf(status int, body string) (meaning string, ok bool) {
	isObject := strings.HasPrefix(strings.TrimSpace(body), "{") && json.Valid([]byte(body))
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return "the API key is not accepted: it is wrong, or of another region or kind", false
	case (status == http.StatusBadRequest || status == http.StatusUnprocessableEntity) && isObject:
		return "the API key is accepted: the empty event was refused for what it lacks, as it should be", true
	case status == http.StatusOK && isObject:
		return "the empty event was accepted, though it should have been refused: is this the Data Pipelines API?", false
	case status == http.StatusTooManyRequests || status >= 500:
		return "the destination is in trouble: this says nothing about the key, ask again later", false
	default:
		return "this is not how the events API answers: check the upstream url, and any proxy in between", false
	}
}

// postEmpty posts {} as the sender posts events.
func postEmpty(ctx context.Context, c config.Config, address string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.Upstream.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader("{}"))
	if err != nil {
		return 0, "", err
	}
	req.SetBasicAuth(c.Upstream.APIKey.Reveal(), "")
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Strict-Mode", "1")
	req.Header.Set("User-Agent", "trackd/"+version)
	transport, err := upstreamTransport(c.Upstream.CAFile)
	if err != nil {
		return 0, "", err
	}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req) // redirects are not followed with a key in hand
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err
		}
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, replyShown))
	return resp.StatusCode, string(text), err
}

// upstreamTransport trusts the system's authorities and those of a file.
func upstreamTransport(caFile string) (*http.Transport, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if caFile == "" {
		return transport, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(pem)
	transport.TLSClientConfig.RootCAs = pool
	return transport, nil
}
