package sender

import "sync"

// jobs is what the workers are to attempt: at most as many as there are workers
// beyond those in hand, so that none waits for the scheduler to come round. What
// no worker has taken, the scheduler may take back.
type jobs struct {
	mu       sync.Mutex
	changed  sync.Cond
	waiting  []job
	closed   bool
	held     bool // nothing but probes is to be tried
	troubles int  // reports of trouble on their way: nobody goes on before it is known what they mean
}

// job is one event a worker is to attempt.
type job struct {
	item  *item
	epoch uint64 // of the breaker when it was launched
	probe bool   // to be tried although events do not flow
}

func newJobs() *jobs {
	j := &jobs{}
	j.changed.L = &j.mu
	return j
}

// put adds a job.
func (j *jobs) put(next job) {
	j.mu.Lock()
	j.waiting = append(j.waiting, next)
	j.mu.Unlock()
	j.changed.Signal()
}

// take waits for a job that may be tried. It returns false once jobs is closed
// and nothing is left.
func (j *jobs) take() (job, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		if n := len(j.waiting); n > 0 {
			next := j.waiting[0]
			if next.probe || !j.held && j.troubles == 0 {
				j.waiting[0] = job{}
				j.waiting = j.waiting[1:]
				return next, true
			}
		} else if j.closed {
			return job{}, false
		}
		j.changed.Wait()
	}
}

// trouble says that a report of trouble is on its way: until it is understood,
// nothing but probes is tried.
func (j *jobs) trouble() {
	j.mu.Lock()
	j.troubles++
	j.mu.Unlock()
}

// understood says what became of n reports of trouble, and whether jobs are to be
// held from now on.
func (j *jobs) understood(n int, hold bool) {
	j.mu.Lock()
	j.troubles -= n
	j.held = hold
	wake := !hold && j.troubles == 0 && len(j.waiting) > 0
	j.mu.Unlock()
	if wake {
		j.changed.Broadcast()
	}
}

// takeBack returns the jobs that no worker has taken, but for probes.
func (j *jobs) takeBack() (back []job) {
	j.mu.Lock()
	defer j.mu.Unlock()
	kept := j.waiting[:0]
	for _, next := range j.waiting {
		if next.probe {
			kept = append(kept, next)
		} else {
			back = append(back, next)
		}
	}
	clear(j.waiting[len(kept):])
	j.waiting = kept
	return back
}

// close lets the workers end when nothing is left.
func (j *jobs) close() {
	j.mu.Lock()
	j.closed = true
	j.mu.Unlock()
	j.changed.Broadcast()
}
