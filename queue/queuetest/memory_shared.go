package queuetest

import (
	"context"
	"errors"
	"sync"

	"trackd/queue"
)

// Member is one process of several that share a Memory. The first that leases
// delivers until it closes.
type Member struct {
	*Memory
	group *group
	ended chan struct{} // closed by Close
}

var _ queue.Queue = (*Member)(nil)

// group is what members share.
type group struct {
	mu      sync.Mutex
	members int           // that are open
	holder  *Member       // the one that delivers; nil: none yet
	changed chan struct{} // closed and replaced when holder ends
}

// NewShared returns the first process that has m open.
func NewShared(m *Memory) *Member {
	return &Member{m, &group{members: 1, changed: make(chan struct{})}, make(chan struct{})}
}

// Join returns one more process that has the same queue open.
func (p *Member) Join() *Member {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	p.group.members++
	return &Member{p.Memory, p.group, make(chan struct{})}
}

// Lease waits until no other member delivers.
func (p *Member) Lease(ctx context.Context, max int) ([]queue.Delivery, error) {
	for {
		p.group.mu.Lock()
		if p.group.holder == nil && !p.isClosed() {
			p.group.holder = p
		}
		mine, changed := p.group.holder == p, p.group.changed
		p.group.mu.Unlock()
		if mine {
			return p.leaseUntilClosed(ctx, max)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.ended:
			return nil, queue.ErrClosed
		}
	}
}

func (p *Member) leaseUntilClosed(ctx context.Context, max int) ([]queue.Delivery, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.ended:
			cancel(queue.ErrClosed)
		case <-ctx.Done():
		}
	}()
	got, err := p.Memory.Lease(ctx, max)
	if err != nil && errors.Is(context.Cause(ctx), queue.ErrClosed) {
		return nil, queue.ErrClosed
	}
	return got, err
}

// Append implements queue.Queue.
func (p *Member) Append(ctx context.Context, batch queue.Batch) error {
	if p.isClosed() {
		return queue.ErrClosed
	}
	return p.Memory.Append(ctx, batch)
}

// Settle changes nothing where another member delivers.
func (p *Member) Settle(ctx context.Context, outcomes ...queue.Outcome) error {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	if p.group.holder != p {
		return nil
	}
	return p.Memory.Settle(ctx, outcomes...)
}

// Close lets another member deliver what this one has not settled.
func (p *Member) Close() error {
	p.group.mu.Lock()
	defer p.group.mu.Unlock()
	if p.isClosed() {
		return nil
	}
	close(p.ended)
	if p.group.holder == p {
		p.group.holder = nil
		p.Memory.giveAllBack()
		close(p.group.changed)
		p.group.changed = make(chan struct{})
	}
	if p.group.members--; p.group.members == 0 {
		return p.Memory.Close()
	}
	return nil
}

// giveAllBack makes everything queued fresh again, as the next process finds it.
func (m *Memory) giveAllBack() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fresh, m.returned, m.again, m.parked = nil, nil, nil, nil
	for _, rec := range m.records {
		rec.leased, rec.waiting = false, false
		if rec.now == queued {
			rec.evidence = rec.stored
			m.fresh = append(m.fresh, rec)
		}
	}
	m.wake()
}

func (p *Member) isClosed() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}
