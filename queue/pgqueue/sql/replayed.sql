-- The next replayed events.
--
-- $1 the number of the last replay leased, $2 how many
SELECT id, taken, type, name, message_id, coalesce(person1, 0), coalesce(person2, 0), coalesce(person3, 0), body, strikes, first_failed, replayed
FROM trackd.events
WHERE replayed > $1::bigint
ORDER BY replayed
LIMIT $2::bigint
