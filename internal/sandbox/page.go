package sandbox

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	pageCalls  = 50 // shown
	pageEvents = 20 // shown of one call
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed style.css
	styleCSS string
)

// pageTemplate parses page.html, which never changes, once.
var pageTemplate = sync.OnceValues(func() (*template.Template, error) {
	return template.New("page.html").Parse(pageHTML)
})

// shownCall is a call as the page shows it.
type shownCall struct {
	Anchor, At, Path, Answer string
	Events                   []shownEvent
	Body                     string
}

type shownEvent struct {
	Type, Name, UserID, AnonymousID string
	Problems                        []string
}

// showPage shows the counts, the trouble in force and the latest calls. It has no
// script; with ?refresh=SECONDS the browser asks again by itself.
func (s *Server) showPage(w http.ResponseWriter, r *http.Request) {
	page, err := pageTemplate()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var shown struct {
		Received Received
		Trouble  []string
		Refresh  int
		Most     int
		Calls    []shownCall
	}
	shown.Received, shown.Trouble, shown.Most = s.Received(), s.Trouble().names(), pageCalls
	if seconds, err := strconv.Atoi(r.FormValue("refresh")); err == nil && seconds > 0 {
		shown.Refresh = seconds
	}
	for i, e := range s.counters.latest(pageCalls) {
		call := e.show()
		line := shownCall{Anchor: fmt.Sprint("call-", i), At: call.At.Format("15:04:05.000"), Path: call.Path, Answer: string(call.Broken)}
		if call.Status != 0 {
			line.Answer = strconv.Itoa(call.Status)
		}
		for _, event := range e.call.events[:min(len(e.call.events), pageEvents)] {
			name := event.name
			if event.groupID != "" && name == "" {
				name = event.groupID
			}
			line.Events = append(line.Events, shownEvent{event.callType, name, event.userID, event.anonymousID, event.problems})
		}
		if more := len(e.call.events) - pageEvents; more > 0 {
			line.Events = append(line.Events, shownEvent{Type: fmt.Sprintf("and %d more", more)})
		}
		body := call.Body.Clone() // Indent works in place
		if body.Indent(jsontext.WithIndent("  ")) == nil {
			line.Body = string(body)
		}
		shown.Calls = append(shown.Calls, line)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	_ = page.Execute(w, shown) // an error means that the client has left
}

// showStyle serves the page's style sheet.
func showStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	fmt.Fprint(w, styleCSS)
}
