package interop

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"
	"testing"
)

// answers are what trackd may say to a request, each as the SDK sees it.
func answers() []int {
	return []int{
		http.StatusBadRequest,            // not an event, or not a batch
		http.StatusUnauthorized,          // the ingest key is wrong
		http.StatusNotFound,              // a path that trackd does not have
		http.StatusRequestEntityTooLarge, // an event or a batch is too large
		http.StatusServiceUnavailable,    // the queue is full, or stops
	}
}

// stubbornly gives each event the answer that its user names, once, and 200 to
// every further try.
type stubbornly struct {
	mu    sync.Mutex
	tries map[int]int // by answer; guarded by mu
}

func (s *stubbornly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client left
	}
	answer, err := strconv.Atoi(string(regexp.MustCompile(`answer-(\d+)`).FindSubmatch(body)[1]))
	if err != nil {
		panic(err) // the pattern holds digits
	}
	s.mu.Lock()
	s.tries[answer]++
	first := s.tries[answer] == 1
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if first {
		if answer == http.StatusServiceUnavailable {
			w.Header().Set("Retry-After", "5") // as trackd says
		}
		w.WriteHeader(answer)
	}
	io.WriteString(w, "{}")
}

// The table "What the SDK does with it" of docs/clients.md.
func TestWhatEachSDKDoesWithEachAnswer(t *testing.T) {
	triedAgain := map[string][]int{
		"cdp":       {401, 404, 413, 503},
		"pipelines": {503},
		"segment":   {503},
	}
	eachSDK(t, func(t *testing.T, s sdk) {
		stub := &stubbornly{tries: map[int]int{}}
		srv := httptest.NewServer(stub)
		t.Cleanup(srv.Close)
		calls := lifecycle(s.name, len(answers()))
		for i, answer := range answers() {
			calls[i]["userId"] = fmt.Sprintf("answer-%d", answer)
		}
		all := runApp(t, plan{SDK: s.name, URL: srv.URL, Events: calls, Options: s.eager})
		if len(all) != len(calls) {
			t.Fatalf("%d verdicts for %d events", len(all), len(calls))
		}
		want := map[string]bool{}
		for _, answer := range triedAgain[s.name] {
			want[fmt.Sprintf("answer-%d", answer)] = true
		}
		for _, v := range all {
			if v.OK != want[v.User] {
				t.Errorf("%s: delivered at last %v, want %v (%s)", v.User, v.OK, want[v.User], v.Error)
			}
			// Only this SDK waits as long as trackd asks it to.
			if waited := v.MS >= 5000; v.User == "answer-503" && waited != (s.name == "pipelines") {
				t.Errorf("after 503 with Retry-After: 5 it tried again after %d ms", v.MS)
			}
		}
	})
}
