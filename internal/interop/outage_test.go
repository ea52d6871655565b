package interop

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	// outageCalls are spread evenly over an outage. They do not fill the last
	// batch of the SDKs that send 15 at once.
	outageCalls = 125

	// afterOutage bounds how long an SDK may go on trying once all is well: the
	// longest pause between two tries of any of them is a minute.
	afterOutage = 3 * time.Minute
)

// TestOutages measures what each SDK loses while the far side is down, alone
// and with trackd between them. It takes as long as the outages named in
// TRACKD_INTEROP_OUTAGES, such as 1m,10m, and prints the table.
func TestOutages(t *testing.T) {
	lengths := outagesWanted(t)
	needSDKs(t)
	results := &table{}
	t.Run("all", func(t *testing.T) { // returns when the parallel ones have
		for _, s := range sdks() {
			for _, length := range lengths {
				t.Run(fmt.Sprintf("%s/%v", s.name, length), func(t *testing.T) {
					t.Parallel()
					measureOutage(t, results, s, length)
				})
			}
			t.Run(s.name+"/kill", func(t *testing.T) {
				t.Parallel()
				measureKill(t, results, s)
			})
		}
	})
	t.Logf("events lost, of %d\n%s", outageCalls, results)
}

// outagesWanted reads the lengths, or skips the test.
func outagesWanted(t *testing.T) (lengths []time.Duration) {
	t.Helper()
	const variable = "TRACKD_INTEROP_OUTAGES"
	wanted := os.Getenv(variable)
	if wanted == "" {
		t.Skipf("outages take their time: set %s=1m,10m to measure them", variable)
	}
	for word := range strings.SplitSeq(wanted, ",") {
		length, err := time.ParseDuration(word)
		if err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
		lengths = append(lengths, length)
	}
	return lengths
}

// way is how an app reaches the far side.
type way struct {
	name string
	url  string
	opts options
}

// measureOutage breaks the far side, lets apps send evenly while it is broken,
// mends it and counts what arrives.
func measureOutage(t *testing.T, results *table, s sdk, length time.Duration) {
	far := newStand(t)
	far.breaks()
	d := startDaemon(t, far.url+"/v1")
	ways := []way{{"alone", far.url, nil}, {"with trackd", "http://" + d.http, nil}}
	sent, apps := startApps(t, s, ways, length/outageCalls)
	for _, a := range apps {
		a.awaitMade(1)
	}
	time.Sleep(length) // the outage itself
	far.mends()
	for i, w := range ways {
		all := apps[i].finish(afterOutage)
		d.awaitDrained()
		lost := without(users(sent[i]), far.arrived())
		if w.name != "alone" && len(lost) > 0 {
			t.Errorf("%s %s lost %d events: %s", s.name, w.name, len(lost), few(lost))
		}
		results.add(s, w.name, fmt.Sprintf("outage of %v", length), len(lost), patienceOf(all))
	}
}

// startApps starts an app for each way, all on the same plan.
func startApps(t *testing.T, s sdk, ways []way, every time.Duration) (sent [][]call, apps []*app) {
	for _, w := range ways {
		calls := lifecycle(s.name+" "+w.name, outageCalls)
		sent = append(sent, calls)
		apps = append(apps, startApp(t, plan{SDK: s.name, URL: w.url, Events: calls, Every: every.Milliseconds(), Options: w.opts, Leave: true}))
	}
	return sent, apps
}

// patienceOf tells after how long the SDK gave up on events, if it did.
func patienceOf(all []verdict) string {
	var least, most int64
	for _, v := range all {
		if v.OK {
			continue
		}
		if least == 0 || v.MS < least {
			least = v.MS
		}
		most = max(most, v.MS)
	}
	if most == 0 {
		return "gave up on none"
	}
	return fmt.Sprintf("gave up after %.1f to %.1f s", float64(least)/1000, float64(most)/1000)
}

// measureKill breaks the far side, lets apps make all their calls at once,
// kills them once trackd has answered for all that was sent to it, mends the
// far side and counts what arrives. What trackd cannot save is what the SDK
// still held back to fill a batch.
func measureKill(t *testing.T, results *table, s sdk) {
	far := newStand(t)
	far.breaks()
	d := startDaemon(t, far.url+"/v1")
	ways := []way{{"alone", far.url, nil}, {"with trackd", "http://" + d.http, nil}}
	answered := []int{0, outageCalls - outageCalls%s.batch}
	if s.eager != nil {
		ways = append(ways, way{"with trackd, batches of 1", "http://" + d.http, s.eager})
		answered = append(answered, outageCalls)
	}
	sent, apps := startApps(t, s, ways, 0)
	for i, a := range apps {
		a.awaitMade(outageCalls)
		a.awaitVerdicts(answered[i])
	}
	for _, a := range apps {
		a.kill()
	}
	far.mends()
	d.awaitDrained()
	arrived := far.arrived()
	for i, w := range ways {
		lost := without(users(sent[i]), arrived)
		if w.name != "alone" && len(lost) != outageCalls-answered[i] {
			t.Errorf("%s %s lost %d events, want %d: %s", s.name, w.name, len(lost), outageCalls-answered[i], few(lost))
		}
		results.add(s, w.name, "process killed in an outage", len(lost), "")
	}
}

// table collects what was measured.
type table struct {
	mu   sync.Mutex
	rows [][]string // guarded by mu
}

func (r *table) add(s sdk, way, event string, lost int, remark string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rows = append(r.rows, []string{s.pkg, s.option, event, way, fmt.Sprint(lost), remark})
}

func (r *table) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out strings.Builder
	slices.SortFunc(r.rows, slices.Compare)
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "sdk\toption\tevent\tway\tlost\tremark")
	for _, row := range r.rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	w.Flush()
	return out.String()
}
