package admin

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

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
	s.opts.Registry.MustRegister(newCollector(s.opts.Queue, &s.trend))
	return &metrics{
		discarded: auto.NewCounter(prometheus.CounterOpts{
			Name: "trackd_events_discarded_total",
			Help: "Dead letters an operator threw away, or replaced by replaying what a door had rejected.",
		}),
		replayed: auto.NewCounter(prometheus.CounterOpts{
			Name: "trackd_events_replayed_total",
			Help: "Dead letters an operator had queued again.",
		}),
	}
}

// collector turns the state of the queue into metrics when they are asked for.
type collector struct {
	queue Queue
	trend *trend // a scrape is as good a look as any

	events, bytes, oldest, quarantined, dead, lost *prometheus.Desc

	mu        sync.Mutex
	lostNow   uint64 // what the queue last said; guarded by mu
	lostSoFar uint64 // only grows, as a counter must; guarded by mu
}

func newCollector(q Queue, t *trend) *collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("trackd_"+name, help, labels, nil)
	}
	return &collector{
		queue:       q,
		trend:       t,
		events:      desc("queue_events", "Events that wait to be delivered."),
		bytes:       desc("queue_bytes", "Disk used by the queue, reservations included."),
		oldest:      desc("queue_oldest_age_seconds", "Age of the oldest event that waits; 0 when none does."),
		dead:        desc("dead_letters", "Dead letters kept, by reason.", "reason"),
		lost:        desc("events_lost_total", "Events that damaged files cannot show; an upper bound. At the start: of the files that are there."),
		quarantined: desc("segments_quarantined", "Files set aside as damaged."),
	}
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.events, c.bytes, c.oldest, c.dead, c.lost, c.quarantined} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector]. When the queue does not answer
// in time its metrics are missing, which is the truth.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := c.queue.Stats(ctx)
	if err != nil {
		return
	}
	c.trend.note(time.Now(), time.Time{}, s.Queued)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.events, float64(s.Queued))
	gauge(c.bytes, float64(s.Bytes))
	gauge(c.oldest, age(s.Oldest).Seconds())
	gauge(c.quarantined, float64(len(s.Damaged)))
	ch <- prometheus.MustNewConstMetric(c.lost, prometheus.CounterValue, float64(c.countLost(s.Lost)))
	for _, r := range queue.Reasons() {
		gauge(c.dead, float64(s.DeadByReason[r]), string(r))
	}
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
