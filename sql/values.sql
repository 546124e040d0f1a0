-- Values in every form that the server passes them in: variables of PL/pgSQL (expanded objects), columns (short,
-- compressed, external), domains, parameters of custom and generic plans, NULL, rows of tables.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SET ledger.commit_mode = immediate;
CREATE FUNCTION pg_temp.transfer(n integer, amount numeric, flags ledger.transfer_flag[], pending integer DEFAULT NULL)
RETURNS ledger.transfer_input LANGUAGE sql AS $$
    SELECT (ledger.id(n), ledger.id(1100001), ledger.id(1100002), amount, ledger.id(pending), NULL, 0, 0, 0, 110, 1, flags,
        NULL)::ledger.transfer_input
$$;
-- What is there of the ids n … m.
CREATE FUNCTION pg_temp.made(n integer, m integer)
RETURNS TABLE (id numeric, amount numeric, flags ledger.transfer_flag[], timeout bigint) LANGUAGE sql AS $$
    SELECT ledger.id_numeric(t.id), t.amount, t.flags, t.timeout
    FROM generate_series(n, m) i, ledger.lookup_transfers(ARRAY[ledger.id(i)]) t
$$;

-- Variables of PL/pgSQL: every argument of every function that creates one.
DO $$
DECLARE
    id uuid := ledger.id(1100001);
    other uuid := ledger.id(1100002);
    transfer uuid;
    ledger bigint := 110;
    code integer := 1;
    account_flags ledger.account_flag[] := '{history}';
    flags ledger.transfer_flag[] := '{pending}';
    amount numeric := 2;
    timeout interval := '1 hour';
    user_data_128 uuid := ledger.id(7);
    user_data_64 bigint := 8;
    user_data_32 bigint := 9;
    moment bigint;
    made text[];
BEGIN
    made := made || ledger.create_account(id, ledger, code, account_flags, user_data_128, user_data_64, user_data_32,
        moment)::text;
    account_flags := account_flags || 'debits_must_not_exceed_credits'::ledger.account_flag;
    account_flags[2] := 'history';
    made := made || ledger.create_account(other, ledger, code, account_flags)::text;
    amount := amount ^ 127;
    transfer := ledger.id(1101001);
    made := made || ledger.create_transfer(transfer, id, other, amount, ledger, code, flags, timeout, user_data_128,
        user_data_64, user_data_32, moment)::text;
    amount := amount / 2;
    made := made || ledger.post_pending_transfer(ledger.id(1101002), transfer, amount, user_data_128, user_data_64,
        user_data_32)::text;
    flags[1] := 'pending';
    flags := flags || flags;
    transfer := ledger.id(1101003);
    made := made || ledger.create_transfer(transfer, id, other, 5, ledger, code, flags)::text;
    made := made || ledger.void_pending_transfer(ledger.id(1101004), transfer, user_data_128, user_data_64,
        user_data_32)::text;
    RAISE NOTICE '%', made;
END
$$;
SELECT * FROM pg_temp.made(1101001, 1101004);
SELECT ledger.id_numeric(id) AS id, flags, ledger.id_numeric(user_data_128) AS u128, user_data_64, user_data_32
FROM ledger.lookup_accounts(ARRAY[ledger.id(1100001), ledger.id(1100002)]);

-- The same of those that create many: arrays that are built in variables, rows that are variables, packed records.
DO $$
DECLARE
    accounts ledger.account_input[];
    account ledger.account_input;
    transfers ledger.transfer_input[];
    transfer ledger.transfer_input;
    packed bytea;
    made text[];
