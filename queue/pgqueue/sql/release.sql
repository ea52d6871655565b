-- Give the lease up, so that another centre takes over at once.
--
-- $1 owner, $2 epoch, $3 low mark
UPDATE trackd.drainer SET until = clock_timestamp(), low_mark = greatest(low_mark, $3::bigint)
WHERE owner = $1::text AND epoch = $2::bigint
