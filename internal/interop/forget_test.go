package interop

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that writes and closes cannot know that the queue is full, and loses
// its event. The operator is told, and how many there were.
func TestWhatIsWrittenAndForgottenIsLostWhenTheQueueIsFull(t *testing.T) {
	d := startDaemon(t, newStand(t).url+"/v1", "TRACKD_QUEUE_MIN_FREE_BYTES=1000000GiB")
	const clients = 25
	for i := range clients {
		conn, err := net.Dial("unix", d.socket)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(patience))
		if _, err := fmt.Fprintf(conn, `{"event":"Application Opened","userId":"user-%d"}`+"\n", i); err != nil {
			t.Errorf("client %d sees %v, want nothing", i, err)
		}
		if err := conn.Close(); err != nil {
			t.Errorf("client %d sees %v, want nothing", i, err)
		}
	}
	await(t, "every lost event to be counted", func() bool {
		return strings.Contains(d.metrics(), fmt.Sprintf(`trackd_events_refused_total{reason="queue_full"} %d`+"\n", clients))
	})
	s := d.status()
	if s.Account.Taken != 0 {
		t.Errorf("%d events were taken, want none", s.Account.Taken)
	}
	if !strings.Contains(s.Queue.Full, "min_free_bytes") {
		t.Errorf("the status says %q of the full queue, want why it is", s.Queue.Full)
	}
	if resp, err := http.Get("http://" + d.ops + "/readyz"); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %v, %v, want 503", resp, err)
	}
}

// metrics returns what a scrape sees.
func (d *daemon) metrics() string {
	d.t.Helper()
	resp, err := http.Get("http://" + d.ops + "/metrics")
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}
