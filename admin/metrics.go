package admin

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"trackd/queue"
)

// collector turns the state of the queue into metrics when they are asked for.
type collector struct {
	queue Queue

	events, bytes, oldest, discarded, lost, quarantined *prometheus.Desc
	dead                                                *prometheus.Desc
}

func registerMetrics(s *Server) {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("trackd_"+name, help, labels, nil)
	}
	s.opts.Registry.MustRegister(&collector{
		queue:       s.opts.Queue,
		events:      desc("queue_events", "Events that wait to be delivered."),
		bytes:       desc("queue_bytes", "Disk used by the queue, reservations included."),
		oldest:      desc("queue_oldest_age_seconds", "Age of the oldest event that waits; 0 when none does."),
		dead:        desc("dead_letters", "Dead letters kept, by reason.", "reason"),
		discarded:   desc("queue_discarded_events", "Events discarded by an operator, of the files that are there."),
		lost:        desc("queue_lost_events", "Events that damaged files cannot show; an upper bound."),
		quarantined: desc("segments_quarantined", "Files set aside as damaged."),
	})
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "trackd_build_info", Help: "Always 1; the version is the label."}, []string{"version"})
	build.WithLabelValues(s.opts.Version).Set(1)
	s.opts.Registry.MustRegister(build)
}

// Describe implements [prometheus.Collector].
func (c *collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements [prometheus.Collector]. When the queue does not answer
// in time its metrics are missing, which is the truth.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := c.queue.Stats(ctx)
	if err != nil {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.events, float64(s.Queued))
	gauge(c.bytes, float64(s.Bytes))
	gauge(c.oldest, age(s.Oldest))
	gauge(c.discarded, float64(s.Discarded))
	gauge(c.lost, float64(s.Lost))
	gauge(c.quarantined, float64(len(s.Damaged)))
	for _, r := range queue.Reasons() {
		gauge(c.dead, float64(s.DeadByReason[r]), string(r))
	}
}
