package daemon

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"trackd/internal/listen"
	"trackd/internal/status"
)

// Descriptors that the daemon needs whatever clients do. What is left is theirs.
const (
	ownFiles   = 64 // listeners, the log, the lock, name lookups, files read at a reload, the runtime's own
	queueFiles = 48 // segments open at a time, the one being filled and the next, and one being compacted or salvaged
	dialFiles  = 8  // connections to the destination being made while old ones are being closed

	adminSocketConns = 16 // commands
	adminHTTPConns   = 32 // probes, scrapes and people

	maxClientConns   = 1024 // of each kind
	leastClientConns = 8
)

// connections bounds how many clients each kind of listener may have.
type connections struct {
	socket, http, adminSocket, adminHTTP *listen.Limiter
}

// newConnections divides so many descriptors among those who need some.
func newConnections(files, workers int, log *slog.Logger) (connections, error) {
	each, err := clientConns(files, workers)
	if err != nil {
		return connections{}, err
	}
	return connections{
		socket:      listen.NewLimiter("socket", each, log),
		http:        listen.NewLimiter("http", each, log),
		adminSocket: listen.NewLimiter("admin_socket", adminSocketConns, log),
		adminHTTP:   listen.NewLimiter("admin_http", adminHTTPConns, log),
	}, nil
}

// clientConns returns how many connections the socket and HTTP may have each
// under a limit of so many open files.
func clientConns(files, workers int) (int, error) {
	reserved := ownFiles + queueFiles + workers + dialFiles +
		adminSocketConns + listen.ExtraOf(adminSocketConns) + adminHTTPConns + listen.ExtraOf(adminHTTPConns)
	half := (files - reserved) / 2
	each := 0
	for n := leastClientConns; n <= maxClientConns && n+listen.ExtraOf(n) <= half; n++ {
		each = n
	}
	if each == 0 {
		least := reserved + 2*(leastClientConns+listen.ExtraOf(leastClientConns))
		return 0, fmt.Errorf("this process may have %d files open and needs %d with sender.workers: %d; raise the limit (LimitNOFILE= of the unit, ulimit -n) or use fewer workers",
			files, least, workers)
	}
	return each, nil
}

// status says how the places are used.
func (c connections) status() []status.Connections {
	var all []status.Connections
	for _, l := range []*listen.Limiter{c.socket, c.http, c.adminSocket, c.adminHTTP} {
		use := l.Use()
		all = append(all, status.Connections{Listener: use.Listener, Open: use.Open, Max: use.Max,
			ClosedIdle: use.Evicted, TurnedAway: use.TurnedAway, LastCrowded: use.LastCrowded})
	}
	return all
}

// register adds the metrics of the connections to reg.
func (c connections) register(reg prometheus.Registerer) {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("trackd_connections"+name, help, []string{"listener"}, nil)
	}
	reg.MustRegister(&connectionMetrics{
		connections: c,
		open:        desc("", "Open connections of clients and operators."),
		max:         desc("_max", "Most connections that there may be."),
		closedIdle:  desc("_closed_idle_total", "Connections closed as the longest idle, to make room for new ones."),
		turnedAway:  desc("_turned_away_total", "Connections turned away, because every place was taken and nobody idle."),
	})
}

// connectionMetrics turns the use of connections into metrics when they are
// asked for.
type connectionMetrics struct {
	connections
	open, max, closedIdle, turnedAway *prometheus.Desc
}

// Describe implements [prometheus.Collector].
func (m *connectionMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.open, m.max, m.closedIdle, m.turnedAway} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *connectionMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, c := range m.status() {
		ch <- prometheus.MustNewConstMetric(m.open, prometheus.GaugeValue, float64(c.Open), c.Listener)
		ch <- prometheus.MustNewConstMetric(m.max, prometheus.GaugeValue, float64(c.Max), c.Listener)
		ch <- prometheus.MustNewConstMetric(m.closedIdle, prometheus.CounterValue, float64(c.ClosedIdle), c.Listener)
		ch <- prometheus.MustNewConstMetric(m.turnedAway, prometheus.CounterValue, float64(c.TurnedAway), c.Listener)
	}
}
