-- Who delivers, since when, and for how long the lease lasts.
SELECT owner, epoch, CASE WHEN epoch = 0 THEN now() ELSE since END,
    CASE WHEN epoch = 0 THEN 0 ELSE greatest(extract(epoch FROM until - clock_timestamp()), 0) END::double precision
FROM trackd.drainer
