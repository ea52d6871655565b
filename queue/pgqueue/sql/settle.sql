-- Record outcomes of leased events, in one statement so that a holder which
-- stops halfway keeps no lock. No row is returned, and nothing changed, if
-- another centre has taken over: the epoch is old. An event is named by its id
-- and when it was taken, since a failover to a standby that was behind may give
-- an id again.
--
-- $1 epoch; $2, $3 delivered; $4.. buried: id, taken, reason, status, detail,
-- attempts, died; $11.. retried: id, taken, strikes, first failed
WITH holder AS MATERIALIZED (
    SELECT epoch FROM trackd.drainer WHERE epoch = $1::bigint FOR SHARE
), delivered AS (
    DELETE FROM trackd.events e USING holder, unnest($2::bigint[], $3::timestamptz[]) AS s (id, taken)
    WHERE e.id = s.id AND e.taken = s.taken
    RETURNING e.cost
), buried AS (
    DELETE FROM trackd.events e
    USING holder, unnest($4::bigint[], $5::timestamptz[], $6::text[], $7::integer[], $8::bytea[], $9::integer[], $10::timestamptz[])
        AS s (id, taken, reason, status, detail, attempts, died)
    WHERE e.id = s.id AND e.taken = s.taken
    RETURNING e.id, e.taken, e.type, e.name, e.message_id, e.person1, e.person2, e.person3, e.body, e.cost,
        s.reason, s.status, s.detail, s.attempts, s.died
), letters AS (
    INSERT INTO trackd.dead_letters (id, taken, type, name, message_id, person1, person2, person3, body, cost,
        rejected, reason, status, detail, attempts, died)
    SELECT id, taken, type, name, message_id, person1, person2, person3, body, cost,
        false, reason, status, detail, attempts, died
    FROM buried
), retried AS (
    UPDATE trackd.events e SET strikes = s.strikes, first_failed = s.first_failed
    FROM holder, unnest($11::bigint[], $12::timestamptz[], $13::double precision[], $14::timestamptz[]) AS s (id, taken, strikes, first_failed)
    WHERE e.id = s.id AND e.taken = s.taken
)
UPDATE trackd.account a SET
    queued = a.queued - d.n - b.n,
    delivered = a.delivered + d.n,
    dead_malformed = a.dead_malformed + b.malformed,
    dead_invalid = a.dead_invalid + b.invalid,
    dead_not_lifecycle = a.dead_not_lifecycle + b.not_lifecycle,
    dead_oversize = a.dead_oversize + b.oversize,
    dead_rejected = a.dead_rejected + b.rejected,
    dead_too_large = a.dead_too_large + b.too_large,
    dead_poison = a.dead_poison + b.poison,
    dead_expired = a.dead_expired + b.expired,
    bytes = a.bytes - d.bytes
FROM holder, (SELECT count(*) AS n, coalesce(sum(cost), 0) AS bytes FROM delivered) d, (
    SELECT count(*) AS n,
        count(*) FILTER (WHERE reason = 'malformed') AS malformed,
        count(*) FILTER (WHERE reason = 'invalid') AS invalid,
        count(*) FILTER (WHERE reason = 'not_lifecycle') AS not_lifecycle,
        count(*) FILTER (WHERE reason = 'oversize') AS oversize,
        count(*) FILTER (WHERE reason = 'rejected') AS rejected,
        count(*) FILTER (WHERE reason = 'too_large') AS too_large,
        count(*) FILTER (WHERE reason = 'poison') AS poison,
        count(*) FILTER (WHERE reason = 'expired') AS expired
    FROM buried
) b
WHERE a.side = 'out'
RETURNING a.side
