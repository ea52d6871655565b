-- Queue dead letters again, in the order of their ids. Those that another call
-- works on are passed over.
--
-- $1 ids
WITH picked AS MATERIALIZED (
    SELECT id FROM trackd.dead_letters WHERE id = ANY ($1::bigint[]) AND NOT rejected
    ORDER BY id FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM trackd.dead_letters l USING picked p WHERE l.id = p.id
    RETURNING l.id, l.taken, l.type, l.name, l.message_id, l.person1, l.person2, l.person3, l.body, l.cost, l.reason
), account AS (
    UPDATE trackd.account a SET
        next_id = a.next_id + g.n,
        queued = a.queued + g.n,
        dead_malformed = a.dead_malformed - g.malformed,
        dead_invalid = a.dead_invalid - g.invalid,
        dead_not_lifecycle = a.dead_not_lifecycle - g.not_lifecycle,
        dead_oversize = a.dead_oversize - g.oversize,
        dead_rejected = a.dead_rejected - g.rejected,
        dead_too_large = a.dead_too_large - g.too_large,
        dead_poison = a.dead_poison - g.poison,
        dead_expired = a.dead_expired - g.expired
    FROM (
        SELECT count(*) AS n,
            count(*) FILTER (WHERE reason = 'malformed') AS malformed,
            count(*) FILTER (WHERE reason = 'invalid') AS invalid,
            count(*) FILTER (WHERE reason = 'not_lifecycle') AS not_lifecycle,
            count(*) FILTER (WHERE reason = 'oversize') AS oversize,
            count(*) FILTER (WHERE reason = 'rejected') AS rejected,
            count(*) FILTER (WHERE reason = 'too_large') AS too_large,
            count(*) FILTER (WHERE reason = 'poison') AS poison,
            count(*) FILTER (WHERE reason = 'expired') AS expired
        FROM gone
    ) g
    WHERE a.side = 'out'
    RETURNING a.next_id - g.n AS first
), queued AS (
    INSERT INTO trackd.events (id, taken, type, name, message_id, person1, person2, person3, body, cost, replayed)
    SELECT g.id, g.taken, g.type, g.name, g.message_id, g.person1, g.person2, g.person3, g.body, g.cost,
        a.first + row_number() OVER (ORDER BY g.id) - 1
    FROM gone g, account a
    RETURNING id
)
SELECT count(*) FROM queued
