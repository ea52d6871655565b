package admin

import (
	"context"
	"net/http"
	"time"

	"trackd/internal/status"
	"trackd/queue"
)

// Status gathers the status at this moment. Its error is that of the queue.
func (s *Server) Status(ctx context.Context) (status.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, statsTimeout)
	defer cancel()
	st, err := s.opts.Queue.Stats(ctx)
	if err != nil {
		return status.Report{}, err
	}
	now, up := time.Now(), s.opts.Upstream()
	backlog := status.BacklogOf(st, now)
	byReason := map[queue.Reason]uint64{} // every reason is there, also where nothing died of it
	for _, r := range queue.Reasons() {
		byReason[r] = st.DeadByReason[r]
	}
	return status.Report{
		Version: s.opts.Version, Started: s.started, Closed: s.opts.Control.IntakeStopped(),
		Account:  status.BalanceOf(st),
		Queue:    backlog,
		Outlook:  foresee(now, st.Queued, backlog.OldestAge(), s.trend.pace(now, up.Since, st.Queued), up),
		Upstream: up,
		Dead:     status.Dead{ByReason: byReason, Bytes: st.RejectBytes, Samples: st.SampleBytes},
		Disk:     status.Disk{Bytes: st.Bytes, MaxBytes: st.MaxBytes, FreeBytes: st.FreeBytes, Damaged: orEmpty(st.Damaged)},
		Clients:  s.opts.Clients(),
		Reload:   s.opts.Control.LastReload(),
		Alarms:   orEmpty(st.Alarms),
	}, nil
}

// orEmpty makes JSON say [] rather than null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	report, err := s.Status(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, health{Reason: "queue statistics are unavailable: " + err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, report)
}
