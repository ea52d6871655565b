package queue

import "time"

// Account is where every event taken is now. It covers the events the queue
// still knows of; a backend may forget settled events in bulk, and then all
// terms shrink together.
type Account struct {
	Taken     uint64 // accepted and rejected
	Queued    uint64
	Delivered uint64
	Dead      uint64
	Discarded uint64 // thrown away by an operator
	Lost      uint64 // what a damaged medium cannot show; an upper bound, normally 0
}

// Balances reports whether the conservation law holds:
// taken = queued + delivered + dead + discarded + lost.
func (a Account) Balances() bool {
	return a.Taken == a.Queued+a.Delivered+a.Dead+a.Discarded+a.Lost
}

// Add returns the sum of two accounts.
func (a Account) Add(b Account) Account {
	return Account{
		Taken:     a.Taken + b.Taken,
		Queued:    a.Queued + b.Queued,
		Delivered: a.Delivered + b.Delivered,
		Dead:      a.Dead + b.Dead,
		Discarded: a.Discarded + b.Discarded,
		Lost:      a.Lost + b.Lost,
	}
}

// Stats is the state of a queue at one moment.
type Stats struct {
	Account
	Exact bool // false while older parts are still being read after a start

	Leased    int // of Queued, leased to the sender
	Parked    int // of Queued, waiting for a later attempt
	ParkedMax int // near it the sender buries the strongest suspects
	Held      int // of Queued, settled in memory but not markable on disk

	Oldest       time.Time // when the oldest queued event was taken; zero if none
	DeadByReason map[Reason]uint64
	RejectBytes  int64 // cost on disk of rejected input, samples not counted
	SampleBytes  int64 // cost on disk of rejected input of not_lifecycle

	Bytes     int64 // disk used, reservations included
	MaxBytes  int64 // bound on Bytes
	FreeBytes int64 // left on the medium

	Full    string   // why Append answers ErrFull; "" when it does not
	Damaged []string // parts found damaged and kept aside
	Alarms  []string // what an operator must know, in words; empty when well
}

// Properties says in what backends may differ.
type Properties struct {
	Ordered bool // fresh events are leased in the order they were taken
	Shared  bool // several processes may fill and drain it at once
}
