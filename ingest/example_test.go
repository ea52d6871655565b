package ingest_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"trackd/ingest"
	"trackd/queue"
)

// printer is a queue that prints what it is given.
type printer struct{}

func (printer) Append(_ context.Context, b queue.Batch) error {
	for _, ev := range b.Events {
		fmt.Println("event", ev.ID)
	}
	for _, r := range b.Rejects {
		fmt.Println("reject", r.Reason)
	}
	return nil
}

// Reserve promises room, of which there is always enough.
func (printer) Reserve(context.Context, int64) (*queue.Reservation, error) { return nil, nil }

// A client writes lines, closes its half, and reads: the last reply counts.
func ExampleServer_Run() {
	dir, err := os.MkdirTemp("", "trackd")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "events.sock"))
	if err != nil {
		panic(err)
	}
	server, err := ingest.New(ingest.Options{Queue: printer{}})
	if err != nil {
		panic(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- server.Run(ctx, ingest.Listeners{Lines: []net.Listener{ln}}) }()

	client, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(client, `{"event":"Application Opened","userId":"u1","messageId":"m1"}`)
	fmt.Fprintln(client, `{"event":"Application Opened"`)
	client.(*net.UnixConn).CloseWrite()
	var last string
	for replies := bufio.NewScanner(client); replies.Scan(); {
		last = replies.Text()
	}
	fmt.Println(last)

	stop()
	fmt.Println(<-done)
	// Output:
	// event m1
	// reject malformed
	// {"accepted":1,"rejected":1,"refused":0}
	// <nil>
}

func ExampleServer_Handler() {
	server, err := ingest.New(ingest.Options{Queue: printer{}})
	if err != nil {
		panic(err)
	}
	answer := httptest.NewRecorder()
	server.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/v1/track",
		strings.NewReader(`{"event":"Application Opened","userId":"u1","messageId":"m2"}`)))
	fmt.Println(answer.Code, answer.Body)
	// Output:
	// event m2
	// 200 {}
}
