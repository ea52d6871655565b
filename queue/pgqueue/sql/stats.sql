-- The account, and when the oldest queued event was taken.
--
-- $1 low mark, if this centre knows of a higher one
SELECT sum(a.taken)::bigint, sum(a.queued)::bigint, sum(a.delivered)::bigint, sum(a.discarded)::bigint, sum(a.lost)::bigint,
    sum(a.dead_malformed)::bigint, sum(a.dead_invalid)::bigint, sum(a.dead_not_lifecycle)::bigint, sum(a.dead_oversize)::bigint,
    sum(a.dead_rejected)::bigint, sum(a.dead_too_large)::bigint, sum(a.dead_poison)::bigint, sum(a.dead_expired)::bigint,
    sum(a.bytes)::bigint, sum(a.reject_bytes)::bigint, sum(a.sample_bytes)::bigint,
    max(a.next_id) FILTER (WHERE a.side = 'in'),
    least(
        (SELECT taken FROM trackd.events WHERE id >= greatest($1::bigint, (SELECT low_mark FROM trackd.drainer)) AND replayed IS NULL ORDER BY id LIMIT 1),
        (SELECT min(taken) FROM trackd.events WHERE replayed IS NOT NULL))
FROM trackd.account a
