-- +goose Up

-- Who waits for a table that everybody needs stops all who come after it: better to give up, and to be run again.
SET LOCAL lock_timeout = '2s';

-- What persons did to records, one row each, kept as long as the store is.
CREATE TABLE atmost_audit (
    number    bigint   PRIMARY KEY,
    at        bigint   NOT NULL,
    attempt   integer  NOT NULL,
    action    smallint NOT NULL,
    before    smallint NOT NULL,
    after     smallint NOT NULL,
    scope     text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    operation text     NOT NULL,
    actor     text     NOT NULL,
    reason    text     NOT NULL
);

ALTER TABLE atmost_meta
    -- audited is the number of the newest entry. Who adds one holds this row until its commit can be seen: so the numbers grow in the
    -- order in which entries can be seen, as those of a sequence would not.
    ADD COLUMN audited bigint NOT NULL DEFAULT 0,
    -- secret is the store's own: three random UUIDs have more than its 256 bits.
    ADD COLUMN secret bytea;

UPDATE atmost_meta SET secret = sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));

ALTER TABLE atmost_meta ALTER COLUMN secret SET NOT NULL;
