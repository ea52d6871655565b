-- Events that are due once more, as they were taken.
--
-- $1 ids, $2 when each was taken
SELECT e.id, e.taken, e.type, e.name, e.message_id, coalesce(e.person1, 0), coalesce(e.person2, 0), coalesce(e.person3, 0), e.body
FROM unnest($1::bigint[], $2::timestamptz[]) AS s (id, taken)
JOIN trackd.events e ON e.id = s.id AND e.taken = s.taken
