-- What decides whether a commit survives the primary. How many standbys are
-- synchronous is seen by members of pg_monitor only: others are told of each that
-- is connected.
SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), current_setting('fsync'),
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL OR sync_state IN ('sync', 'quorum'))
