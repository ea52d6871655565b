package boltqueue

import (
	"slices"

	"trackd/queue"
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
func accountOf(b book) queue.Account {
	return queue.Account{Taken: b.taken, Queued: b.live, Delivered: b.delivered,
		Dead: b.dead, Discarded: b.discarded, Lost: b.lost}
}

// rejectOf is a reject as stored; the body is not copied.
func rejectOf(r queue.Reject) reject {
	return reject{body: r.Body, detail: r.Detail, reason: reasonCode(r.Reason)}
}
