package admin

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"trackd/internal/status"
	"trackd/queue"
)

// metrics is what operators themselves cause.
type metrics struct {
	discarded prometheus.Counter
	replayed  prometheus.Counter
}

func newMetrics(s *Server) *metrics {
	auto := promauto.With(s.opts.Registry)
	auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "trackd_build_info",
		Help: "Always 1; the version is the label.",
	}, []string{"version"}).WithLabelValues(s.opts.Version).Set(1)
	s.opts.Registry.MustRegister(newCollector(s.Status))
	return &metrics{
		discarded: auto.NewCounter(prometheus.CounterOpts{
			Name: "trackd_events_discarded_total",
			Help: "Dead letters an operator threw away, or replaced by replaying what was rejected at ingest.",
		}),
		replayed: auto.NewCounter(prometheus.CounterOpts{
			Name: "trackd_events_replayed_total",
			Help: "Dead letters an operator had queued again.",
		}),
	}
}

// gauge is one number of the status.
type gauge struct {
	name, help string
	value      func(status.Report) float64
}

// gauges lists the numbers of the status that are metrics, but for those with
// labels and those that only grow.
func gauges() []gauge {
	return []gauge{
		{"queue_events", "Events that wait to be delivered.",
			func(s status.Report) float64 { return float64(s.Account.Queued) }},
		{"queue_leased_events", "Of the events that wait, those with the sender.",
			func(s status.Report) float64 { return float64(s.Queue.Leased) }},
		{"queue_parked_events", "Of the events that wait, those that failed and wait for a later attempt.",
			func(s status.Report) float64 { return float64(s.Queue.Parked) }},
		{"queue_parked_max_events", "Places for events that wait for a later attempt.",
			func(s status.Report) float64 { return float64(s.Queue.ParkedMax) }},
		{"queue_held_events", "Events that are settled, but could not be marked on disk yet.",
			func(s status.Report) float64 { return float64(s.Queue.Held) }},
		{"queue_oldest_age_seconds", "Age of the oldest event that waits; 0 when none does.",
			func(s status.Report) float64 { return s.Queue.OldestAgeSeconds }},
		{"queue_bytes", "Disk used by the queue, reservations included.",
			func(s status.Report) float64 { return float64(s.Disk.Bytes) }},
		{"queue_max_bytes", "Bound on the disk used by the queue.",
			func(s status.Report) float64 { return float64(s.Disk.MaxBytes) }},
		{"queue_free_bytes", "Disk left on the medium of the queue.",
			func(s status.Report) float64 { return float64(s.Disk.FreeBytes) }},
		{"queue_full", "1 while new events are refused because the queue is full, else 0.",
			func(s status.Report) float64 { return truth(s.Queue.Full != "") }},
		{"rejected_bytes", "Disk held by dead letters that were rejected at ingest.",
			func(s status.Report) float64 { return float64(s.Dead.Bytes) }},
		{"sample_bytes", "Disk held by samples of what ingest.accept excludes.",
			func(s status.Report) float64 { return float64(s.Dead.Samples) }},
		{"segments_quarantined", "Files set aside as damaged.",
			func(s status.Report) float64 { return float64(len(s.Disk.Damaged)) }},
		{"alarms", "Alarms that trackd status shows now.",
			func(s status.Report) float64 { return float64(len(s.AllAlarms())) }},
		{"intake_open", "1 while events are taken, 0 after an operator stopped the intake to drain.",
			func(s status.Report) float64 { return truth(s.Closed.IsZero()) }},
		{"config_last_reload_successful", "1 if the configuration on disk was put into force when it was last read, 0 if it was refused.",
			func(s status.Report) float64 { return truth(!s.Reload.Refused()) }},
	}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// collector turns the status into metrics when they are asked for.
type collector struct {
	status     func(context.Context) (status.Report, error)
	gauges     []gauge
	descs      []*prometheus.Desc // of gauges
	dead, lost *prometheus.Desc

	mu        sync.Mutex
	lostNow   uint64 // what the queue last said; guarded by mu
	lostSoFar uint64 // only grows, as a counter must; guarded by mu
}

func newCollector(report func(context.Context) (status.Report, error)) *collector {
	c := &collector{
		status: report,
		gauges: gauges(),
		dead:   prometheus.NewDesc("trackd_dead_letters", "Dead letters kept, by reason.", []string{"reason"}, nil),
		lost: prometheus.NewDesc("trackd_events_lost_total",
			"Events that damaged files cannot show; an upper bound. At the start: of the files that are there.", nil, nil),
	}
	for _, g := range c.gauges {
		c.descs = append(c.descs, prometheus.NewDesc("trackd_"+g.name, g.help, nil, nil))
	}
	return c
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range append(c.descs, c.dead, c.lost) {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. When the queue does not answer
// in time these metrics are missing, which is the truth.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s, err := c.status(context.Background())
	if err != nil {
		return
	}
	for i, g := range c.gauges {
		ch <- prometheus.MustNewConstMetric(c.descs[i], prometheus.GaugeValue, g.value(s))
	}
	for _, r := range queue.Reasons() {
		ch <- prometheus.MustNewConstMetric(c.dead, prometheus.GaugeValue, float64(s.Dead.ByReason[r]), string(r))
	}
	ch <- prometheus.MustNewConstMetric(c.lost, prometheus.CounterValue, float64(c.countLost(s.Account.Lost)))
}

// countLost adds what was lost since the last look. The queue itself forgets
// what was lost from files that are gone.
func (c *collector) countLost(now uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now > c.lostNow {
		c.lostSoFar += now - c.lostNow
	}
	c.lostNow = now
	return c.lostSoFar
}
