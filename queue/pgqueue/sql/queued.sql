-- One page of queued events. A null parameter asks for everything. Times are
-- compared generously: they are stored in microseconds, and the caller looks again.
--
-- $1 id to continue after, $2 ids, $3 types, $4 name, $5 messageId, $6 hash of a
-- person, $7 taken at or after, $8 taken before, $9 how many
SELECT id, taken, type, name, message_id, coalesce(person1, 0), coalesce(person2, 0), coalesce(person3, 0), body, strikes, first_failed
FROM trackd.events
WHERE id > $1::bigint
    AND ($2::bigint[] IS NULL OR id = ANY ($2))
    AND ($3::smallint[] IS NULL OR type = ANY ($3))
    AND ($4::bytea IS NULL OR name = $4)
    AND ($5::bytea IS NULL OR message_id = $5)
    AND ($6::bigint IS NULL OR person1 IS NULL OR $6 IN (person1, person2, person3))
    AND ($7::timestamptz IS NULL OR taken >= $7)
    AND ($8::timestamptz IS NULL OR taken <= $8)
ORDER BY id
LIMIT $9::bigint
