-- A call that is a whole transaction is durable when it returns. One inside a larger transaction must say that it
-- does not mind surviving a ROLLBACK.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SELECT boot_val, enumvals FROM pg_settings WHERE name = 'ledger.commit_mode';
SET ledger.commit_mode = transactional;
SELECT ledger.create_account(ledger.id(7001), 70, 1);
SET ledger.commit_mode = auto;
SELECT index, status FROM ledger.create_accounts(ARRAY[
    (ledger.id(7001), NULL, NULL, NULL, 70, 1, '{}', NULL),
    (ledger.id(7002), NULL, NULL, NULL, 70, 1, '{}', NULL)
]::ledger.account_input[]);

-- auto, inside a transaction block
BEGIN;
SELECT ledger.create_account(ledger.id(7003), 70, 1);
ROLLBACK;
BEGIN;
SELECT status FROM ledger.create_transfers(ARRAY[
    (ledger.id(7001), ledger.id(7001), ledger.id(7002), 1, NULL, NULL, NULL, NULL, NULL, 70, 1, NULL, NULL)
]::ledger.transfer_input[]);
ROLLBACK;

-- auto, inside a function (the context names a schema that differs from run to run)
\set SHOW_CONTEXT never
CREATE FUNCTION pg_temp.pay(n integer) RETURNS ledger.create_transfer_status LANGUAGE plpgsql AS $$
BEGIN
    RETURN ledger.create_transfer(ledger.id(n), ledger.id(7001), ledger.id(7002), 1, 70, 1);
END
$$;
SELECT pg_temp.pay(7001);
DO $$ BEGIN PERFORM ledger.post_pending_transfer(ledger.id(7001), ledger.id(7002)); END $$;
SELECT count(*) FROM ledger.lookup_transfers(ARRAY[ledger.id(7001)]);
SELECT count(*) FROM ledger.lookup_accounts(ARRAY[ledger.id(7003)]);

