package pgqueue_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"trackd/queue"
	"trackd/queue/pgqueue"
)

// childURL, if set, makes the test binary a centre of its own: see child.
const childURL = "TRACKD_TEST_CHILD_URL"

// child leases three events, waits for a word, settles them as delivered and
// ends when another centre has the lease.
func child(url string) {
	q, err := pgqueue.Open(context.Background(), pgqueue.Options{URL: url, Name: "child", Lease: lease})
	if err != nil {
		panic(err)
	}
	var held []queue.Delivery
	for len(held) < 3 {
		some, err := q.Lease(context.Background(), 3)
		if err != nil {
			panic(err)
		}
		held = append(held, some...)
	}
	fmt.Println("leased")
	bufio.NewScanner(os.Stdin).Scan()
	fmt.Println("clear", q.Clear())
	if err := q.Settle(context.Background(), same(held, queue.Outcome{Verb: queue.Delivered})...); err != nil {
		panic(err)
	}
	for q.Epoch() != 0 {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("lost the lease")
}

// A process that is stopped, and goes on after another took over, sends nothing
// more and changes nothing.
func TestAFrozenProcessIsTakenOverAndChangesNothing(t *testing.T) {
	url := database(t)
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), childURL+"="+url)
	in, err := process.StdinPipe()
	must(t, err)
	out, err := process.StdoutPipe()
	must(t, err)
	process.Stderr = os.Stderr
	must(t, process.Start())
	defer process.Process.Kill()
	lines := bufio.NewScanner(out)
	next := func() string {
		lines.Scan()
		return lines.Text()
	}
	eventually(t, "the child to deliver", func() bool {
		return query[bool](t, url, "SELECT until > clock_timestamp() FROM trackd.drainer")
	})
	q := open(t, pgqueue.Options{URL: url})
	must(t, q.Append(t.Context(), queue.Batch{Events: events("e", 3)}))
	if got := next(); got != "leased" {
		t.Fatalf("the child said %q", got)
	}
	frozen := time.Now()
	must(t, process.Process.Signal(syscall.SIGSTOP))
	held := take(t, q, 3)
	if took := time.Since(frozen); took > lease+5*time.Second {
		t.Errorf("nobody delivered for %v, want hardly more than the lease", took)
	}
	if got := strings.Join(ids(held), " "); got != "e-000000 e-000001 e-000002" {
		t.Errorf("leased %s", got)
	}
	must(t, q.Settle(t.Context(), same(held, queue.Outcome{Verb: queue.Bury, Reason: queue.Rejected})...))
	stats(t, q)
	must(t, process.Process.Signal(syscall.SIGCONT))
	if _, err := fmt.Fprintln(in); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "clear false" {
		t.Errorf("after it was stopped the child said %q, want it to know that it may not deliver", got)
	}
	if got := next(); got != "lost the lease" {
		t.Errorf("the child said %q", got)
	}
	must(t, process.Wait())
	if s := stats(t, q); s.Dead != 3 || s.Delivered != 0 || !s.Balances() {
		t.Errorf("got %+v", s.Account)
	}
}
