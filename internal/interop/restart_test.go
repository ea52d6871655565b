package interop

import (
	"testing"
	"time"
)

const (
	restartCalls = 80
	restartEvery = 25 * time.Millisecond // between two calls
	restartGap   = time.Second           // for which trackd is away
)

// disturb runs an app that sends steadily, takes trackd away twice meanwhile,
// and returns what the SDK said.
func disturb(t *testing.T, s sdk, d *daemon, calls []call, o options, end func()) []verdict {
	t.Helper()
	a := startApp(t, plan{SDK: s.name, URL: "http://" + d.http, Events: calls, Every: restartEvery.Milliseconds(), Options: s.quick(o)})
	for _, made := range []int{restartCalls / 4, restartCalls * 3 / 4} {
		a.awaitMade(made)
		end()
		time.Sleep(restartGap) // nothing happens that could be waited for
		d.start()
	}
	return a.finish(2 * patience)
}

// An SDK that retries longer than a restart takes loses nothing, however
// trackd ends.
func TestTrackdRestartsUnderAPatientSDK(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		for _, way := range []struct {
			name string
			end  func(*daemon)
		}{{"sigterm", (*daemon).stop}, {"sigkill", (*daemon).kill}} {
			t.Run(way.name, func(t *testing.T) {
				t.Parallel()
				far := newStand(t)
				d := startDaemon(t, far.url+"/v1")
				calls := lifecycle(s.name, restartCalls)
				all := disturb(t, s, d, calls, s.patient, func() { way.end(d) })
				checkAllDelivered(t, all, len(calls))
				d.awaitDrained()
				far.checkArrived(users(calls))
			})
		}
	})
}

// Whatever its settings, an SDK is never told yes for an event that does not
// arrive. It may be told no, or nothing, for one that does.
func TestTrackdIsKilledUnderAnSDKAsItComes(t *testing.T) {
	eachSDK(t, func(t *testing.T, s sdk) {
		far := newStand(t)
		d := startDaemon(t, far.url+"/v1")
		calls := lifecycle(s.name, restartCalls)
		all := disturb(t, s, d, calls, nil, d.kill)
		d.awaitDrained()
		delivered, failed := split(all)
		if len(delivered)+len(failed) != len(calls) {
			t.Errorf("%d verdicts for %d events", len(all), len(calls))
		}
		arrived := far.arrived()
		if missing := without(delivered, arrived); len(missing) > 0 {
			t.Errorf("the SDK was told yes for %d events that did not arrive: %s", len(missing), few(missing))
		}
		t.Logf("the SDK gave up on %d of %d events, %d of which did not arrive: %v",
			len(failed), len(calls), len(without(failed, arrived)), reasons(all))
	})
}
