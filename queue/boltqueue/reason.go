package boltqueue

import (
	"slices"

	"trackd/queue"
	"trackd/queue/boltqueue/segment"
)

// reasonCode is the stored form of a queue.Reason: its place in
// queue.Reasons, from 1. The order of that list is therefore part of the
// format.
func reasonCode(r queue.Reason) uint8 { return uint8(slices.Index(queue.Reasons(), r) + 1) }

func reasonOf(code uint8) queue.Reason {
	if all := queue.Reasons(); code >= 1 && int(code) <= len(all) {
		return all[code-1]
	}
	return ""
}

// accountOf is the account that counters tell.
func accountOf(b segment.Counters) queue.Account {
	return queue.Account{Taken: b.Taken, Queued: b.Live, Delivered: b.Delivered,
		Dead: b.Dead, Discarded: b.Discarded, Lost: b.Lost}
}

// rejectOf is a reject as stored; the body is not copied.
func rejectOf(r queue.Reject) segment.Reject {
	return segment.Reject{Body: r.Body, Detail: r.Detail, Reason: reasonCode(r.Reason)}
}
