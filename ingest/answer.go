package ingest

import (
	"fmt"
	"net/http"
	"strings"

	"trackd/event"
)

// Codes of HTTP answers only.
const (
	codeNotFound     = "not_found"
	codeMethod       = "method_not_allowed"
	codeUnauthorized = "unauthorized"
	codeEncoding     = "unsupported_encoding"
	codeCrossOrigin  = "cross_origin"
	codeForeignHost  = "foreign_host"
	codeBadRequest   = "bad_request"
	codeTLSHandshake = "tls_handshake"
)

// retryAfter is when a client that was turned away should come again, in
// seconds.
const retryAfter = "5"

// answer is what an HTTP client is told when its request did not succeed.
type answer struct {
	status  int
	header  [2]string // one more header, if any
	code    string
	message string
	errors  []string // every problem, where there may be several
	hangUp  bool     // close the connection: the rest of the request is not read
	kept    bool     // what is wrong is in a dead letter, or was counted as refused
}

// write sends a.
func (a *answer) write(w http.ResponseWriter) {
	n := notice{Code: a.code, Message: a.message, Meta: &meta{Errors: a.errors}}
	if a.errors == nil {
		n.Meta.Errors = []string{a.message}
	}
	if a.header[0] != "" {
		w.Header().Set(a.header[0], a.header[1])
	}
	if a.hangUp {
		w.Header().Set("Connection", "close")
	}
	writeJSON(w, a.status, appendJSON(nil, n))
}

// writeJSON sends body, which is JSON. That a client is gone before it reads
// the answer changes nothing here.
func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = []string{"application/json"}
	w.WriteHeader(status)
	w.Write(body)
}

// busy returns the answer for what should be sent again later.
func busy(code, message string) *answer {
	return &answer{status: http.StatusServiceUnavailable, header: [2]string{"Retry-After", retryAfter}, code: code, message: message}
}

// notTaken returns the answer for events that the queue did not take, nil if it
// took them.
func notTaken(res result) *answer {
	switch res.code {
	case "":
		return nil
	case codeQueueFull:
		return busy(res.code, "the queue is full; nothing of this request was kept")
	default:
		return busy(res.code, "the queue failed; this request may or may not have been kept: send it again, with the same messageId if it has one")
	}
}

// unauthorized returns the answer for a request without the key.
func unauthorized() *answer {
	return &answer{
		status: http.StatusUnauthorized, header: [2]string{"WWW-Authenticate", `Basic realm="trackd"`}, code: codeUnauthorized,
		message: "the ingest key is missing or wrong; send it as the user name of Basic auth, or as writeKey in the body",
	}
}

// notFound returns the answer for a path that is not served. It tells clients
// of the older Track API, which has other paths, from mistyped ones.
func notFound(path string) *answer {
	a := &answer{status: http.StatusNotFound, code: codeNotFound, message: "trackd serves POST /v1/track and /v1/batch"}
	if strings.HasPrefix(path, "/api/") {
		a.message = "this is a path of Customer.io's Track API, which trackd does not carry: " +
			"it serves the Data Pipelines API, POST /v1/track and /v1/batch; use an SDK for that"
	}
	return a
}

// bad returns the answer for an event or a batch that is rejected.
func bad(err *event.Error) *answer {
	status := http.StatusBadRequest
	if err.Code == event.Oversize {
		status = http.StatusRequestEntityTooLarge
	}
	return &answer{status: status, code: string(err.Code), message: err.Error(), errors: err.Texts(), kept: true}
}

// bodyTooLarge returns the answer for a body of more than limit bytes.
func bodyTooLarge(limit int) *answer {
	return &answer{
		status: http.StatusRequestEntityTooLarge, code: string(event.Oversize), hangUp: true,
		message: fmt.Sprintf("the body is larger than %d bytes", limit),
	}
}

// noMemory returns the answer for a body that found no memory beside others.
func noMemory() *answer {
	a := busy(codeBusy, "too many large requests are in work; try again later")
	a.hangUp = true
	return a
}

// unknownEncoding returns the answer for a body nobody here can decode.
func unknownEncoding(encoding string) *answer {
	return &answer{
		status: http.StatusUnsupportedMediaType, header: [2]string{"Accept-Encoding", "gzip"}, code: codeEncoding,
		message: fmt.Sprintf("content encoding %.40q is not known here; send gzip or none", encoding), hangUp: true,
	}
}

// fault is what is wrong with one item of a batch.
type fault struct {
	Index   int    `json:"index"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// maxFaults bounds the faults listed in one answer. Items past it are counted.
const maxFaults = 1000

// batchReply answers a batch that was read.
type batchReply struct {
	Accepted uint64  `json:"accepted"`
	Rejected uint64  `json:"rejected"`
	Refused  uint64  `json:"refused"`
	Errors   []fault `json:"errors"` // at most maxFaults, fewer while memory for replies is short

	text int64 // what Errors hold and their JSON takes, about
	cut  bool  // an item is missing in Errors, and so are those after it
}

// add adds what became of one chunk.
func (r *batchReply) add(c counts) {
	r.Accepted += c.accepted
	r.Rejected += c.rejected
	r.Refused += c.refused
}
