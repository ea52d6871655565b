-- One page of dead letters; see queued.sql. $10 reasons, $11 statuses, $12 died
-- before
SELECT id, taken, type, name, message_id, coalesce(person1, 0), coalesce(person2, 0), coalesce(person3, 0), body,
    rejected, reason, status, detail, attempts, died
FROM trackd.dead_letters
WHERE id > $1::bigint
    AND ($2::bigint[] IS NULL OR id = ANY ($2))
    AND ($3::smallint[] IS NULL OR type = ANY ($3))
    AND ($4::bytea IS NULL OR name = $4)
    AND ($5::bytea IS NULL OR message_id = $5)
    AND ($6::bigint IS NULL OR person1 IS NULL OR $6 IN (person1, person2, person3))
    AND ($7::timestamptz IS NULL OR taken >= $7)
    AND ($8::timestamptz IS NULL OR taken <= $8)
    AND ($10::text[] IS NULL OR reason = ANY ($10))
    AND ($11::integer[] IS NULL OR status = ANY ($11))
    AND ($12::timestamptz IS NULL OR died <= $12)
ORDER BY id
LIMIT $9::bigint
