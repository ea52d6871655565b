-- The next events that were never leased in this epoch.
--
-- $1 the last id leased, $2 how many
SELECT id, taken, type, name, message_id, coalesce(person1, 0), coalesce(person2, 0), coalesce(person3, 0), body, strikes, first_failed
FROM trackd.events
WHERE id > $1::bigint AND replayed IS NULL
ORDER BY id
LIMIT $2::bigint