-- auto, in each statement that is nothing but a SELECT: accepted.
SET client_min_messages = warning;
CREATE TABLE regress_keys (id integer PRIMARY KEY);
CREATE TABLE regress_log (n integer REFERENCES regress_keys DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE regress_ids (n integer PRIMARY KEY, secret boolean DEFAULT false);
INSERT INTO regress_ids SELECT 7100 + i FROM generate_series(1, 9) i;
CREATE SEQUENCE regress_sequence START 7150;
-- Pays 1 with this id; inlined.
CREATE FUNCTION regress_pay(n bigint) RETURNS ledger.create_transfer_status LANGUAGE sql AS
    'SELECT ledger.create_transfer(ledger.id($1::numeric), ledger.id(7001), ledger.id(7002), 1, 70, 1)';
CREATE VIEW regress_paying AS SELECT regress_pay(n) FROM regress_ids WHERE n = 7101;
SELECT ledger.create_transfer(ledger.id(7110), ledger.id(7001), ledger.id(7002), 1, 70, 1);
SELECT * FROM ledger.create_transfer(ledger.id(7111), ledger.id(7001), ledger.id(7002), 1, 70, 1);
SELECT regress_pay(7112) AS first, regress_pay(7113) AS second;
SELECT count(regress_pay(n)) FROM regress_ids WHERE n < 7104;
SELECT * FROM regress_paying;
WITH made AS MATERIALIZED (SELECT regress_pay(7114) AS status), other AS (SELECT 1)
SELECT status, (SELECT regress_pay(7115)) AS subquery FROM made, other;
VALUES (regress_pay(7116));
SELECT i, p FROM generate_series(7117, 7118) i, LATERAL (SELECT regress_pay(i) AS p OFFSET 0) lateral_pay ORDER BY i;
SELECT regress_pay(n), rank() OVER (ORDER BY n) FROM regress_ids WHERE n = 7104
UNION ALL SELECT regress_pay(7119), 0 WHERE random() < 2 AND set_config('application_name', 'x', true) = 'x';
SELECT regress_pay(7120), pg_advisory_xact_lock(7), ledger.uuidv7() IS NOT NULL AND gen_random_uuid() IS NOT NULL AS ids,
    clock_timestamp() > now() AS clock;
SELECT regress_pay(nextval('regress_sequence')), currval('regress_sequence'), i FROM generate_series(1, 40) i OFFSET 39;
COPY (SELECT regress_pay(7121)) TO STDOUT;
\o /dev/null
EXPLAIN ANALYZE SELECT regress_pay(7122);
\o
PREPARE pay (bigint) AS SELECT regress_pay($1);
EXECUTE pay (7123);
SET plan_cache_mode = force_generic_plan;
EXECUTE pay (7124);
RESET plan_cache_mode;
CREATE DOMAIN regress_number AS bigint CHECK (VALUE > 0 AND random() < 2);
SELECT regress_pay((n + 25)::regress_number) FROM regress_ids WHERE n = 7100 + 1;
SELECT count(*) FROM generate_series(7101, 7189) i, ledger.lookup_transfers(ARRAY[ledger.id(i)]);
-- Each call takes effect by itself; an error that comes after one says so.
\set SHOW_CONTEXT errors
SELECT regress_pay(7190), 1 / (random() * 0)::integer;
SELECT regress_pay(n) FROM (VALUES (7190), (7191), (0)) given (n);
SELECT status, ledger.create_account(ledger.id(0), 70, 1) FROM ledger.create_transfers(ARRAY[(ledger.id(7192), ledger.id(7001),
    ledger.id(7002), 1, NULL, NULL, NULL, NULL, NULL, 70, 1, NULL, NULL)]::ledger.transfer_input[]);
\set SHOW_CONTEXT never

-- auto, in all others: refused, and nothing is moved. What they would write they don't.
INSERT INTO regress_keys VALUES (0);
CREATE FUNCTION regress_write(i bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress_log VALUES (i);
    RETURN i;
END
$$;
\set VERBOSITY terse
INSERT INTO regress_log SELECT 1 WHERE regress_pay(7201) = 'created';
\set VERBOSITY default
INSERT INTO regress_log VALUES (0) RETURNING regress_pay(7201);
\set VERBOSITY terse
UPDATE regress_keys SET id = 0 WHERE regress_pay(7201) = 'created';
DELETE FROM regress_keys WHERE regress_pay(7201) = 'created';
MERGE INTO regress_keys k USING (SELECT regress_pay(7201) AS status) s ON k.id = 5
    WHEN NOT MATCHED AND status = 'created' THEN INSERT VALUES (5);
WITH log AS (INSERT INTO regress_log VALUES (0) RETURNING n) SELECT regress_pay(7201) FROM log;
WITH paid AS (SELECT regress_pay(7201)), log AS (INSERT INTO regress_log VALUES (0)) SELECT * FROM paid;
\set VERBOSITY default
SELECT regress_pay(7201) FROM regress_keys FOR UPDATE;
\set VERBOSITY terse
SELECT regress_pay(7201) INTO regress_into;
CREATE TABLE regress_into AS SELECT regress_pay(7201);
\set VERBOSITY default
CREATE TABLE regress_into AS EXECUTE pay (7201);
\set VERBOSITY terse
CREATE MATERIALIZED VIEW regress_view AS SELECT regress_pay(7201);
CREATE MATERIALIZED VIEW regress_view AS SELECT regress_pay(7201) WITH NO DATA;
REFRESH MATERIALIZED VIEW regress_view;
DROP MATERIALIZED VIEW regress_view;
\set VERBOSITY default
ALTER TABLE regress_keys ADD status text DEFAULT regress_pay(7201)::text;
\set VERBOSITY terse
COPY (INSERT INTO regress_log VALUES (0) RETURNING regress_pay(7201)) TO STDOUT;
CREATE TABLE regress_default (a integer, b text DEFAULT ledger.create_transfer(ledger.id(7201), ledger.id(7001), ledger.id(7002), 1, 70, 1)::text);
COPY regress_default (a) FROM STDIN;
1
\.
COPY regress_ids (n) FROM STDIN WHERE ledger.create_transfer(ledger.id(7201), ledger.id(7001), ledger.id(7002), 1, 70, 1) = 'created';
7300
\.
ALTER TABLE regress_keys ADD CHECK (id = 0 OR regress_pay(7201) = 'created');
INSERT INTO regress_keys VALUES (1);
ALTER TABLE regress_keys DROP CONSTRAINT regress_keys_id_check;
EXPLAIN ANALYZE INSERT INTO regress_log SELECT 0 WHERE regress_pay(7201) = 'created';
EXPLAIN ANALYZE CREATE TABLE regress_into AS SELECT regress_pay(7201);
EXPLAIN ANALYZE WITH log AS (INSERT INTO regress_log VALUES (0) RETURNING n) SELECT regress_pay(7201) FROM log;
PREPARE log (integer) AS INSERT INTO regress_log VALUES ($1) RETURNING regress_pay(7201);
EXECUTE log (0);
EXPLAIN ANALYZE EXECUTE log (0);
EXPLAIN ANALYZE EXECUTE pay (7201);
EXECUTE pay (regress_write(7201));
EXECUTE pay (regress_pay(7201)::text::bigint);
DECLARE held CURSOR WITH HOLD FOR SELECT regress_pay(7201);
BEGIN;
DECLARE rows CURSOR FOR SELECT regress_pay(7201);
FETCH rows;
ROLLBACK;
CREATE PROCEDURE regress_procedure(a integer) LANGUAGE sql AS 'SELECT regress_pay(a)';
CALL regress_procedure(7201);
CREATE FUNCTION regress_body(a integer) RETURNS ledger.create_transfer_status LANGUAGE sql
BEGIN ATOMIC; SELECT 1; SELECT regress_pay(a); END;
SELECT regress_body(7201);
CREATE RULE also AS ON INSERT TO regress_keys DO ALSO SELECT regress_pay(7201);
INSERT INTO regress_keys VALUES (1);
EXPLAIN ANALYZE INSERT INTO regress_keys VALUES (1);
DROP RULE also ON regress_keys;
CREATE RULE before AS ON UPDATE TO regress_keys DO ALSO SELECT regress_pay(7201);
UPDATE regress_keys SET id = 1;
EXPLAIN ANALYZE UPDATE regress_keys SET id = 1;
DROP RULE before ON regress_keys;
CREATE FUNCTION regress_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM regress_pay(7201); RETURN NEW; END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON regress_keys DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION regress_trigger();
INSERT INTO regress_keys VALUES (1);
DROP TRIGGER later ON regress_keys;
-- A table of another server is a table too.
CREATE EXTENSION postgres_fdw;
DO $$
BEGIN
    EXECUTE format('CREATE SERVER regress_loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
        split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database());
END
$$;
CREATE USER MAPPING FOR CURRENT_USER SERVER regress_loop;
CREATE FOREIGN TABLE regress_remote (n integer) SERVER regress_loop OPTIONS (table_name 'regress_log');
INSERT INTO regress_remote SELECT 0 WHERE regress_pay(7201) = 'created';
INSERT INTO regress_remote VALUES (0) RETURNING regress_pay(7201);
DROP EXTENSION postgres_fdw CASCADE;

-- Functions of others that could write, whatever calls them.
SELECT regress_write(0), regress_pay(7201);
\set VERBOSITY default
SELECT regress_pay(7201), regress_write(0);
\set VERBOSITY terse
SELECT regress_pay(7201) WHERE regress_write(0) = 0;
SELECT regress_pay(7201), (SELECT max(regress_write(i)) FROM generate_series(1, 2) i);
SELECT regress_pay(7201) FROM regress_write(0);
SELECT regress_pay(7201) FROM regress_ids WHERE n = 7101 LIMIT regress_write(1);
SELECT regress_pay(7201), row_number() OVER (ORDER BY regress_write(n)) FROM regress_ids;
SELECT regress_pay(7201) FROM regress_ids a JOIN regress_ids b ON regress_write(a.n - a.n) = b.n - b.n;
VALUES (regress_pay(7201), 0), (NULL, regress_write(0));
SELECT regress_pay(7201) UNION ALL SELECT regress_pay(7201) WHERE regress_write(0) = 0;
CREATE OPERATOR !!! (FUNCTION = regress_write, RIGHTARG = bigint);
SELECT regress_pay(7201), !!! 0::bigint;
CREATE TYPE regress_box AS (n bigint);
CREATE FUNCTION regress_cast(b regress_box) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN regress_write(b.n); END';
CREATE CAST (regress_box AS bigint) WITH FUNCTION regress_cast(regress_box);
SELECT regress_pay(7201), ROW(0)::regress_box::bigint;
CREATE DOMAIN regress_writing AS bigint CHECK (regress_write(VALUE) = VALUE);
SELECT regress_pay(n::bigint::regress_writing) FROM regress_ids;
CREATE FUNCTION regress_add(state bigint, n bigint) RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN regress_write(n); END';
CREATE AGGREGATE regress_sum(bigint) (sfunc = regress_add, stype = bigint);
SELECT regress_pay(7201), regress_sum(n) FROM regress_ids;
SELECT regress_pay(7201), regress_sum(n) OVER () FROM regress_ids;
CREATE VIEW regress_hidden AS SELECT regress_write(0) AS n;
SELECT regress_pay(7201) FROM regress_hidden OFFSET 0;
CREATE ROLE regress_ledger_clerk;
GRANT SELECT ON regress_ids TO regress_ledger_clerk;
GRANT INSERT ON regress_log TO regress_ledger_clerk;
GRANT USAGE ON SCHEMA ledger TO regress_ledger_clerk;
GRANT EXECUTE ON FUNCTION ledger.create_transfer TO regress_ledger_clerk;
ALTER TABLE regress_ids ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_ids USING (regress_write(n) = n);
SET ROLE regress_ledger_clerk;
SELECT regress_pay(7201) FROM regress_ids;
RESET ROLE;
ALTER TABLE regress_ids DISABLE ROW LEVEL SECURITY;
SELECT regress_pay(7201), pg_notify('regress', 'paid');
SELECT regress_pay(7201), lo_create(0);
SELECT regress_pay(7201), setval('regress_sequence', 1);
SELECT regress_pay(7201), pg_current_xact_id();
SELECT regress_pay(7201), query_to_xml('SELECT regress_write(0)', true, true, '');
-- Functions that write and are declared not to: before the call it is refused, after it they fail.
CREATE FUNCTION regress_lie(i bigint) RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN regress_write(i); END';
CREATE TEMP TABLE regress_temporary (n integer);
CREATE FUNCTION regress_write_temporary(i bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO regress_temporary VALUES (i);
    RETURN i;
END
$$;
CREATE FUNCTION regress_lie_temporary(i bigint) RETURNS bigint STABLE LANGUAGE plpgsql AS
    'BEGIN RETURN regress_write_temporary(i); END';
\set VERBOSITY default
SELECT regress_lie(0), regress_pay(7201);
\set VERBOSITY terse
\set VERBOSITY default
SELECT regress_pay(nextval('regress_sequence')), regress_lie(0);
\set VERBOSITY terse
-- Where no plan shows them, also beside a sequence: in the checks of a domain that a function of the server reads.
CREATE DOMAIN regress_checked AS bigint CHECK (regress_write(value) = value);
CREATE TYPE regress_row AS (n regress_checked);
\set VERBOSITY default
SELECT json_populate_record(NULL::regress_row, format('{"n": %s}', i)::json), regress_pay(nextval('regress_sequence'))
    FROM generate_series(0, 0) i;
SELECT regress_pay(nextval('regress_sequence')) AS paid, json_populate_record(NULL::regress_row, format('{"n": %s}', i)::json)
    FROM generate_series(0, 0) i;
\set VERBOSITY terse
\set VERBOSITY default
SELECT regress_pay(7202), regress_lie(0);
SELECT regress_pay(7203), regress_lie_temporary(0);
\set VERBOSITY terse
SELECT ledger.id_numeric(id) FROM ledger.transfers WHERE id = ANY (ARRAY(SELECT ledger.id(i) FROM generate_series(7201, 7300) i)) ORDER BY 1;
SELECT (SELECT count(*) FROM regress_log) AS log, (SELECT array_agg(id) FROM regress_keys) AS keys,
    (SELECT count(*) FROM regress_default) AS defaults, (SELECT count(*) FROM regress_ids) AS ids,
    (SELECT count(*) FROM regress_temporary) AS temporary, to_regclass('regress_into') AS into_table;
-- The transaction after such a call is as usual.
SELECT regress_pay(7204);
INSERT INTO regress_log VALUES (0);
SHOW transaction_read_only;
-- To ask whether a call is in a function changes nothing in it.
CREATE FUNCTION regress_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        PERFORM regress_pay(7201);
    EXCEPTION WHEN feature_not_supported THEN NULL;
    END;
    RAISE WARNING '% rows', (SELECT count(*) FROM ledger);
    RETURN NULL;
END
$$;
CREATE TRIGGER transition AFTER INSERT ON regress_log REFERENCING NEW TABLE AS ledger
    FOR EACH STATEMENT EXECUTE FUNCTION regress_transition();
INSERT INTO regress_log VALUES (0), (0);
\set VERBOSITY default
DEALLOCATE ALL;
DROP CAST (regress_box AS bigint);
DROP OPERATOR !!! (NONE, bigint);
DROP VIEW regress_paying, regress_hidden;
DROP AGGREGATE regress_sum(bigint);
DROP POLICY own ON regress_ids;
DROP TYPE regress_row;
DROP DOMAIN regress_number, regress_writing, regress_checked;
DROP TABLE regress_log, regress_keys, regress_ids, regress_default, regress_temporary;
DROP FUNCTION regress_write, regress_lie, regress_write_temporary, regress_lie_temporary, regress_body, regress_trigger,
    regress_transition, regress_add, regress_cast, regress_pay;
DROP TYPE regress_box;
DROP PROCEDURE regress_procedure;
DROP SEQUENCE regress_sequence;
REVOKE ALL ON SCHEMA ledger FROM regress_ledger_clerk;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM regress_ledger_clerk;
DROP ROLE regress_ledger_clerk;
RESET client_min_messages;

-- Reading is free.
BEGIN;
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(ledger => 70);
COMMIT;

-- immediate: works anywhere, and a ROLLBACK does not take it back.
SET ledger.commit_mode = immediate;
SELECT pg_temp.pay(7001);
BEGIN;
SELECT pg_temp.pay(7002);
SAVEPOINT a;
SELECT pg_temp.pay(7003);
ROLLBACK TO a;
ROLLBACK;
SELECT ledger.id_numeric(id) FROM ledger.lookup_transfers(ARRAY[ledger.id(7001), ledger.id(7002), ledger.id(7003)]);
SET ledger.commit_mode = auto;

-- Not in a read-only transaction, whatever the mode.
SET default_transaction_read_only = on;
SELECT ledger.create_account(ledger.id(7004), 70, 1);
SELECT ledger.create_transfer(ledger.id(7004), ledger.id(7001), ledger.id(7002), 1, 70, 1);
SELECT ledger.post_pending_transfer(ledger.id(7004), ledger.id(7001));
SELECT ledger.void_pending_transfer(ledger.id(7004), ledger.id(7001));
SELECT * FROM ledger.create_accounts('{}');
SELECT * FROM ledger.create_transfers('{}');
SELECT ledger.create_accounts_packed('');
SELECT ledger.create_transfers_packed('');
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(ledger => 70);
RESET default_transaction_read_only;
