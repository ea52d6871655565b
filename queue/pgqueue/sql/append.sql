-- Append one group of events and rejects. The update takes the lock of the row
-- "in" and keeps it to the end of the commit, so ids become visible in order.
-- No row is returned, and nothing changed, if the group would pass the bound, or
-- if the database does not know of an id that this centre has acknowledged.
--
-- $1 events, $2 rejects, $3 bytes of events, $4 bytes of rejects, $5 bytes of
-- samples, $6 bound on the bytes of events, null: do not ask; $7 highest id
-- acknowledged; $8 taken; $9.. columns of the events; $16.. of the rejects
WITH outgoing AS (
    SELECT bytes, reject_bytes, sample_bytes FROM trackd.account WHERE side = 'out'
), incoming AS (
    UPDATE trackd.account a SET
        next_id = a.next_id + $1::bigint + $2::bigint,
        taken = a.taken + $1 + $2,
        queued = a.queued + $1,
        dead_malformed = a.dead_malformed + r.malformed,
        dead_invalid = a.dead_invalid + r.invalid,
        dead_not_lifecycle = a.dead_not_lifecycle + r.not_lifecycle,
        dead_oversize = a.dead_oversize + r.oversize,
        bytes = a.bytes + $3::bigint,
        reject_bytes = a.reject_bytes + $4::bigint,
        sample_bytes = a.sample_bytes + $5::bigint
    FROM outgoing o, (
        SELECT count(*) FILTER (WHERE reason = 'malformed') AS malformed,
            count(*) FILTER (WHERE reason = 'invalid') AS invalid,
            count(*) FILTER (WHERE reason = 'not_lifecycle') AS not_lifecycle,
            count(*) FILTER (WHERE reason = 'oversize') AS oversize
        FROM unnest($16::text[]) AS given (reason)
    ) r
    WHERE a.side = 'in' AND a.next_id > $7::bigint AND ($6::bigint IS NULL OR a.bytes + o.bytes + $3 <= $6)
    RETURNING a.next_id - $1 - $2 AS first, a.bytes + o.bytes AS bytes,
        a.reject_bytes + o.reject_bytes AS reject_bytes, a.sample_bytes + o.sample_bytes AS sample_bytes
), events AS (
    INSERT INTO trackd.events (id, taken, type, name, message_id, person1, person2, person3, body, cost)
    SELECT i.first + e.n - 1, $8::timestamptz, e.type, e.name, e.message_id,
        nullif(e.person1, 0), nullif(e.person2, 0), nullif(e.person3, 0), e.body, e.cost
    FROM incoming i, unnest($9::smallint[], $10::bytea[], $11::bytea[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bytea[], $20::integer[])
        WITH ORDINALITY AS e (type, name, message_id, person1, person2, person3, body, cost, n)
), rejects AS (
    INSERT INTO trackd.dead_letters (id, taken, type, name, message_id, body, cost, rejected, reason, status, detail, attempts, died)
    SELECT i.first + $1 + r.n - 1, $8, 0, '', '', r.body, r.cost, true, r.reason, 0, r.detail, 0, $8
    FROM incoming i, unnest($16, $17::bytea[], $18::bytea[], $19::integer[])
        WITH ORDINALITY AS r (reason, detail, body, cost, n)
)
SELECT first, bytes, reject_bytes, sample_bytes FROM incoming