BEGIN
    account := (ledger.id(1100003), NULL, 0, 0, 110, 1, NULL, NULL);
    account.flags := '{history}';
    account.flags := account.flags || 'credits_must_not_exceed_debits'::ledger.account_flag;
    accounts[1] := account;
    account.id := ledger.id(1100004);
    account.flags := NULL;
    accounts := accounts || account;
    SELECT made || array_agg(status::text) INTO made FROM ledger.create_accounts(accounts);
    FOR n IN 1 .. 3 LOOP
        transfer := pg_temp.transfer(1101010 + n, n, NULL);
        transfer.flags[1] := 'linked';
        IF n = 3 THEN transfer.flags := '{}'; END IF;
        transfers[n] := transfer;
    END LOOP;
    SELECT made || array_agg(status::text) INTO made FROM ledger.create_transfers(transfers);
    packed := repeat(E'\\000'::text, 0)::bytea || decode(lpad(to_hex(1101014), 8, '0'), 'hex');
    made := made || length(ledger.create_transfers_packed(packed || decode(repeat('00', 124), 'hex')))::text;
    packed := decode(repeat('00', 256), 'hex');
    made := made || encode(ledger.create_accounts_packed(packed), 'hex');
    RAISE NOTICE '%', regexp_replace(made::text, '[0-9a-f]{16}([0-9a-f]{16})[0-9a-f]{16}([0-9a-f]{16})', '\1 \2');
END
$$;
SELECT * FROM pg_temp.made(1101010, 1101014);
SELECT ledger.id_numeric(id) AS id, flags FROM ledger.lookup_accounts(ARRAY[ledger.id(1100003), ledger.id(1100004)]);

-- And of those that read.
DO $$
DECLARE
    account uuid := ledger.id(1100002);
    ids uuid[] := ARRAY[ledger.id(1100001)];
    yes boolean := true;
    user_data_128 uuid := ledger.id(7);
    user_data_64 bigint := 8;
    user_data_32 bigint := 9;
    code integer := 1;
    ledger bigint := 110;
    first bigint := 1;
    last bigint := 9223372036854775806;
    most bigint := 3;
    counts bigint[];
BEGIN
    ids[2] := account;
    ids := ids || ids;
    counts := counts || (SELECT count(*) FROM ledger.lookup_accounts(ids));
    ids := '{}';
    FOR n IN 1101001 .. 1101004 LOOP ids := ids || ledger.id(n); END LOOP;
    counts := counts || (SELECT count(*) FROM ledger.lookup_transfers(ids));
    counts := counts || (SELECT count(*) FROM ledger.get_account_transfers(account, yes, yes, user_data_128, user_data_64,
        user_data_32, code, first, last, most, yes));
    counts := counts || (SELECT count(*) FROM ledger.get_account_balances(account, yes, yes, user_data_128, user_data_64,
        user_data_32, code, first, last, most, yes));
    counts := counts || (SELECT count(*) FROM ledger.query_accounts(user_data_128, user_data_64, user_data_32, ledger, code,
        first, last, most, yes));
    counts := counts || (SELECT count(*) FROM ledger.query_transfers(user_data_128, user_data_64, user_data_32, ledger, code,
        first, last, most, yes));
    counts := counts || (SELECT count(*) FROM ledger.get_change_events(first, last, most));
    counts := counts || (SELECT count(*) FROM ledger.accounts a WHERE a.id = ANY (ids || account));
    counts := counts || (SELECT count(*) FROM ledger.transfers t WHERE t.id = ANY (ids));
    ids := ARRAY[account];
    counts := counts || (SELECT count(*) FROM ledger.account_balances b WHERE b.account_id = ANY (ids));
    RAISE NOTICE '%', counts;
    RAISE NOTICE '% %', ledger.id(ledger.id_numeric(account)), ledger.id(2::numeric ^ 100);
END
$$;

-- Columns in each form of storage. The expected form of each is looked at, for the flags.
CREATE TABLE regress_values (
    storage text PRIMARY KEY, n integer, account_flags ledger.account_flag[], flags ledger.transfer_flag[], amount numeric,
    timeout interval, ids uuid[], accounts ledger.account_input[], transfers ledger.transfer_input[],
    transfer ledger.transfer_input, packed bytea, wide numeric, fraction numeric);
