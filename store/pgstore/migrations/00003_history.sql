-- +goose Up

-- This is a step of its own, as nobody who changes two tables that are in use can keep from deadlocks with those who use both.
SET LOCAL lock_timeout = '2s';

-- Null where there is none, and in all rows that are there: so no row is rewritten, and releases that do not know these go on.
ALTER TABLE atmost_records
    -- history is atmost.History's encoding.
    ADD COLUMN history bytea,
    -- trace is an atmost.SpanID.
    ADD COLUMN trace   bytea,
    ADD COLUMN paths   bytea;
