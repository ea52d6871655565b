package ingest

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"trackd/event"
	"trackd/queue"
)

// manyItems returns the body of a batch of n events and as many bad items, which
// are of several chunks when n is large.
func manyItems(n int, members string) string {
	return `{` + members + `"batch":[` + strings.TrimSuffix(strings.Repeat(opened+`,{"event":7},`, n), ",") + `]}`
}

// postBatch sends body and returns the status, the code of an error and the
// counts of any other reply.
func postBatch(t *testing.T, s *Server, body string) (status int, code, counts string, reply batchReply) {
	t.Helper()
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, request("POST", "/v1/batch", body))
	var e said
	if err := json.Unmarshal(w.Body.Bytes(), &e, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatalf("reply %q: %v", w.Body, err)
	}
	if w.Code != 200 {
		return w.Code, e.Code, "", reply
	}
	if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil {
		t.Fatalf("reply %q: %v", w.Body, err)
	}
	return w.Code, "", fmt.Sprintf("%d/%d/%d", reply.Accepted, reply.Rejected, reply.Refused), reply
}

func TestALargeBatchIsCommittedInChunksWithRoomForAllOfThem(t *testing.T) {
	const n = 3000
	q := &shelf{}
	status, _, counts, reply := postBatch(t, open(t, q), manyItems(n, ""))
	if status != 200 || counts != "3000/3000/0" {
		t.Errorf("%d, counts %s, want 200 and 3000/3000/0", status, counts)
	}
	if len(reply.Errors) < 100 || len(reply.Errors) > maxFaults || reply.Errors[1].Index != 3 {
		t.Errorf("%d faults, the second %+v, want hundreds, of every second item", len(reply.Errors), reply.Errors[1])
	}
	q.checkKept(t, n, n)
	if len(q.sizes) < 2*n/maxBatch || len(q.asked) != 1 || q.reserved != 0 {
		t.Errorf("%d chunks, reservations %v, %d bytes never released; want several, one, none", len(q.sizes), q.asked, q.reserved)
	}
	for _, size := range q.sizes {
		if size > maxBatch {
			t.Errorf("a chunk of %d, want at most %d", size, maxBatch)
		}
	}
}

func TestABatchOfOneChunkNeedsNoReservation(t *testing.T) {
	q := &shelf{}
	if status, _, counts, _ := postBatch(t, open(t, q), manyItems(100, "")); status != 200 || counts != "100/100/0" {
		t.Errorf("%d, counts %s", status, counts)
	}
	if len(q.sizes) != 1 || len(q.asked) != 0 {
		t.Errorf("%d chunks, reservations %v, want one and none", len(q.sizes), q.asked)
	}
}

func TestLargeItemsMakeSmallerChunks(t *testing.T) {
	q := &shelf{}
	item := strings.Replace(opened, "}", `,"x":"`+strings.Repeat("x", 20_000)+`"}`, 1)
	body := `{"batch":[` + strings.TrimSuffix(strings.Repeat(item+",", 100), ",") + `]}`
	if status, _, counts, _ := postBatch(t, open(t, q), body); status != 200 || counts != "100/0/0" {
		t.Errorf("%d, counts %s", status, counts)
	}
	for _, size := range q.sizes {
		if size > maxArena/20_000 {
			t.Errorf("a chunk of %d events of 20 KB, want at most %d", size, maxArena/20_000)
		}
	}
}

func TestRoomForABatchIsSizedExactlyWhereTheBoundFindsNone(t *testing.T) {
	const n = 3000
	q := &shelf{}
	open1 := open(t, q)
	postBatch(t, open1, manyItems(n, ""))
	exact := int64(0)
	for _, ev := range q.events {
		exact += queue.Cost(ev)
	}
	bound := q.asked[0]
	if bound < exact {
		t.Fatalf("bounded by %d bytes, and %d are needed", bound, exact)
	}

	for _, c := range []struct {
		room   int64
		status int
		asked  int
		kept   int
	}{{bound, 200, 1, n}, {bound - 1, 200, 2, n}, {exact, 200, 2, n}, {exact - 1, 503, 2, 0}} {
		q := &shelf{room: c.room}
		s := open(t, q)
		status, code, _, _ := postBatch(t, s, manyItems(n, ""))
		if status != c.status || status == 503 && code != codeQueueFull {
			t.Errorf("room for %d bytes: %d %s, want %d", c.room, status, code, c.status)
		}
		if len(q.asked) != c.asked || q.asked[c.asked-1] != [...]int64{bound, exact}[c.asked-1] || q.reserved != 0 {
			t.Errorf("room for %d bytes: asked for %v and holds %d, want %d questions", c.room, q.asked, q.reserved, c.asked)
		}
		q.checkKept(t, c.kept, c.kept)
		if refused := testutil.ToFloat64(s.metrics.refused[codeQueueFull]); c.status == 503 && refused != 2*n {
			t.Errorf("room for %d bytes: %v counted as refused, want all %d items", c.room, refused, 2*n)
		}
	}
}

