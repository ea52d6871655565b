package sender

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"trackd/event"
	"trackd/internal/status"
	"trackd/queue"
)

// metrics is what the sender counts. Every label value is there from the start.
type metrics struct {
	delivered map[event.Type]prometheus.Counter
	latency   prometheus.Histogram // from taking an event to its delivery
	buried    map[queue.Reason]prometheus.Counter
	attempts  map[result]prometheus.Counter
	duration  prometheus.Histogram // of one request
	states    map[State]prometheus.Gauge
	released  map[release]prometheus.Counter
}

// release names why an event may go before an earlier one of the same person. The
// set is closed: it labels metrics.
type release string

const (
	releasedHold    release = "hold"    // the earlier one has failed and held it up for long
	releasedWindow  release = "window"  // the window was full and the workers idle
	releasedOpinion release = "opinion" // to find out whether the earlier one is bad, or the upstream
)

// reasons are those the sender can bury for.
func reasons() []queue.Reason {
	return []queue.Reason{queue.Rejected, queue.TooLarge, queue.Poison, queue.Expired}
}

func newMetrics(reg prometheus.Registerer, rate func() float64) *metrics {
	auto := promauto.With(reg)
	m := &metrics{
		duration: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "trackd_attempt_duration_seconds",
			Help:    "Duration of requests to the destination.",
			Buckets: []float64{.001, .005, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		latency: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "trackd_delivery_latency_seconds",
			Help:    "Time from taking an event to its delivery.",
			Buckets: []float64{.01, .05, .25, 1, 5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600, 72 * 3600},
		}),
		delivered: map[event.Type]prometheus.Counter{},
		buried:    map[queue.Reason]prometheus.Counter{},
		attempts:  map[result]prometheus.Counter{},
		states:    map[State]prometheus.Gauge{},
		released:  map[release]prometheus.Counter{},
	}
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trackd_rate",
		Help: "Events per second the sender allows itself now.",
	}, rate)
	m.seed(auto)
	return m
}

func (m *metrics) seed(auto promauto.Factory) {
	buried := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "trackd_events_buried_total",
		Help: "Accepted events that became dead letters, by reason.",
	}, []string{"reason"})
	for _, r := range reasons() {
		m.buried[r] = buried.WithLabelValues(string(r))
	}
	delivered := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "trackd_events_delivered_total",
		Help: "Events the destination has taken, by type of call.",
	}, []string{"type"})
	for _, t := range event.Types() {
		m.delivered[t] = delivered.WithLabelValues(t.String())
	}
	released := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "trackd_order_released_total",
		Help: "Exceptions from the order of each person's events, by reason.",
	}, []string{"reason"})
	for _, r := range []release{releasedHold, releasedWindow, releasedOpinion} {
		m.released[r] = released.WithLabelValues(string(r))
	}
	attempts := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "trackd_attempts_total",
		Help: "Requests to the destination, by what came of them.",
	}, []string{"result"})
	for _, r := range results() {
		m.attempts[r] = attempts.WithLabelValues(string(r))
	}
	states := auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "trackd_upstream_state",
		Help: "1 for the state the upstream is in, 0 for the others.",
	}, []string{"state"})
	for _, s := range status.States() {
		m.states[s] = states.WithLabelValues(string(s))
	}
}

// settled counts what became of d.
func (m *metrics) settled(o queue.Outcome, d queue.Delivery, now time.Time) {
	switch o.Verb {
	case queue.Delivered:
		m.delivered[d.Event.Type].Inc()
		m.latency.Observe(max(now.Sub(d.Taken), 0).Seconds())
	case queue.Bury:
		m.buried[o.Reason].Inc()
	}
}

// state shows which state the upstream is in.
func (m *metrics) state(now State) {
	for s, gauge := range m.states {
		if s == now {
			gauge.Set(1)
		} else {
			gauge.Set(0)
		}
	}
}
