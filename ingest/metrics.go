package ingest

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are the counters of ingest. They count since the start of the
// process; what the queue holds is its own account.
type metrics struct {
	bounced    map[string]prometheus.Counter
	accepted   map[source]prometheus.Counter
	rejected   map[source]prometheus.Counter
	refused    map[string]prometheus.Counter
	surrogates prometheus.Counter
}

// refusals lists every reason for which an event is refused, that is, not kept:
//
//   - queue_full: the queue has no room
//   - rejects_full: it was bad, and rejects have no room
//   - excluded: the accept setting excludes it, and there are samples enough
//   - unavailable: the queue failed, and may have kept it all the same
//   - unfinished: its line stopped arriving
//
// What was turned back before it was read as events is counted by request: see
// bouncedReasons.
func refusals() []string {
	return []string{codeQueueFull, reasonRejectsFull, reasonExcluded, codeUnavailable, codeUnfinished}
}

// newMetrics registers the metrics with reg, every label value present.
func newMetrics(reg prometheus.Registerer) *metrics {
	auto := promauto.With(reg)
	taken := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "trackd_events_taken_total",
		Help: "Events made durable, by the listener they came through: accepted to be sent, or rejected and kept as dead letters.",
	}, []string{"source", "outcome"})
	refused := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "trackd_events_refused_total",
		Help: "Events that were read and not kept, by reason.",
	}, []string{"reason"})
	bounced := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "trackd_requests_bounced_total",
		Help: "Requests, connections and streams of lines that were turned back, so that nothing of them is kept, by reason.",
	}, []string{"reason"})

	m := &metrics{
		bounced:  make(map[string]prometheus.Counter),
		accepted: make(map[source]prometheus.Counter),
		rejected: make(map[source]prometheus.Counter),
		refused:  make(map[string]prometheus.Counter),
		surrogates: auto.NewCounter(prometheus.CounterOpts{
			Name: "trackd_ingest_surrogates_replaced_total",
			Help: "Halves of surrogate pairs in accepted events, left of characters that a client cut in two, replaced by U+FFFD.",
		}),
	}
	for _, from := range []source{sourceSocket, sourceHTTP} {
		m.accepted[from] = taken.WithLabelValues(string(from), "accepted")
		m.rejected[from] = taken.WithLabelValues(string(from), "rejected")
	}
	for _, reason := range refusals() {
		m.refused[reason] = refused.WithLabelValues(reason)
	}
	for _, reason := range bouncedReasons() {
		m.bounced[reason] = bounced.WithLabelValues(reason)
	}
	return m
}

// count adds what one Append meant.
func (m *metrics) count(from source, res result) {
	if res.accepted > 0 {
		m.accepted[from].Add(float64(res.accepted))
	}
	if res.rejected > 0 {
		m.rejected[from].Add(float64(res.rejected))
	}
	if res.excluded > 0 {
		m.refused[reasonExcluded].Add(float64(res.excluded))
	}
	if n := res.refused - res.excluded; n > 0 {
		m.refused[res.reason].Add(float64(n))
	}
}