CREATE FUNCTION pg_temp.store(storage text, n integer, size integer, attribute_storage text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    attribute name;
BEGIN
    FOR attribute IN SELECT attname FROM pg_attribute
        WHERE attrelid = 'regress_values'::regclass AND attnum > 2 AND attlen = -1 LOOP
        EXECUTE format('ALTER TABLE regress_values ALTER %I SET STORAGE %s', attribute, attribute_storage);
    END LOOP;
    INSERT INTO regress_values
    SELECT storage, n, array_fill('history'::ledger.account_flag, ARRAY[size]),
        array_fill('pending'::ledger.transfer_flag, ARRAY[size]), n, make_interval(secs => n),
        ARRAY(SELECT ledger.id(1100001 + i % 4) FROM generate_series(1, size) i),
        ARRAY(SELECT (ledger.id(n + i), NULL, NULL, NULL, 110, 1, array_fill('history'::ledger.account_flag,
            ARRAY[size]), NULL)::ledger.account_input FROM generate_series(11, 12) i),
        ARRAY(SELECT pg_temp.transfer(n + i, i, array_fill('pending'::ledger.transfer_flag, ARRAY[size]))
            FROM generate_series(11, 12) i),
        pg_temp.transfer(n + 13, n, array_fill('pending'::ledger.transfer_flag, ARRAY[size])),
        decode(repeat('00', 128 * size), 'hex'), 10::numeric ^ (100 + size), ('1.' || repeat('3', least(size, 9000)))::numeric;
END
$$;
SELECT pg_temp.store('short', 1102000, 1, 'EXTENDED');
SELECT pg_temp.store('plain', 1103000, 20, 'PLAIN');
SELECT pg_temp.store('compressed', 1104000, 2000, 'EXTENDED');
SELECT pg_temp.store('compressed external', 1105000, 100000, 'EXTENDED');
SELECT pg_temp.store('external', 1106000, 2000, 'EXTERNAL');
SELECT storage, pg_column_compression(flags) IS NOT NULL AS compressed, pg_column_size(flags) > 2040 AS external
FROM regress_values ORDER BY n;

SELECT storage, ledger.create_account(ledger.id(n), 110, 1, account_flags) AS account,
    ledger.create_transfer(ledger.id(n), ledger.id(1100001), ledger.id(1100002), amount, 110, 1, flags, timeout) AS transfer,
    ledger.post_pending_transfer(ledger.id(n + 1), ledger.id(n), amount - 1) AS post,
    ledger.create_transfer(ledger.id(n + 2), ledger.id(1100001), ledger.id(1100002), amount, 110, 1, flags) AS again,
    ledger.void_pending_transfer(ledger.id(n + 3), ledger.id(n + 2)) AS void
FROM regress_values ORDER BY n;
SELECT storage, (SELECT array_agg(status ORDER BY index) FROM ledger.create_accounts(accounts)) AS accounts,
    (SELECT array_agg(status ORDER BY index) FROM ledger.create_transfers(transfers)) AS transfers,
    (SELECT array_agg(status) FROM ledger.create_transfers(ARRAY[transfer])) AS transfer
FROM regress_values ORDER BY n;
SELECT storage, (SELECT count(*) FROM ledger.lookup_accounts(ids)) AS accounts,
    (SELECT count(*) FROM ledger.lookup_transfers(ids)) AS transfers,
    (SELECT count(*) FROM ledger.accounts a WHERE a.id = ANY (ids)) AS rows
FROM regress_values WHERE storage <> 'compressed external' ORDER BY n;
SELECT storage, length(ledger.create_accounts_packed(packed)) AS accounts,
    length(ledger.create_transfers_packed(packed)) AS transfers
FROM regress_values ORDER BY n;
SELECT made.* FROM regress_values v, pg_temp.made(v.n, v.n + 13) made ORDER BY 1;
-- Numbers that are no amount, in each form.
CREATE FUNCTION pg_temp.state(number numeric) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN ledger.id(number);
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT storage, pg_temp.state(wide) AS wide, pg_temp.state(fraction) AS fraction FROM regress_values ORDER BY n;
DROP TABLE regress_values;

-- Domains, over each type and over elements.
CREATE DOMAIN pg_temp.a_uuid AS uuid CHECK (VALUE <> ledger.id(0));
CREATE DOMAIN pg_temp.a_number AS numeric CHECK (VALUE > 0);
CREATE DOMAIN pg_temp.a_bigint AS bigint;
CREATE DOMAIN pg_temp.a_code AS integer CHECK (VALUE > 0);
CREATE DOMAIN pg_temp.a_flag AS ledger.transfer_flag;
CREATE DOMAIN pg_temp.some_flags AS ledger.transfer_flag[] CHECK (cardinality(VALUE) < 9);
CREATE DOMAIN pg_temp.an_interval AS interval;
CREATE DOMAIN pg_temp.a_transfer AS ledger.transfer_input CHECK ((VALUE).amount > 0);
CREATE DOMAIN pg_temp.some_transfers AS ledger.transfer_input[];
CREATE DOMAIN pg_temp.some_bytes AS bytea;
CREATE DOMAIN pg_temp.some_ids AS uuid[];
SELECT ledger.create_transfer(ledger.id(1107001)::pg_temp.a_uuid, ledger.id(1100001)::pg_temp.a_uuid, ledger.id(1100002),
    5::pg_temp.a_number, 110::pg_temp.a_bigint, 1::pg_temp.a_code, '{pending}'::pg_temp.some_flags,
    '1 day'::pg_temp.an_interval);
SELECT ledger.create_transfer(ledger.id(1107002), ledger.id(1100001), ledger.id(1100002), 5, 110, 1,
    ARRAY['pending'::pg_temp.a_flag]);
SELECT status FROM ledger.create_transfers(ARRAY[pg_temp.transfer(1107003, 3, '{pending}')::pg_temp.a_transfer]);
SELECT status FROM ledger.create_transfers(ARRAY[pg_temp.transfer(1107004, 4, '{}')]::pg_temp.some_transfers);
SELECT length(ledger.create_transfers_packed(decode(repeat('00', 128), 'hex')::pg_temp.some_bytes));
SELECT count(*) FROM ledger.lookup_transfers(ARRAY[ledger.id(1107001), ledger.id(1107004)]::pg_temp.some_ids);
SELECT count(*) FROM ledger.lookup_transfers(ARRAY[ledger.id(1107001)::pg_temp.a_uuid, ledger.id(1107004)]);
DO $$
DECLARE
    flags pg_temp.some_flags := '{pending}';
    element pg_temp.a_flag := 'pending';
    transfer pg_temp.a_transfer := pg_temp.transfer(1107006, 6, '{pending}');
    transfers pg_temp.some_transfers;
    ids pg_temp.some_ids := ARRAY[ledger.id(1107005)];
BEGIN
    flags := flags || element::ledger.transfer_flag;
    RAISE NOTICE '%', ledger.create_transfer(ledger.id(1107005), ledger.id(1100001), ledger.id(1100002), 5, 110, 1, flags);
    transfers := ARRAY[transfer];
    transfers[2] := pg_temp.transfer(1107007, 7, flags);
    RAISE NOTICE '%', (SELECT array_agg(status) FROM ledger.create_transfers(transfers));
    ids[2] := ledger.id(1107007);
    RAISE NOTICE '%', (SELECT count(*) FROM ledger.lookup_transfers(ids));
END
$$;
SELECT * FROM pg_temp.made(1107001, 1107007);

-- Parameters, of custom plans and of generic ones.
PREPARE new_account (uuid, bigint, integer, ledger.account_flag[], uuid, bigint, bigint, bigint) AS
    SELECT ledger.create_account($1, $2, $3, $4, $5, $6, $7, $8);
PREPARE new_transfer (uuid, uuid, uuid, numeric, bigint, integer, ledger.transfer_flag[], interval, uuid, bigint, bigint, bigint) AS
    SELECT ledger.create_transfer($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);
PREPARE post (uuid, uuid, numeric, uuid, bigint, bigint) AS SELECT ledger.post_pending_transfer($1, $2, $3, $4, $5, $6);
PREPARE void (uuid, uuid, uuid, bigint, bigint) AS SELECT ledger.void_pending_transfer($1, $2, $3, $4, $5);
PREPARE new_accounts (ledger.account_input[]) AS SELECT index, status FROM ledger.create_accounts($1);
PREPARE new_transfers (ledger.transfer_input[]) AS SELECT index, status FROM ledger.create_transfers($1);
PREPARE packed (bytea) AS SELECT length(ledger.create_accounts_packed($1)), length(ledger.create_transfers_packed($1));
PREPARE lookups (uuid[]) AS SELECT (SELECT count(*) FROM ledger.lookup_accounts($1)) AS accounts,
    (SELECT count(*) FROM ledger.lookup_transfers($1)) AS transfers;
PREPARE account_reads (uuid, boolean, boolean, uuid, bigint, bigint, integer, bigint, bigint, bigint, boolean) AS
    SELECT (SELECT count(*) FROM ledger.get_account_transfers($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)) AS transfers,
        (SELECT count(*) FROM ledger.get_account_balances($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)) AS balances;
PREPARE queries (uuid, bigint, bigint, bigint, integer, bigint, bigint, bigint, boolean) AS
    SELECT (SELECT count(*) FROM ledger.query_accounts($1, $2, $3, $4, $5, $6, $7, $8, $9)) AS accounts,
        (SELECT count(*) FROM ledger.query_transfers($1, $2, $3, $4, $5, $6, $7, $8, $9)) AS transfers,
        (SELECT count(*) FROM ledger.get_change_events($6, $7, $8)) AS events;
SET plan_cache_mode = force_custom_plan;
EXECUTE new_account (ledger.id(1108001), 110, 1, '{history}', ledger.id(1), 2, 3, NULL);
EXECUTE new_transfer (ledger.id(1108001), ledger.id(1100001), ledger.id(1108001), 9, 110, 1, '{pending}', '1 hour', ledger.id(1), 2, 3, NULL);
EXECUTE post (ledger.id(1108002), ledger.id(1108001), 7, ledger.id(1), 2, 3);
EXECUTE new_transfer (ledger.id(1108003), ledger.id(1100001), ledger.id(1108001), 8, 110, 1, '{pending}', NULL, NULL, NULL, NULL, NULL);
EXECUTE void (ledger.id(1108004), ledger.id(1108003), ledger.id(1), 2, 3);
EXECUTE new_accounts (ARRAY[(ledger.id(1108002), NULL, NULL, NULL, 110, 1, '{}', NULL)]::ledger.account_input[]);
EXECUTE new_transfers (ARRAY[pg_temp.transfer(1108005, 5, '{}'), pg_temp.transfer(1108006, 6, '{pending}')]);
EXECUTE packed ('');
EXECUTE lookups (ARRAY[ledger.id(1108001), ledger.id(1108002)]);
EXECUTE account_reads (ledger.id(1108001), true, true, ledger.id(1), 2, 3, 1, 1, NULL, 3, false);
EXECUTE queries (ledger.id(1), 2, 3, 110, 1, 1, NULL, 3, true);
SET plan_cache_mode = force_generic_plan;
EXECUTE new_account (ledger.id(1109001), 110, 1, '{history}', ledger.id(1), 2, 3, NULL);
EXECUTE new_transfer (ledger.id(1109001), ledger.id(1100001), ledger.id(1109001), 9, 110, 1, '{pending}', '1 hour', ledger.id(1), 2, 3, NULL);
EXECUTE post (ledger.id(1109002), ledger.id(1109001), 7, ledger.id(1), 2, 3);
EXECUTE new_transfer (ledger.id(1109003), ledger.id(1100001), ledger.id(1109001), 8, 110, 1, '{pending}', NULL, NULL, NULL, NULL, NULL);
EXECUTE void (ledger.id(1109004), ledger.id(1109003), ledger.id(1), 2, 3);
EXECUTE new_accounts (ARRAY[(ledger.id(1109002), NULL, NULL, NULL, 110, 1, '{}', NULL)]::ledger.account_input[]);
EXECUTE new_transfers (ARRAY[pg_temp.transfer(1109005, 5, '{}'), pg_temp.transfer(1109006, 6, '{pending}')]);
EXECUTE packed ('');
EXECUTE lookups (ARRAY[ledger.id(1109001), ledger.id(1109002)]);
EXECUTE account_reads (ledger.id(1109001), true, true, ledger.id(1), 2, 3, 1, 1, NULL, 3, false);
EXECUTE queries (ledger.id(1), 2, 3, 110, 1, 1, NULL, 3, true);
-- NULL in each place: an error where a value is needed, else the default.
EXECUTE new_account (NULL, 110, 1, '{}', NULL, NULL, NULL, NULL);
EXECUTE new_account (ledger.id(1109010), NULL, 1, '{}', NULL, NULL, NULL, NULL);
EXECUTE new_account (ledger.id(1109010), 110, NULL, '{}', NULL, NULL, NULL, NULL);
EXECUTE new_account (ledger.id(1109010), 110, 1, '{NULL}', NULL, NULL, NULL, NULL);
EXECUTE new_account (ledger.id(1109010), 110, 1, NULL, NULL, NULL, NULL, NULL);
EXECUTE new_transfer (NULL, ledger.id(1100001), ledger.id(1100002), 1, 110, 1, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE new_transfer (ledger.id(1109010), NULL, ledger.id(1100002), 1, 110, 1, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE new_transfer (ledger.id(1109010), ledger.id(1100001), NULL, 1, 110, 1, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE new_transfer (ledger.id(1109010), ledger.id(1100001), ledger.id(1100002), NULL, 110, 1, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE new_transfer (ledger.id(1109010), ledger.id(1100001), ledger.id(1100002), 1, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE new_transfer (ledger.id(1109010), ledger.id(1100001), ledger.id(1100002), 1, 110, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE new_transfer (ledger.id(1109010), ledger.id(1100001), ledger.id(1100002), 1, 110, 1, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE post (NULL, ledger.id(1109006), NULL, NULL, NULL, NULL);
EXECUTE post (ledger.id(1109011), NULL, NULL, NULL, NULL, NULL);
EXECUTE post (ledger.id(1109011), ledger.id(1109006), NULL, NULL, NULL, NULL);
EXECUTE void (NULL, ledger.id(1108006), NULL, NULL, NULL);
EXECUTE void (ledger.id(1109012), NULL, NULL, NULL, NULL);
EXECUTE void (ledger.id(1109012), ledger.id(1108006), NULL, NULL, NULL);
EXECUTE new_accounts (NULL);
EXECUTE new_accounts ('{NULL}');
EXECUTE new_accounts (ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)]::ledger.account_input[]);
EXECUTE new_transfers (NULL);
EXECUTE new_transfers ('{NULL}');
EXECUTE new_transfers (ARRAY[ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)]::ledger.transfer_input[]);
EXECUTE packed (NULL);
EXECUTE lookups (NULL);
EXECUTE lookups ('{NULL}');
EXECUTE account_reads (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE account_reads (ledger.id(1109001), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
EXECUTE queries (NULL, NULL, NULL, 110, NULL, NULL, NULL, 1, NULL);
RESET plan_cache_mode;
DEALLOCATE ALL;
SELECT ledger.id(NULL), ledger.id_numeric(NULL);

-- Rows of a table: whole, chosen, aggregated, and with attributes that the table has lost.
CREATE TABLE regress_staging (note text, LIKE ledger.transfers);
ALTER TABLE regress_staging DROP created_at, DROP state, DROP expires_at, DROP resolved_by, DROP resolved_at,
    DROP note, ADD note text DEFAULT 'later', ALTER user_data_64 DROP NOT NULL,
    ALTER user_data_32 DROP NOT NULL, ALTER timeout DROP NOT NULL, ALTER "timestamp" DROP NOT NULL;
INSERT INTO regress_staging (id, debit_account_id, credit_account_id, amount, ledger, code, flags)
SELECT ledger.id(1110000 + i), ledger.id(1100001), ledger.id(1100002), i, 110, 1, CASE i WHEN 2 THEN '{pending}' ELSE '{}' END::ledger.transfer_flag[]
FROM generate_series(1, 4) i;
ALTER TABLE regress_staging DROP note;
SELECT status FROM ledger.create_transfers(ARRAY(SELECT ROW(s.*)::ledger.transfer_input FROM regress_staging s WHERE amount = 1));
SELECT status FROM ledger.create_transfers((SELECT array_agg((s.id, s.debit_account_id, s.credit_account_id, s.amount,
    s.pending_id, s.user_data_128, s.user_data_64, s.user_data_32, s.timeout, s.ledger, s.code, s.flags,
    s."timestamp")::ledger.transfer_input) FROM regress_staging s WHERE amount = 2));
CREATE TABLE regress_typed OF ledger.transfer_input;
INSERT INTO regress_typed SELECT * FROM regress_staging;
SELECT status FROM ledger.create_transfers(ARRAY(SELECT t::ledger.transfer_input FROM regress_typed t));
DO $$
DECLARE
    row regress_typed;
    transfers ledger.transfer_input[];
BEGIN
    FOR row IN SELECT * FROM regress_typed LOOP
        row.amount := row.amount + 1;
        transfers := transfers || row::ledger.transfer_input;
    END LOOP;
    RAISE NOTICE '%', (SELECT array_agg(status) FROM ledger.create_transfers(transfers));
END
$$;
SELECT * FROM pg_temp.made(1110001, 1110004);
SELECT status FROM ledger.create_transfers(ARRAY(SELECT jsonb_populate_record(NULL::ledger.transfer_input,
    jsonb_build_object('id', ledger.id(1110005), 'debit_account_id', ledger.id(1100001), 'credit_account_id',
        ledger.id(1100002), 'amount', 5, 'ledger', 110, 'code', 1, 'flags', '{pending}'::text[]))));
DROP TABLE regress_staging, regress_typed;

-- Types that their owner has altered: dropped attributes don't count, others are refused.
ALTER TYPE ledger.transfer_input ADD ATTRIBUTE note text;
SELECT * FROM ledger.create_transfers(ARRAY[(ledger.id(1110006), ledger.id(1100001), ledger.id(1100002), 1, NULL, NULL, NULL, NULL,
    NULL, 110, 1, NULL, NULL, 'note')]::ledger.transfer_input[]);
ALTER TYPE ledger.transfer_input DROP ATTRIBUTE note;
SELECT index, status FROM ledger.create_transfers(ARRAY[pg_temp.transfer(1110006, 1, NULL)]);
BEGIN;
ALTER TYPE ledger.account_input ALTER ATTRIBUTE code TYPE bigint;
SELECT * FROM ledger.create_accounts(ARRAY[(ledger.id(1110006), NULL, NULL, NULL, 110, 1, NULL, NULL)]::ledger.account_input[]);
ROLLBACK;
BEGIN;
ALTER FOREIGN TABLE ledger.accounts DROP COLUMN code;
SELECT count(*) FROM ledger.lookup_accounts(ARRAY[ledger.id(1100001)]);
ROLLBACK;
BEGIN;
ALTER FOREIGN TABLE ledger.transfers ALTER amount TYPE text;
SELECT count(*) FROM ledger.query_transfers(ledger => 110, "limit" => 1);
ROLLBACK;
-- A schema with another name is still the extension's.
ALTER SCHEMA ledger RENAME TO regress_books;
SELECT regress_books.create_account(regress_books.id(1110007), 110, 1, '{history}');
SELECT count(*) FROM regress_books.accounts WHERE id = regress_books.id(1110007) AND 'history' = ANY (flags);
ALTER SCHEMA regress_books RENAME TO ledger;
SELECT ledger.create_account(ledger.id(1110007), 110, 1, '{history}');

-- The status alone is returned: there is no row that could be taken apart by a call for each column.
SELECT (ledger.create_transfer(ledger.uuidv7(), ledger.id(1100003), ledger.id(1100004), 100, 110, 1)).*;
SELECT (ledger.post_pending_transfer(ledger.uuidv7(), ledger.id(1107001))).*;
SELECT (ledger.void_pending_transfer(ledger.uuidv7(), ledger.id(1107001))).status;
SELECT (ledger.create_account(ledger.uuidv7(), 110, 1)).*;
SELECT debits_posted, credits_posted FROM ledger.lookup_accounts(ARRAY[ledger.id(1100003), ledger.id(1100004)]);
SELECT ledger.create_transfer(ledger.id(1111000), ledger.id(1100001), ledger.id(1100002), 100, 110, 1);
SELECT * FROM ledger.create_transfer(ledger.id(1111000), ledger.id(1100001), ledger.id(1100002), 100, 110, 1);
-- Amounts say that they are whole numbers.
SELECT attrelid::regclass AS table, count(*) FROM pg_attribute
WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'f')
    AND atttypid = 'numeric'::regtype AND format_type(atttypid, atttypmod) = 'numeric(39,0)'
GROUP BY 1 ORDER BY 1::text;
SELECT count(*) FROM pg_attribute
WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'ledger'::regnamespace AND relkind = 'f')
    AND atttypid = 'numeric'::regtype AND format_type(atttypid, atttypmod) <> 'numeric(39,0)';
