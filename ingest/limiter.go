package ingest

import (
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// connLimiter bounds the open connections of one kind of listener.
type connLimiter struct {
	n      atomic.Int64
	open   prometheus.Gauge
	turned prometheus.Counter
	alarm  alarm
}

// connAlarm returns the alarm for too many connections from a source.
func connAlarm(log *slog.Logger, from source) alarm {
	return alarm{
		log:   log.With("source", string(from)),
		begun: "too many connections, new ones are turned away",
		over:  "connections have room again",
	}
}

// enter counts one more connection and returns how many are open beyond limit,
// 0 when there was room. Every enter is paired with a leave.
func (g *connLimiter) enter(limit int) (beyond int) {
	n := int(g.n.Add(1))
	g.open.Inc()
	if n <= limit {
		g.alarm.end()
		return 0
	}
	g.turned.Inc()
	g.alarm.raise(1, nil)
	return n - limit
}

// leave counts one connection less.
func (g *connLimiter) leave() {
	g.n.Add(-1)
	g.open.Dec()
}
