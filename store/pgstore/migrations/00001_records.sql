-- +goose Up

-- Times are microseconds since the Unix epoch, durations nanoseconds. Names compare by byte.
CREATE TABLE atmost_records (
    -- version differs for any two states of a key, also across its lives.
    version          bigint   NOT NULL,
    fence            bigint   NOT NULL,
    deadline         bigint   NOT NULL,
    created_at       bigint   NOT NULL,
    updated_at       bigint   NOT NULL,
    result_expires   bigint   NOT NULL,
    key_expires      bigint   NOT NULL,
    -- due is when a sweep has something to do about a record that is not processing.
    due              bigint,
    result_retention bigint   NOT NULL,
    key_retention    bigint   NOT NULL,
    attempt          integer  NOT NULL,
    contradictions   integer  NOT NULL,
    upstream_status  integer  NOT NULL,
    state            smallint NOT NULL,
    settled_by       smallint NOT NULL,
    not_kept         smallint NOT NULL,
    on_unknown       smallint NOT NULL,
    executed_by      smallint NOT NULL,
    scope            text COLLATE "C" NOT NULL,
    key              text COLLATE "C" NOT NULL,
    operation        text     NOT NULL,
    algorithm        text     NOT NULL,
    digest           bytea    NOT NULL,
    token            bytea    NOT NULL,
    -- message is bytes, as what is replayed is what was stored, whatever it was.
    message          bytea,
    past             bytea,
    result           bytea,
    PRIMARY KEY (scope, key)
);

-- A row is in at most one of these at a time: each costs every claim, or every finish.
CREATE INDEX atmost_records_processing ON atmost_records (deadline) WHERE state = 1;
CREATE INDEX atmost_records_due ON atmost_records (due) WHERE due IS NOT NULL;
CREATE INDEX atmost_records_unknown ON atmost_records (scope, key) WHERE state = 5;

-- Every record is updated once and deleted once: dead rows are to be reclaimed as they come.
ALTER TABLE atmost_records SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02,
    autovacuum_vacuum_cost_delay = 0
);

-- One row: which server this is, and what it may have forgotten.
CREATE TABLE atmost_meta (
    id              smallint PRIMARY KEY CHECK (id = 1),
    -- needs is the oldest schema version that a release must know in order to use this database.
    needs           bigint  NOT NULL,
    system          text    NOT NULL,
    timeline        text    NOT NULL,
    -- synchronous tells that what was acknowledged was on a standby, too.
    synchronous     boolean NOT NULL,
    -- guarded_since is set while claims may have been forgotten.
    guarded_since   bigint,
    -- guard_version grows with each change of the guard.
    guard_version   bigint  NOT NULL
);

INSERT INTO atmost_meta VALUES (1, 1, '', '', false, NULL, 1);

-- The scopes that were admitted, each with the guarded_since that it counts for.
CREATE TABLE atmost_admitted (
    scope text   COLLATE "C" PRIMARY KEY,
    since bigint NOT NULL
);
