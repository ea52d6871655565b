-- Throw queued events away, leased or not, and say which.
--
-- $1 ids
WITH picked AS MATERIALIZED (
    SELECT id FROM trackd.events WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE
), gone AS (
    DELETE FROM trackd.events e USING picked p WHERE e.id = p.id
    RETURNING e.id, e.cost
)
UPDATE trackd.account a SET
    queued = a.queued - g.n,
    discarded = a.discarded + g.n,
    bytes = a.bytes - g.bytes
FROM (SELECT count(*) AS n, coalesce(sum(cost), 0) AS bytes, coalesce(array_agg(id), '{}') AS ids FROM gone) g
WHERE a.side = 'out'
RETURNING g.ids
