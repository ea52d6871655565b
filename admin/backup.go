package admin

import (
	"context"
	"net/http"
	"net/url"

	"trackd/internal/status"
)

// BackedUp tells what a backup of the queue holds.
type BackedUp struct {
	Dir     string         `json:"dir"`
	Files   int            `json:"files"`
	Bytes   int64          `json:"bytes"`
	Account status.Account `json:"account"`
}

// backup copies the queue into the directory that the form names, and ends when
// its caller hangs up.
func (s *Server) backup(w http.ResponseWriter, r *http.Request) {
	made, err := s.opts.Backup(r.Context(), r.PostFormValue("dir"))
	if err != nil {
		writeJSON(w, http.StatusInternalServerError, failure{err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, made)
}

// Backup has the daemon copy its queue into dir, an absolute path on its host.
func (c *Client) Backup(ctx context.Context, dir string) (BackedUp, error) {
	return post[BackedUp](ctx, c, "/backup", url.Values{"dir": {dir}})
}
