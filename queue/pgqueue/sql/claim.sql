-- Claim dead letters until the end of the transaction. Those that another call
-- works on are passed over.
--
-- $1 ids
SELECT id FROM trackd.dead_letters WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE SKIP LOCKED
