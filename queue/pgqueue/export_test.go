package pgqueue

import "time"

// Abandon ends q as a killed process would: nothing is flushed, the lease is
// not given up, and the connections are gone.
func (q *Queue) Abandon() {
	q.closing.Do(func() {
		q.end()
		close(q.stop)
		nudge(q.toAppend)
		q.workers.Wait()
		q.pool.Reset()
		q.pool.Close()
	})
}

// Epoch returns the epoch that q holds, 0 if none.
func (q *Queue) Epoch() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.hold.epoch
}

// SetEpoch makes q believe that it holds an epoch, as a centre does that was
// frozen while another took over.
func (q *Queue) SetEpoch(epoch int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.hold.epoch, q.hold.renewed, q.hold.wall = epoch, now, now.Round(0)
}
