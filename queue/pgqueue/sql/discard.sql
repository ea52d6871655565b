-- Throw dead letters away. Those that another call works on are passed over.
--
-- $1 ids
WITH picked AS MATERIALIZED (
    SELECT id FROM trackd.dead_letters WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM trackd.dead_letters l USING picked p WHERE l.id = p.id
    RETURNING l.cost, l.rejected AS at_ingest, l.reason
)
UPDATE trackd.account a SET
    discarded = a.discarded + g.n,
    dead_malformed = a.dead_malformed - g.malformed,
    dead_invalid = a.dead_invalid - g.invalid,
    dead_not_lifecycle = a.dead_not_lifecycle - g.not_lifecycle,
    dead_oversize = a.dead_oversize - g.oversize,
    dead_rejected = a.dead_rejected - g.rejected,
    dead_too_large = a.dead_too_large - g.too_large,
    dead_poison = a.dead_poison - g.poison,
    dead_expired = a.dead_expired - g.expired,
    bytes = a.bytes - g.bytes,
    reject_bytes = a.reject_bytes - g.reject_bytes,
    sample_bytes = a.sample_bytes - g.sample_bytes
FROM (
    SELECT count(*) AS n,
        count(*) FILTER (WHERE reason = 'malformed') AS malformed,
        count(*) FILTER (WHERE reason = 'invalid') AS invalid,
        count(*) FILTER (WHERE reason = 'not_lifecycle') AS not_lifecycle,
        count(*) FILTER (WHERE reason = 'oversize') AS oversize,
        count(*) FILTER (WHERE reason = 'rejected') AS rejected,
        count(*) FILTER (WHERE reason = 'too_large') AS too_large,
        count(*) FILTER (WHERE reason = 'poison') AS poison,
        count(*) FILTER (WHERE reason = 'expired') AS expired,
        coalesce(sum(cost) FILTER (WHERE NOT at_ingest), 0) AS bytes,
        coalesce(sum(cost) FILTER (WHERE at_ingest AND reason <> 'not_lifecycle'), 0) AS reject_bytes,
        coalesce(sum(cost) FILTER (WHERE at_ingest AND reason = 'not_lifecycle'), 0) AS sample_bytes
    FROM gone
) g
WHERE a.side = 'out'
RETURNING g.n