func TestABatchThatBreaksOffIsNotAnsweredYes(t *testing.T) {
	for name, fail := range map[string]func(*shelf){
		"before the second chunk is kept": func(q *shelf) {
			q.before = func(queue.Batch) error {
				if len(q.sizes) == 1 {
					return errors.New("input/output error")
				}
				return nil
			}
		},
		"after the first chunk is kept": func(q *shelf) { q.after = errors.New("input/output error") },
	} {
		q := &shelf{}
		fail(q)
		s := open(t, q)
		if status, code, _, _ := postBatch(t, s, manyItems(3000, "")); status != 503 || code != codeUnavailable {
			t.Errorf("%s: %d %s, want 503 %s", name, status, code, codeUnavailable)
		}
		taken := testutil.ToFloat64(s.metrics.accepted[sourceHTTP]) + testutil.ToFloat64(s.metrics.rejected[sourceHTTP])
		if refused := testutil.ToFloat64(s.metrics.refused[codeUnavailable]); taken+refused != 6000 || len(q.sizes) != 1 || q.reserved != 0 {
			t.Errorf("%s: %v taken and %v refused of 6000, %d chunks kept, %d bytes held", name, taken, refused, len(q.sizes), q.reserved)
		}
	}
}

func TestGoodItemsPassWhereBadOnesFindNoRoom(t *testing.T) {
	const body = `{"batch":[` + opened + `,7,{"event":"Order Placed","userId":"u"},{"type":"page","userId":"u"}]}`
	for _, c := range []struct {
		after           error
		counts          string
		full, excluded_ float64
	}{
		{nil, "1/3/0", 0, 0},
		{queue.ErrRejectsFull, "1/2/1", 1, 0},
		{queue.ErrSamplesFull, "1/1/2", 0, 2},
		{errors.Join(queue.ErrSamplesFull, queue.ErrRejectsFull), "1/0/3", 1, 2},
	} {
		s := open(t, &shelf{after: c.after})
		status, _, counts, reply := postBatch(t, s, body)
		var faults []string
		for _, f := range reply.Errors {
			faults = append(faults, fmt.Sprintf("%d %s", f.Index, f.Code))
		}
		if want := "[1 malformed 2 not_lifecycle 3 not_lifecycle]"; status != 200 || counts != c.counts || fmt.Sprint(faults) != want {
			t.Errorf("%v: %d, counts %s, faults %v; want 200, %s, %s", c.after, status, counts, faults, c.counts, want)
		}
		full, excluded := testutil.ToFloat64(s.metrics.refused[reasonRejectsFull]), testutil.ToFloat64(s.metrics.refused[reasonExcluded])
		if full != c.full || excluded != c.excluded_ {
			t.Errorf("%v: %v refused for want of room and %v as excluded, want %v and %v", c.after, full, excluded, c.full, c.excluded_)
		}
	}
}

func TestHalfAnEmojiIsReplacedAndCounted(t *testing.T) {
	const cut = `{"event":"Application Opened","userId":"u","messageId":"m","x":"\ud83d \ude00 \ud83d\ude00"}`
	q := &shelf{}
	s := open(t, q)
	for _, r := range []struct{ path, body string }{
		{"/v1/track", cut},
		{"/v1/batch", `{"batch":[` + cut + `,{"x":"\ud800"}],"context":{"\udc00":1}}`},
	} {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, request("POST", r.path, r.body))
		if w.Code != 200 {
			t.Errorf("%s: %d %s", r.path, w.Code, w.Body)
		}
	}
	events, _ := q.kept()
	if len(events) != 2 || !strings.Contains(string(events[0].Body), `"x":"\ufffd \ufffd \ud83d\ude00"`) || !strings.Contains(string(events[1].Body), `"\ufffd":1`) {
		t.Errorf("got %+v", events)
	}
	if n := testutil.ToFloat64(s.metrics.surrogates); n != 5 { // two, and two and that of the context
		t.Errorf("%v counted as replaced, want 5", n)
	}
}

func TestTheBoundOfWhatABatchCostsHolds(t *testing.T) {
	for _, body := range []string{
		manyItems(10, ""),
		manyItems(10, `"context":{"a":"`+strings.Repeat("x", 300)+`"},`),
		`{"batch":[{"event":"` + strings.Repeat("n", 20_000) + `","userId":"u","messageId":"` + strings.Repeat("m", event.MaxIDBytes) + `"}]}`,
		`{"batch":[]}`,
	} {
		items, err := event.OpenBatch([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		bound, cost := maxCost(items), int64(0)
		for item, ok := items.Next(); ok; item, ok = items.Next() {
			if ev, err := (event.Parser{Accept: event.Track}).Parse(item.Raw, time.Now()); err == nil {
				cost += queue.Cost(ev)
			}
		}
		if cost > bound {
			t.Errorf("%.60s: costs %d, bounded by %d", body, cost, bound)
		}
	}
}
