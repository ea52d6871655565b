package status

import (
	"fmt"

	"trackd/queue"
)

// Account is a [queue.Account] with its JSON names; the two convert into each
// other.
type Account struct {
	Taken     uint64 `json:"taken"`
	Queued    uint64 `json:"queued"`
	Delivered uint64 `json:"delivered"`
	Dead      uint64 `json:"dead"`
	Discarded uint64 `json:"discarded"`
	Lost      uint64 `json:"lost"`
}

// String is the conservation law as a sentence.
func (a Account) String() string {
	return fmt.Sprintf("taken %d = queued %d + delivered %d + dead %d + discarded %d + lost %d",
		a.Taken, a.Queued, a.Delivered, a.Dead, a.Discarded, a.Lost)
}

// Balance is an account and how far it can be relied on.
type Balance struct {
	Account
	Balances bool `json:"balances"`
	Exact    bool `json:"exact"` // false while older files are still being read
}

// BalanceOf returns the balance of a queue.
func BalanceOf(s queue.Stats) Balance {
	return Balance{Account: Account(s.Account), Balances: s.Balances(), Exact: s.Exact}
}
