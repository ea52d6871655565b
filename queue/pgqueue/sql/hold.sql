-- Take or renew the lease, by the database's clock. One row is returned: whether
-- this centre holds it now, the epoch, the low mark, how long the present holder
-- has left, the highest id given so far, and the history of the server, which
-- changes when a standby is promoted.
--
-- $1 owner, $2 epoch held, 0: none; $3 lease in seconds; $4 low mark of the
-- holder
WITH held AS (
    UPDATE trackd.drainer d SET
        owner = $1::text,
        epoch = CASE WHEN d.owner = $1 AND d.epoch = $2::bigint THEN d.epoch ELSE d.epoch + 1 END,
        since = CASE WHEN d.owner = $1 AND d.epoch = $2 THEN d.since ELSE clock_timestamp() END,
        low_mark = CASE WHEN d.owner = $1 AND d.epoch = $2 THEN greatest(d.low_mark, $4::bigint) ELSE d.low_mark END,
        until = clock_timestamp() + make_interval(secs => $3::double precision)
    WHERE d.owner = $1 AND d.epoch = $2 OR d.until < clock_timestamp()
    RETURNING epoch, low_mark
)
SELECT held.epoch IS NOT NULL, coalesce(held.epoch, d.epoch), coalesce(held.low_mark, d.low_mark),
    greatest(coalesce(extract(epoch FROM nullif(d.until, '-infinity') - clock_timestamp()), 0), 0)::double precision,
    a.next_id - 1, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)
FROM trackd.drainer d LEFT JOIN held ON true, trackd.account a
WHERE a.side = 'in'
