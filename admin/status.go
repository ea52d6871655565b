package admin

import (
	"context"
	"net/http"
	"time"

	"trackd/queue"
)

// Line is the state of the way to the destination.
type Line struct {
	State       string    `json:"state"` // open, probing, denied or paused
	Since       time.Time `json:"since"`
	Why         string    `json:"why,omitempty"`   // what is wrong and what to do
	Alarm       string    `json:"alarm,omitempty"` // what else an operator must know
	Rate        float64   `json:"rate"`            // events per second it may send now
	LastSuccess time.Time `json:"last_success,omitzero"`
	NextProbe   time.Time `json:"next_probe,omitzero"`
	Delivered   uint64    `json:"delivered"` // since the start
	Failures    int       `json:"failures"`  // attempts that failed since the last success
}

// Status is everything an operator is told at once.
type Status struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	Closed  time.Time `json:"closed_since,omitzero"` // when an operator closed the doors to drain
	Account Account   `json:"account"`
	Queue   Backlog   `json:"queue"`
	Outlook Outlook   `json:"outlook"`
	Line    Line      `json:"line"`
	Dead    Dead      `json:"dead_letters"`
	Disk    Disk      `json:"disk"`
	Alarms  []string  `json:"alarms"`
}

// Account is the conservation law over the queue's files:
// taken = queued + delivered + dead + discarded + lost.
type Account struct {
	Taken     uint64 `json:"taken"`
	Queued    uint64 `json:"queued"`
	Delivered uint64 `json:"delivered"`
	Dead      uint64 `json:"dead"`
	Discarded uint64 `json:"discarded"`
	Lost      uint64 `json:"lost"`
	Balances  bool   `json:"balances"`
	Exact     bool   `json:"exact"` // false while older files are still being read
}

// Backlog is what waits to be delivered.
type Backlog struct {
	Leased           int     `json:"leased"` // in the sender's hands
	Parked           int     `json:"parked"` // waiting for a later attempt
	Held             int     `json:"held"`   // settled, but the disk does not know it yet
	OldestAgeSeconds float64 `json:"oldest_age_seconds"`
	Full             string  `json:"full,omitempty"` // why new events are refused
}

// Dead counts the dead letters.
type Dead struct {
	ByReason map[queue.Reason]uint64 `json:"by_reason"`
	Bytes    int64                   `json:"rejected_bytes"` // kept of what the doors rejected
}

// Disk is what the queue uses and may use.
type Disk struct {
	Bytes     int64    `json:"bytes"`
	MaxBytes  int64    `json:"max_bytes"`
	FreeBytes int64    `json:"free_bytes"` // on the medium
	Damaged   []string `json:"damaged"`
}

// Status gathers the status at this moment. Its error is that of the queue.
func (s *Server) Status(ctx context.Context) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	st, err := s.opts.Queue.Stats(ctx)
	if err != nil {
		return Status{}, err
	}
	a, oldest, line, now := st.Account, age(st.Oldest), s.opts.Line(), time.Now()
	s.trend.note(now, line.Since, a.Queued)
	return Status{
		Version: s.opts.Version, Started: s.started, Closed: s.opts.Steering.ClosedSince(), Line: line,
		Account: Account{Taken: a.Taken, Queued: a.Queued, Delivered: a.Delivered, Dead: a.Dead,
			Discarded: a.Discarded, Lost: a.Lost, Balances: a.Balances(), Exact: st.Exact},
		Queue: Backlog{Leased: st.Leased, Parked: st.Parked, Held: st.Held,
			OldestAgeSeconds: oldest.Seconds(), Full: st.Full},
		Outlook: foresee(a.Queued, oldest, s.trend.pace(now, line.Since, a.Queued)),
		Dead:    Dead{ByReason: everyReason(st.DeadByReason), Bytes: st.RejectBytes},
		Disk:    Disk{Bytes: st.Bytes, MaxBytes: st.MaxBytes, FreeBytes: st.FreeBytes, Damaged: orEmpty(st.Damaged)},
		Alarms:  orEmpty(st.Alarms),
	}, nil
}

// age is how long ago t was; 0 for the zero time and for the future.
func age(t time.Time) time.Duration {
	if t.IsZero() {
		return 0
	}
	return max(time.Since(t), 0)
}

func everyReason(counts map[queue.Reason]uint64) map[queue.Reason]uint64 {
	all := map[queue.Reason]uint64{}
	for _, r := range queue.Reasons() {
		all[r] = counts[r]
	}
	return all
}

// orEmpty makes JSON say [] rather than null.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (s *Server) serveStatus(w http.ResponseWriter, r *http.Request) {
	status, err := s.Status(r.Context())
	if err != nil {
		writeJSON(w, http.StatusServiceUnavailable, verdict{Reason: "the queue does not say how it is: " + err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, status)
}
