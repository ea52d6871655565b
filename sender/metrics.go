package sender

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"trackd/queue"
)

// metrics is what the sender counts. Every label value is there from the start.
type metrics struct {
	delivered prometheus.Counter
	latency   prometheus.Histogram
	buried    map[queue.Reason]prometheus.Counter
	attempts  map[result]prometheus.Observer
	states    map[State]prometheus.Gauge
}

// reasons are those the sender can bury for.
func reasons() []queue.Reason {
	return []queue.Reason{queue.Rejected, queue.TooLarge, queue.Poison, queue.Expired}
}

func newMetrics(reg prometheus.Registerer, rate func() float64) *metrics {
	auto := promauto.With(reg)
	m := &metrics{
		delivered: auto.NewCounter(prometheus.CounterOpts{
			Name: "trackd_events_delivered_total",
			Help: "Events the destination has taken.",
		}),
		latency: auto.NewHistogram(prometheus.HistogramOpts{
			Name:    "trackd_delivery_latency_seconds",
			Help:    "Time from taking an event at the door to its delivery.",
			Buckets: []float64{.01, .05, .25, 1, 5, 30, 120, 600, 3600, 6 * 3600, 24 * 3600, 72 * 3600},
		}),
		buried:   map[queue.Reason]prometheus.Counter{},
		attempts: map[result]prometheus.Observer{},
		states:   map[State]prometheus.Gauge{},
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
	attempts := auto.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "trackd_attempt_duration_seconds",
		Help:    "Duration of requests to the destination, by what came of them.",
		Buckets: []float64{.001, .005, .02, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"result"})
	for _, r := range results() {
		m.attempts[r] = attempts.WithLabelValues(string(r))
	}
	states := auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "trackd_line_state",
		Help: "1 for the state the line to the destination is in, 0 for the others.",
	}, []string{"state"})
	for _, s := range States() {
		m.states[s] = states.WithLabelValues(string(s))
	}
}

// settled counts one outcome.
func (m *metrics) settled(o queue.Outcome, taken, now time.Time) {
	switch o.Verb {
	case queue.Delivered:
		m.delivered.Inc()
		m.latency.Observe(max(now.Sub(taken), 0).Seconds())
	case queue.Bury:
		m.buried[o.Reason].Inc()
	}
}

// state shows which state the line is in.
func (m *metrics) state(now State) {
	for s, gauge := range m.states {
		if s == now {
			gauge.Set(1)
		} else {
			gauge.Set(0)
		}
	}
}
