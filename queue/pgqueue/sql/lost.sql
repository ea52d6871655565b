-- The database does not know of ids that were acknowledged: a standby that was
-- behind was promoted. Count them as lost, and give none of them again.
--
-- $1 the highest id acknowledged
UPDATE trackd.account SET
    taken = taken + $1::bigint + 1 - next_id,
    lost = lost + $1 + 1 - next_id,
    next_id = $1 + 1
WHERE side = 'in' AND next_id <= $1
RETURNING lost
