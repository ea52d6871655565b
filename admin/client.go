package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"trackd/internal/status"
	"trackd/queue"
)

// ErrUnreachable means that nobody answered on the socket. What stood in the
// way is wrapped beside it.
var ErrUnreachable = errors.New("cannot reach the daemon")

// Client talks to a daemon through its socket. It is safe for concurrent use.
type Client struct {
	http *http.Client
}

// NewClient returns a client of the daemon at a Unix socket. It connects when
// it is used.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err // the address is told once, by whoever reports it
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrUnreachable, socket, err)
		}
		return conn, nil
	}
	return &Client{http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (status.Report, error) {
	return get[status.Report](ctx, c, "/status", nil)
}

// Healthy asks a health page, such as "/readyz", and returns its reason, with
// an error if the answer is no.
func (c *Client) Healthy(ctx context.Context, page string) (reason string, err error) {
	resp, err := c.do(ctx, http.MethodGet, page, "", nil)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var v health
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return "", fmt.Errorf("%s: %w", page, err)
	}
	if !v.OK {
		return v.Reason, errors.New(v.Reason)
	}
	return v.Reason, nil
}

// Count asks how many letters match.
func (c *Client) Count(ctx context.Context, f queue.Filter) (Counted, error) {
	return get[Counted](ctx, c, "/dead/count", formOf(f))
}

// Replay has a bounded number of the dead letters that match queued again. To go
// on, call it with Filter.After set to Amended.Last while there is More. With an
// error it still says what was done before.
func (c *Client) Replay(ctx context.Context, f queue.Filter) (Amended, error) {
	return c.amend(ctx, "/dead/replay", f)
}

// Discard throws a bounded number of the dead letters that match away, for ever.
// It goes on, and fails, as Replay does.
func (c *Client) Discard(ctx context.Context, f queue.Filter) (Amended, error) {
	return c.amend(ctx, "/dead/discard", f)
}

func (c *Client) amend(ctx context.Context, path string, f queue.Filter) (Amended, error) {
	did, err := post[Amended](ctx, c, path, formOf(f))
	if err == nil && did.Failed != "" {
		err = errors.New(did.Failed)
	}
	return did, err
}

// MaxImport is how many events one call of Import may hold.
const MaxImport = importChunk

// Import has events taken as the front door would, at most MaxImport of them.
func (c *Client) Import(ctx context.Context, events [][]byte) (Imported, error) {
	order, err := json.Marshal(importOrder{Events: events})
	if err != nil {
		return Imported{}, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/import", "application/json", bytes.NewReader(order))
	if err != nil {
		return Imported{}, err
	}
	return decode[Imported](resp)
}

// Pause stops sending until Resume, also over restarts.
func (c *Client) Pause(ctx context.Context, reason string) error {
	_, err := post[done](ctx, c, "/pause", url.Values{"reason": {reason}})
	return err
}

// Resume undoes Pause and has the destination tried at once.
func (c *Client) Resume(ctx context.Context) error {
	_, err := post[done](ctx, c, "/resume", nil)
	return err
}

// Drain stops the intake and returns when all that was read is answered.
func (c *Client) Drain(ctx context.Context) error {
	_, err := post[done](ctx, c, "/drain", nil)
	return err
}

// Reload has the configuration read again and tells whether it is in force.
func (c *Client) Reload(ctx context.Context) (status.Reload, error) {
	return post[status.Reload](ctx, c, "/reload", nil)
}

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// lookAgain is how long after its connection was closed unanswered a question is
// asked again, and maxLooks how often it is asked at most.
const (
	lookAgain = 100 * time.Millisecond
	maxLooks  = 10
)

// do sends one request. The daemon closes the longest idle connection when all
// are taken, which in a crowd may be one that has not asked yet: what changes
// nothing is asked again.
func (c *Client) do(ctx context.Context, method, path, kind string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://trackd"+path, body)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	for looks := 1; ; looks++ {
		resp, err := c.http.Do(req)
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the made-up URL would only puzzle
		}
		closed := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF)
		if !closed || method != http.MethodGet || looks == maxLooks {
			return resp, err
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return resp, err
		}
	}
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (v T, err error) {
	resp, err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), "", nil)
	if err != nil {
		return v, err
	}
	return decode[T](resp)
}

func post[T any](ctx context.Context, c *Client, path string, form url.Values) (v T, err error) {
	resp, err := c.do(ctx, http.MethodPost, path, "application/x-www-form-urlencoded", strings.NewReader(form.Encode()))
	if err != nil {
		return v, err
	}
	return decode[T](resp)
}

// decode reads an answer of one JSON object and closes it.
func decode[T any](resp *http.Response) (v T, err error) {
	defer resp.Body.Close()
	if err := refusal(resp); err != nil {
		return v, err
	}
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		return v, fmt.Errorf("read the daemon's answer: %w", err)
	}
	return v, nil
}

// refusal returns why the daemon did not do what it was asked; nil when it
// did.
func refusal(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var why struct{ Error, Reason string }
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return err
	}
	if json.Unmarshal(text, &why) != nil || why.Error+why.Reason == "" {
		return fmt.Errorf("the daemon answered %s: %.200q; is it of this version?", resp.Status, text)
	}
	return errors.New(why.Error + why.Reason)
}
