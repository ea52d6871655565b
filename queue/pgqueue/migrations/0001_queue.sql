-- The queue of trackd. Everything lies in the schema trackd, owned by the role
-- that ran "trackd fleet init". A centre needs USAGE on the schema and SELECT,
-- INSERT, UPDATE and DELETE on its tables, and nothing else.

CREATE SCHEMA IF NOT EXISTS trackd;

-- Which migrations were applied. A centre starts only on the number it knows.
CREATE TABLE trackd.migrations (
    number  integer     PRIMARY KEY,
    applied timestamptz NOT NULL DEFAULT now()
);

-- The events to be delivered. A delivered event is deleted. Text that clients
-- chose is bytea: it may hold any byte, which text may not. The view
-- trackd.queued shows it readable.
CREATE TABLE trackd.events (
    id           bigint      PRIMARY KEY, -- from account.next_id, visible in this order
    taken        timestamptz NOT NULL,
    type         smallint    NOT NULL,
    name         bytea       NOT NULL,
    message_id   bytea       NOT NULL,
    person1      bigint,                  -- hashes of the ids of persons it names
    person2      bigint,
    person3      bigint,
    body         bytea       NOT NULL,
    cost         integer     NOT NULL,    -- bytes charged against queue.max_bytes
    strikes      double precision NOT NULL DEFAULT 0,
    first_failed timestamptz,
    replayed     bigint                   -- number of its replay; null: it never was a dead letter
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000
);

-- Replayed events are older than the place where the delivery stands: it finds
-- them by the number of their replay.
CREATE UNIQUE INDEX events_replayed ON trackd.events (replayed) WHERE replayed IS NOT NULL;

-- What will not be sent unless an operator replays it: events that were buried,
-- and input rejected from the start.
CREATE TABLE trackd.dead_letters (
    id         bigint      PRIMARY KEY,
    taken      timestamptz NOT NULL,
    type       smallint    NOT NULL,
    name       bytea       NOT NULL,
    message_id bytea       NOT NULL,
    person1    bigint,
    person2    bigint,
    person3    bigint,
    body       bytea       NOT NULL,
    cost       integer     NOT NULL,
    rejected   boolean     NOT NULL,      -- rejected at ingest, never accepted
    reason     text        NOT NULL CHECK (reason IN
        ('malformed', 'invalid', 'not_lifecycle', 'oversize', 'rejected', 'too_large', 'poison', 'expired')),
    status     integer     NOT NULL,      -- HTTP status of the last answer, 0 if there was none
    detail     bytea       NOT NULL,
    attempts   integer     NOT NULL,
    died       timestamptz NOT NULL
);

-- Where every event is now, in two rows: what appends did and what everything
-- else did, so that the two never wait for each other. Their sum is the account.
-- The constraint is the law: no commit can break it.
CREATE TABLE trackd.account (
    side               text   PRIMARY KEY CHECK (side IN ('in', 'out')),
    next_id            bigint NOT NULL DEFAULT 1, -- in: id of the next event; out: number of the next replay
    taken              bigint NOT NULL DEFAULT 0,
    queued             bigint NOT NULL DEFAULT 0,
    delivered          bigint NOT NULL DEFAULT 0,
    discarded          bigint NOT NULL DEFAULT 0,
    lost               bigint NOT NULL DEFAULT 0, -- acknowledged, and unknown to this database after a failover
    dead_malformed     bigint NOT NULL DEFAULT 0,
    dead_invalid       bigint NOT NULL DEFAULT 0,
    dead_not_lifecycle bigint NOT NULL DEFAULT 0,
    dead_oversize      bigint NOT NULL DEFAULT 0,
    dead_rejected      bigint NOT NULL DEFAULT 0,
    dead_too_large     bigint NOT NULL DEFAULT 0,
    dead_poison        bigint NOT NULL DEFAULT 0,
    dead_expired       bigint NOT NULL DEFAULT 0,
    bytes              bigint NOT NULL DEFAULT 0, -- cost of events queued and dead, without rejected input
    reject_bytes       bigint NOT NULL DEFAULT 0, -- cost of rejected input, without samples
    sample_bytes       bigint NOT NULL DEFAULT 0, -- cost of rejected input of not_lifecycle
    CONSTRAINT every_event_is_somewhere CHECK (taken = queued + delivered + discarded + lost
        + dead_malformed + dead_invalid + dead_not_lifecycle + dead_oversize
        + dead_rejected + dead_too_large + dead_poison + dead_expired)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

INSERT INTO trackd.account (side) VALUES ('in'), ('out');

-- Who delivers, one at a time. Each takeover raises the epoch, and what the
-- holder of an older epoch settles changes nothing.
CREATE TABLE trackd.drainer (
    one      boolean     PRIMARY KEY DEFAULT true CHECK (one),
    owner    text        NOT NULL DEFAULT '',
    epoch    bigint      NOT NULL DEFAULT 0,
    since    timestamptz NOT NULL DEFAULT '-infinity',
    until    timestamptz NOT NULL DEFAULT '-infinity',
    low_mark bigint      NOT NULL DEFAULT 0 -- no event with a smaller id is left, but for replayed ones
) WITH (fillfactor = 10);

INSERT INTO trackd.drainer DEFAULT VALUES;

-- For people: text readable as far as it is text, persons left out.
CREATE VIEW trackd.queued AS
SELECT id, taken, encode(name, 'escape') AS name, encode(message_id, 'escape') AS message_id,
    encode(body, 'escape') AS body, strikes, first_failed, replayed IS NOT NULL AS replayed
FROM trackd.events;

CREATE VIEW trackd.dead AS
SELECT id, taken, died, reason, status, attempts, rejected, encode(detail, 'escape') AS detail,
    encode(name, 'escape') AS name, encode(message_id, 'escape') AS message_id, encode(body, 'escape') AS body
FROM trackd.dead_letters;
