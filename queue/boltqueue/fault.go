package boltqueue

import "errors"

// point names a place where a crash matters: something that changes the disk,
// before which and after which the process may die, and which may fail before
// or after it had its effect.
type point struct {
	name  string
	tells string // what happens there
}

// points lists every place that step guards. What lies inside one commit of
// bbolt (pages written, synced, meta page written, synced) is reached by tests
// with a patched bbolt.
func points() []point {
	return []point{
		{"lock.take", "the directory is locked"},

		{"create.write", "a new segment is laid out and synced under a temporary name"},
		{"create.reserve", "disk is reserved for it"},
		{"create.rename", "it gets its name"},
		{"create.syncdir", "its name becomes durable"},
		{"create.undo", "a segment whose name may not be durable is removed again"},

		{"append.commit", "events and rejects are stored, with the marks that are due in the same segment"},
		{"marks.commit", "outcomes are stored"},
		{"bury.commit", "outcomes are stored, among them letters"},
		{"replay.commit", "letters become live again"},
		{"discard.commit", "letters become discarded"},
		{"rejects.commit", "rejects are discarded, by an operator or because they were taken anew"},

		{"seal.commit", "a segment that is full gets an empty commit"},
		{"seal.release", "its reservation is exchanged for a small one"},
		{"compact.write", "a segment is copied and synced under a temporary name"},
		{"compact.rename", "the copy takes the segment's name"},
		{"compact.syncdir", "that becomes durable"},
		{"unlink.remove", "an empty segment is removed"},
		{"unlink.syncdir", "that becomes durable"},

		{"salvage.write", "what was found in a damaged file is written and synced under a temporary name"},
		{"salvage.link", "the damaged file gets another name"},
		{"salvage.rename", "what was found takes its name"},
		{"salvage.syncdir", "both become durable"},
	}
}

// step does one thing that a crash may interrupt. Tests strike before it, so
// that it does not happen, or after it, so that it happened and is reported
// as failed.
func (q *Queue) step(point string, effect func() error) error {
	if q.opts.fault == nil {
		return effect()
	}
	if err := q.opts.fault(point, false); err != nil {
		return err
	}
	return errors.Join(effect(), q.opts.fault(point, true))
}
