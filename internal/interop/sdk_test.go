package interop

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"trackd/queue"
)

// eachSDK runs f for every SDK, at the same time.
func eachSDK(t *testing.T, f func(t *testing.T, s sdk)) {
	t.Helper()
	needSDKs(t)
	for _, s := range sdks() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			f(t, s)
		})
	}
}

// quick returns o with a shorter wait for a batch to fill than the 10 s that
// the SDKs come with, which would make up most of the time of these tests.
func (s sdk) quick(o options) options {
	if s.name == "pipelines" { // has no batches to wait for
		return o
	}
	all := options{"flushInterval": 500}
	maps.Copy(all, o)
	return all
}

// checkAllDelivered fails the test unless the SDK calls all n delivered.
func checkAllDelivered(t testing.TB, all []verdict, n int) {
	t.Helper()
	if delivered, failed := split(all); len(delivered) != n || len(failed) > 0 {
		t.Errorf("the SDK calls %d of %d events delivered, %d failed: %v", len(delivered), n, len(failed), reasons(all))
	}
}

func TestSDKSendsThroughTrackd(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		far := newStand(t)
		d := startDaemon(t, far.url+"/v1")
		calls := lifecycle(s.name, 100)
		all := runApp(t, plan{SDK: s.name, URL: "http://" + d.http, Events: calls, Options: s.quick(nil)})
		checkAllDelivered(t, all, len(calls))
		if books := d.awaitDrained(); books.Account.Delivered != uint64(len(calls)) {
			t.Errorf("delivered %d, want %d", books.Account.Delivered, len(calls))
		}
		far.checkArrived(users(calls))
		far.checkIDs(all)
	})
}

// checkIDs fails the test if an event arrived under another messageId than the
// SDK gave it.
func (s *stand) checkIDs(all []verdict) {
	s.t.Helper()
	arrived := s.arrived()
	for _, v := range all {
		if got := arrived[v.User]; v.ID != "" && !slices.Contains(got, v.ID) {
			s.t.Errorf("the event of %s arrived as %v, the SDK called it %s", v.User, got, v.ID)
		}
	}
}

func TestSDKSendsGzipThroughTrackd(t *testing.T) {
	needSDKs(t)
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1")
	calls := lifecycle("gzip", 100) // the only SDK for Node that lets its fetch be replaced
	all := runApp(t, plan{SDK: "segment", URL: "http://" + d.http, Events: calls, Gzip: true})
	checkAllDelivered(t, all, len(calls))
	d.awaitDrained()
	far.checkArrived(users(calls))
}

// The two batching SDKs learn of a batch only as a whole: they are told it is
// well, and what was bad in it lies where an operator sees it.
func TestBadItemsAmongAnSDKsBatchHarmNobodyElse(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		far := newStand(t)
		d := startDaemon(t, far.url+"/v1")
		good, bad, letters := mixed(s.name)
		calls := slices.Concat(good[:4], bad, good[4:])
		all := runApp(t, plan{SDK: s.name, URL: "http://" + d.http, Events: calls, Batch: s.name == "pipelines", Options: s.quick(nil)})
		checkAllDelivered(t, all, len(calls))
		d.checkLetters(letters)
		far.checkArrived(users(good))
	})
}

// The SDK that sends one event a request hears of each bad one.
func TestSingleBadEventIsToldToItsCaller(t *testing.T) {
	needSDKs(t)
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1")
	good, bad, _ := mixed("single")
	all := runApp(t, plan{SDK: "pipelines", URL: "http://" + d.http, Events: slices.Concat(good, bad)})
	delivered, failed := split(all)
	slices.Sort(delivered)
	slices.Sort(failed)
	if !slices.Equal(delivered, users(good)) || !slices.Equal(failed, users(bad)) {
		t.Errorf("delivered %v, failed %v; want exactly the good and the bad", delivered, failed)
	}
	for _, v := range all {
		if !v.OK && v.MS > 2000 {
			t.Errorf("%s was told after %d ms: the SDK tried again, which cannot help", v.User, v.MS)
		}
	}
	// A bad call is kept as well, whichever way it came.
	d.checkLetters(map[queue.Reason]uint64{queue.NotLifecycle: 2, queue.Invalid: 1, queue.Oversize: 1})
	far.checkArrived(users(good))
}

// While the far side is down for as long as the app lives, the SDK alone loses
// everything and trackd nothing.
func TestOutageLongerThanTheAppLosesNothing(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		far := newStand(t)
		far.breaks()
		d := startDaemon(t, far.url+"/v1")
		calls := lifecycle(s.name, 200)
		all := runApp(t, plan{SDK: s.name, URL: "http://" + d.http, Events: calls, Options: s.quick(nil)})
		checkAllDelivered(t, all, len(calls))
		if got := d.status().Account.Queued; got != uint64(len(calls)) {
			t.Errorf("%d events queued, want %d", got, len(calls))
		}
		far.mends()
		d.awaitDrained()
		far.checkArrived(users(calls))
	})
}

// A full queue must not look like success. What the SDK then does is its own
// affair: whatever it calls delivered is there, whatever it calls failed is
// not.
func TestFullQueueIsNotTakenForSuccess(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		far := newStand(t)
		d := startDaemon(t, far.url+"/v1", "TRACKD_QUEUE_MIN_FREE_BYTES=4096TiB") // full from the start
		calls := lifecycle(s.name, 30)
		a := startApp(t, plan{SDK: s.name, URL: "http://" + d.http, Events: calls, Options: s.quick(s.patient)})
		a.awaitMade(len(calls))
		await(t, "trackd to refuse", func() bool { return len(d.log.lines("queue is full")) > 0 })
		for _, v := range a.sofar() {
			if v.OK {
				t.Fatalf("the SDK calls the event of %s delivered", v.User)
			}
		}
		d.stop()
		d.start("TRACKD_QUEUE_MIN_FREE_BYTES=0")
		all := a.finish(2 * patience)
		delivered, failed := split(all)
		d.awaitDrained()
		far.checkArrived(delivered)
		if len(failed) > 0 {
			t.Errorf("with patience the SDK still gave up on %d events: %v", len(failed), reasons(all))
		}
		t.Log(longest(all))
	})
}

// longest tells how long the SDK took for its slowest verdict.
func longest(all []verdict) string {
	var most int64
	for _, v := range all {
		most = max(most, v.MS)
	}
	return fmt.Sprintf("the slowest verdict came after %v", time.Duration(most)*time.Millisecond)
}

// An SDK whose retries run out while the queue is full says so, and none of
// these events is anywhere.
func TestImpatientSDKSaysThatAFullQueueLostItsEvents(t *testing.T) {
	needSDKs(t)
	far := newStand(t)
	d := startDaemon(t, far.url+"/v1", "TRACKD_QUEUE_MIN_FREE_BYTES=4096TiB")
	calls := lifecycle("cdp", 30)
	all := runApp(t, plan{SDK: "cdp", URL: "http://" + d.http, Events: calls})
	delivered, failed := split(all)
	if len(delivered) > 0 || len(failed) != len(calls) {
		t.Errorf("delivered %d, failed %d; want all %d failed", len(delivered), len(failed), len(calls))
	}
	for why := range reasons(all) {
		if !strings.Contains(why, "503") {
			t.Errorf("the SDK says %q, want the status 503 in it", why)
		}
	}
	if got := d.status().Account.Taken; got != 0 {
		t.Errorf("%d events taken", got)
	}
	t.Log(longest(all))
}
