package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

// 900 clients that say nothing, on three times fewer descriptors, take neither
// the good clients' places nor the operator's.
func TestIdleClientsCannotUseUpTheDescriptors(t *testing.T) {
	box, url := newSandbox(t)
	d := newProcess(t, url)
	if err := os.Symlink(d.exe, d.path("trackd")); err != nil {
		t.Fatal(err)
	}
	d.wrap = []string{"sh", "-c", `ulimit -n 300 && exec "$0" "$@"`}
	d.start()
	d.awaitReady()
	good := unixClient(d.path("http.sock"))
	t.Cleanup(good.CloseIdleConnections)

	for n := range 900 {
		socket := []string{"events.sock", "http.sock", "admin.sock"}[n%3]
		conn, err := net.Dial("unix", d.path(socket))
		if err != nil {
			t.Fatalf("client %d cannot connect to %s: %v", n, socket, err)
		}
		t.Cleanup(func() { conn.Close() })
		if n%100 != 99 {
			continue
		}
		resp, err := good.Post("http://trackd/v1/track", "application/json",
			strings.NewReader(fmt.Sprintf(`{"event":"Application Opened","userId":"u","messageId":"m-%d"}`, n)))
		if err != nil {
			t.Fatalf("a good client beside %d idle ones: %v", n, err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("a good client beside %d idle ones: %s", n, resp.Status)
		}
		d.status()
	}
	conn, err := net.Dial("unix", d.path("events.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(`{"event":"Application Opened","userId":"u","messageId":"m-last"}` + "\n")); err != nil {
		t.Fatal(err)
	}
	until(t, "what was taken to be delivered", func() bool { return len(box.IDs()) == 10 })
	for _, c := range d.status().Clients.Connections {
		if c.Listener != "admin_http" && (c.ClosedIdle < 200 || c.TurnedAway != 0 || c.Open > c.Max+8) {
			t.Errorf("%+v: want idle clients closed and nobody turned away", c)
		}
	}
}
