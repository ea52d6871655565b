package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
)

// httpMain is the command http of the stories, since not every machine has
// curl: it makes one request and prints the status and the body.
//
//	http [-gzip] [-user KEY] [-header 'Name: value'] [-until STATUS] METHOD ADDRESS PATH [BODY | @FILE]
//
// ADDRESS is host:port or unix:PATH. With -until it asks again until the
// status, or a part of the body, is as wanted.
func httpMain() {
	if err := httpRun(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "http:", err)
		os.Exit(1)
	}
}

// request is one request of the command http.
type request struct {
	zip                  bool
	user, header, until  string
	method, address, url string
	body                 []byte
	client               *http.Client
}

func httpRun(args []string, out io.Writer) error {
	r, err := parseRequest(args)
	if err != nil {
		return err
	}
	var shown string
	late := time.After(patience)
	for tick := time.Tick(20 * time.Millisecond); ; {
		shown, err = r.do()
		if r.until == "" || err == nil && strings.Contains(shown, r.until) {
			break
		}
		select {
		case <-tick:
			continue
		case <-late:
			err = errors.Join(err, fmt.Errorf("waited %v for %q", patience, r.until))
		}
		break
	}
	fmt.Fprintln(out, shown)
	return err
}

func parseRequest(args []string) (*request, error) {
	var r request
	flags := flag.NewFlagSet("http", flag.ContinueOnError)
	flags.BoolVar(&r.zip, "gzip", false, "compress the body")
	flags.StringVar(&r.user, "user", "", "user name of basic auth")
	flags.StringVar(&r.header, "header", "", "one more header")
	flags.StringVar(&r.until, "until", "", "ask until the output contains this")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	args = flags.Args()
	if len(args) != 3 && len(args) != 4 {
		return nil, fmt.Errorf("want METHOD ADDRESS PATH [BODY], got %q", args)
	}
	r.method, r.address, r.url = args[0], args[1], "http://"+args[1]+args[2]
	r.client = &http.Client{Timeout: patience}
	if path, ok := strings.CutPrefix(r.address, "unix:"); ok {
		r.client, r.url = unixClient(path), "http://trackd"+args[2]
	}
	return &r, r.setBody(args[3:])
}

func (r *request) setBody(args []string) error {
	if len(args) == 0 {
		return nil
	}
	r.body = []byte(args[0])
	if name, ok := strings.CutPrefix(args[0], "@"); ok {
		var err error
		if r.body, err = os.ReadFile(name); err != nil {
			return err
		}
	}
	if r.zip {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write(r.body); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		r.body = zipped.Bytes()
	}
	return nil
}

func (r *request) do() (string, error) {
	req, err := http.NewRequest(r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return "", err
	}
	if r.zip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	if r.user != "" {
		req.SetBasicAuth(r.user, "")
	}
	if name, value, ok := strings.Cut(r.header, ": "); ok {
		req.Header.Set(name, value)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return fmt.Sprintf("%d %s", resp.StatusCode, bytes.TrimSpace(body)), err
}
