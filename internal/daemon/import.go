package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"trackd/admin"
)

var errDrained = errors.New("no events are taken since an operator began to drain; restart trackd to take them again")

// takeIn has one event taken through the HTTP door, without a network: the
// same judgement, the same commit, the same counters as for any client. A bad
// one is answered and not kept, since its sender is told.
func takeIn(ctx context.Context, door http.Handler, key string, raw []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/v1/track", bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.SetBasicAuth(key, "")
	got := doorReply{header: http.Header{}, status: http.StatusOK}
	door.ServeHTTP(&got, req)
	if got.status == http.StatusOK {
		return nil
	}
	var why admin.BadEventError
	if err := json.Unmarshal(got.body.Bytes(), &why); err != nil {
		return errors.New(http.StatusText(got.status))
	}
	if got.status == http.StatusBadRequest || got.status == http.StatusRequestEntityTooLarge {
		return &why
	}
	return errors.New(why.Message) // it is not the event's fault
}

// doorReply is what the door answered.
type doorReply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *doorReply) Header() http.Header         { return r.header }
func (r *doorReply) WriteHeader(status int)      { r.status = status }
func (r *doorReply) Write(p []byte) (int, error) { return r.body.Write(p) }
