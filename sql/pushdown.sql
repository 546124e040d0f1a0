-- What the planner hands to the engine, and that it makes no difference to the answer.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;

SELECT status, count(*) FROM ledger.create_accounts(ARRAY(
    SELECT ROW(ledger.id(920000 + i), CASE WHEN i % 2 = 0 THEN ledger.id(5) END, i % 3 - 1, i % 3, 920, 1 + i % 2, '{history}', NULL)::ledger.account_input
    FROM generate_series(1, 10) i)) GROUP BY status;
SELECT status, count(*) FROM ledger.create_transfers(ARRAY(
    SELECT ROW(ledger.id(92000000 + i), ledger.id(920001 + i % 3), ledger.id(920004 + i % 2), i, NULL,
        CASE WHEN i % 2 = 0 THEN ledger.id(5) END, i % 3 - 1, i % 4, 0, 920, 1 + i % 5, '{}', NULL)::ledger.transfer_input
    FROM generate_series(1, 9000) i)) GROUP BY status;
SELECT "timestamp" AS t10, created_at AS c10 FROM ledger.transfers WHERE id = ledger.id(92000010) \gset
SELECT "timestamp" AS t20, created_at AS c20 FROM ledger.transfers WHERE id = ledger.id(92000020) \gset

-- Where majors of PostgreSQL word the rest of a plan differently: the scan only, and what it says.
CREATE FUNCTION pg_temp.scan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        IF line ~ 'Foreign Scan|Ledger ' THEN RETURN NEXT regexp_replace(line, '^[ >-]+', ''); END IF;
    END LOOP;
END $$;
-- Which operation serves, and with which filter.
EXPLAIN (COSTS OFF) SELECT * FROM ledger.accounts;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.accounts WHERE id = '00000000-0000-0000-0000-0000000e09c1';
EXPLAIN (COSTS OFF) SELECT * FROM ledger.accounts WHERE id IN ('00000000-0000-0000-0000-0000000e09c1', '00000000-0000-0000-0000-0000000e09c2');
EXPLAIN (COSTS OFF) SELECT * FROM ledger.accounts WHERE id = ledger.id(920001) AND ledger = 920;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.accounts WHERE ledger = 920 AND code = 2 AND user_data_128 = ledger.id(5) AND user_data_64 = -1 AND user_data_32 = 1;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE id = ANY (ARRAY[ledger.id(92000001), NULL]);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE 920 = ledger AND 1::smallint = code;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE debit_account_id = ledger.id(1);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE credit_account_id = ledger.id(1) AND code = 3 AND ledger = 920;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE debit_account_id = ledger.id(1) AND credit_account_id = ledger.id(2);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE debit_account_id = ledger.id(1) OR ledger.id(1) = credit_account_id;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE ledger.id(1) IN (credit_account_id, debit_account_id);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE debit_account_id = ledger.id(1) OR credit_account_id = ledger.id(2);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE debit_account_id = ANY (ARRAY[ledger.id(1), ledger.id(2)]);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE id = ledger.id(3) AND debit_account_id = ledger.id(1);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE "timestamp" BETWEEN 5 AND 10 AND "timestamp" > 7;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.account_balances WHERE account_id = ledger.id(1) AND "timestamp" >= 5;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.change_events WHERE "timestamp" < 5 AND ledger = 920;

-- Lists: a request for each value. So is an OR of equalities.
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE code IN (1, 2, 2) AND ledger = ANY ('{920,921}'::integer[]);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE code = 1 OR code = 2 OR 3 = code ORDER BY "timestamp" DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE user_data_64 IN (1, 2) AND user_data_32 = ANY ('{1,2}'::bigint[]) AND user_data_128 IN (ledger.id(5), ledger.id(6));
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE debit_account_id IN (ledger.id(1), ledger.id(2)) AND code IN (1, 2) ORDER BY "timestamp" LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.accounts WHERE ledger = ANY ('{920,921}'::smallint[]);
EXPLAIN (COSTS OFF) SELECT * FROM ledger.account_balances WHERE account_id = ledger.id(1) OR account_id = ledger.id(2) ORDER BY "timestamp" LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.account_balances WHERE account_id IS NOT DISTINCT FROM ledger.id(1);
-- Up to 64 of them together; what is more stays with the executor.
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE code IN (1,2,3,4,5,6,7,8) AND user_data_64 IN (1,2,3,4,5,6,7,8) AND user_data_32 IN (1,2);

-- Numerics, as drivers send their decimal types. What is no integer of the field's range selects nothing.
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE code = 3.0 AND 920::numeric = ledger;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE code IN (1.0, 2) AND "timestamp" >= 5.5 AND "timestamp" < 10::numeric;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.accounts WHERE user_data_64 = 1.0 AND user_data_32 = 0.0;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE code = 3::float8;
PREPARE numerics (numeric, numeric, numeric) AS SELECT count(*) FROM ledger.transfers WHERE ledger = $1 AND code = $2 AND user_data_64 = $3;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE numerics (920, 3.00, 1);
EXECUTE numerics (920, 3.00, 1);
EXECUTE numerics (920, 3, 0);
EXECUTE numerics (920, 3.01, 1);
EXECUTE numerics ('NaN', 3, 1);
EXECUTE numerics (920, NULL, 1);
SET plan_cache_mode = force_custom_plan;
EXPLAIN (COSTS OFF) EXECUTE numerics (920, 3.00, 1);
EXECUTE numerics (920, 3.00, 1);
EXECUTE numerics (920, 3, 0);
EXECUTE numerics (920, 3, 1e100);
RESET plan_cache_mode;
DEALLOCATE numerics;

-- Bounds of other types, as the session's time zone has them.
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE created_at >= date '2026-11-30' AND created_at < timestamp '2026-12-01 12:00';
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE created_at >= current_date AND now() - interval '1 day' <= created_at;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE created_at::date = current_date;

-- Another order of bigint is not the ledger's.
CREATE SCHEMA pushdown;
CREATE FUNCTION pushdown.compare_reversed(bigint, bigint) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT btint8cmp($2, $1)';
CREATE OPERATOR pushdown.< (FUNCTION = int8gt, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR pushdown.> (FUNCTION = int8lt, LEFTARG = bigint, RIGHTARG = bigint);
CREATE OPERATOR CLASS pushdown.reversed FOR TYPE bigint USING btree AS
    OPERATOR 1 pushdown.<, OPERATOR 3 =, OPERATOR 5 pushdown.>, FUNCTION 1 pushdown.compare_reversed(bigint, bigint);
EXPLAIN (COSTS OFF) SELECT id FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" USING OPERATOR(pushdown.<) LIMIT 3;
SELECT ledger.id_numeric(id) FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" USING OPERATOR(pushdown.<) LIMIT 3;
SET client_min_messages = warning;
DROP SCHEMA pushdown CASCADE;
RESET client_min_messages;

-- What stays with the executor: other operators and types, 0 in user data, two columns of one table, volatile values.
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE ledger = 920.5 AND code > 1;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE ledger <> 920 AND code <> ALL ('{1,2}');
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE user_data_64 = 0 AND user_data_32 = 0;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE user_data_64 = ledger AND amount = 5 AND pending_id IS NULL;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE id = ledger.uuidv7();
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE id <> ALL (ARRAY[ledger.id(1)]) AND user_data_128 IS NULL;

-- Order and limit.
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" LIMIT 10;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" DESC LIMIT 10 OFFSET 5;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers ORDER BY created_at DESC NULLS LAST, "timestamp" DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers ORDER BY created_at, "timestamp" DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers ORDER BY "timestamp", id LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers ORDER BY amount LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE amount = 5 ORDER BY "timestamp" LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE debit_account_id = ledger.id(1) ORDER BY "timestamp" DESC LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers WHERE id = ANY (ARRAY[ledger.id(1), ledger.id(2)]) ORDER BY "timestamp" LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.change_events ORDER BY "timestamp" LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.change_events ORDER BY "timestamp" DESC LIMIT 3;
SELECT pg_temp.scan_of('SELECT max("timestamp") FROM ledger.transfers WHERE ledger = 920');
EXPLAIN (COSTS OFF) SELECT code, count(*) FROM ledger.transfers GROUP BY code LIMIT 3;
EXPLAIN (COSTS OFF) SELECT * FROM ledger.transfers LIMIT 10;

-- What it costs: requests to the engine, rows from it.
CREATE FUNCTION pg_temp.cost(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    found_lines text[] := '{}';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || query LOOP
        IF line ~ 'Ledger (Requests|Rows)' THEN found_lines := found_lines || btrim(replace(line, 'Ledger ', '')); END IF;
    END LOOP;
    -- Newer majors see some contradictions themselves, and plan no scan.
    RETURN coalesce(nullif(array_to_string(found_lines, ', '), ''), 'Requests: 0, Rows: 0');
END $$;
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp"');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" DESC');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" LIMIT 10');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" DESC LIMIT 1000 OFFSET 100');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 AND amount <> 0 LIMIT 40');
SELECT pg_temp.cost('SELECT max("timestamp"), min("timestamp") FROM ledger.transfers WHERE ledger = 920');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE id = ledger.id(92000007)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE id = ANY (ARRAY(SELECT ledger.id(92000000 + i % 9500) FROM generate_series(1, 20000) i))');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE id = ANY (ARRAY[ledger.id(0), ledger.id(2::numeric ^ 128 - 1)])');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 AND code IN (1, 2)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 AND code IN (1, 2) ORDER BY "timestamp" DESC LIMIT 10');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 AND code IN (1, 2, 1, NULL, 0, -1, 65536)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 AND code = ANY (ARRAY(SELECT generate_series(1, 2)))');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 AND code IN (1, 2) AND code IN (2, 3) AND user_data_64 IN (-1, 1)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920 AND created_at >= date ''tomorrow'' + 1');
-- Contradictions, and what can't be stored, cost nothing.
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE code IN (1, 2) AND code IN (3, 4)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE code IN (0, 65536)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE created_at >= date ''infinity''');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 920::bigint AND ledger = 921::bigint');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = -1');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 4294967296');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = 0');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE code = 65536');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE user_data_32 = -1');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE user_data_128 = ledger.id(0)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE "timestamp" < 1');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE "timestamp" > 9223372036854775807');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE "timestamp" > 10 AND "timestamp" < 10');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE created_at = ''infinity''');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE created_at < ''-infinity''');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE debit_account_id = ledger.id(0)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE id = (SELECT NULL::uuid)');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE id = ANY ((SELECT ''{NULL}''::uuid[])::uuid[])');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE id = ANY ((SELECT NULL)::uuid[])');
SELECT pg_temp.cost('SELECT * FROM ledger.transfers WHERE ledger = (SELECT NULL::bigint)');

-- The answer is that of a copy in a plain table.
CREATE TEMP TABLE copied AS SELECT * FROM ledger.transfers WHERE ledger + 0 = 920;
SELECT count(*), sum(amount) FROM copied;
CREATE FUNCTION pg_temp.check(condition text, OUT rows bigint, OUT same boolean) LANGUAGE plpgsql AS $$
DECLARE
    got uuid[];
    wanted uuid[];
BEGIN
    EXECUTE 'SELECT array_agg(id ORDER BY id) FROM ledger.transfers WHERE ledger = 920 AND (' || condition || ')' INTO got;
    EXECUTE 'SELECT array_agg(id ORDER BY id) FROM copied WHERE ' || condition INTO wanted;
    rows := coalesce(cardinality(got), 0);
    same := got IS NOT DISTINCT FROM wanted;
END $$;
SELECT condition, checked.* FROM (VALUES
    ('true'),
    ('code = 3'), ('code = 3::smallint'), ('code = 3::bigint'), ('3 = code'), ('code = 3.0'), ('code = 0'),
    ('user_data_64 = 1'), ('user_data_64 = 0'), ('user_data_64 = -1'), ('user_data_64 = (SELECT 0)'), ('user_data_64 = (SELECT 1)'),
    ('user_data_32 = 3'), ('user_data_32 = 0'), ('user_data_32 = (SELECT 0::bigint)'), ('user_data_32 = -1'),
    ('user_data_128 = ledger.id(5)'), ('user_data_128 = ledger.id(0)'), ('user_data_128 IS NULL'),
    ('user_data_128 = ledger.id(5) AND user_data_64 = 1 AND user_data_32 = 2 AND code = 1'),
    ('user_data_128 = ledger.id(5) AND user_data_64 = 0 AND user_data_32 = 2 AND code = 1'),
    ('debit_account_id = ledger.id(920002)'), ('credit_account_id = ledger.id(920004)'),
    ('debit_account_id = ledger.id(920002) AND credit_account_id = ledger.id(920004)'),
    ('debit_account_id = ledger.id(920002) OR credit_account_id = ledger.id(920002)'),
    ('debit_account_id = ledger.id(920002) OR credit_account_id = ledger.id(920004)'),
    ('ledger.id(920004) IN (debit_account_id, credit_account_id) AND code = 2 AND user_data_64 = 0'),
    ('debit_account_id = ANY (ARRAY[ledger.id(920002), ledger.id(920003), NULL, ledger.id(920002), ledger.id(0)])'),
    ('debit_account_id = ledger.id(920001) AND debit_account_id = ledger.id(920002)'),
    ('id = ledger.id(92000007)'), ('id = ledger.id(92009001)'), ('id = ledger.id(0)'),
    ('id IN (ledger.id(92000007), ledger.id(92000007), ledger.id(92000008), ledger.id(1), ledger.id(0), NULL)'),
    ('id = ANY (ARRAY(SELECT ledger.id(92000000 + i) FROM generate_series(1, 9000) i))'),
    ('id = ledger.id(92000007) AND code = 3'), ('id = ledger.id(92000007) AND code = 4'),
    ('id = ledger.id(92000007) AND id = ANY (ARRAY[ledger.id(92000008)])'),
    ('code = 1 OR code = 2'), ('NOT code = 1'), ('code = ANY (''{1,2}'')'),
    ('code = 3.5'), ('code = -1.0'), ('code = 65536.0'), ('code = 1e30'), ('code = ''NaN''::numeric'), ('code = ''-Infinity''::numeric'),
    ('code = NULL::numeric'), ('code < 2.5'), ('code IN (1.0, 2.5, 3.0, ''NaN'', NULL)'), ('code = 1.0 OR code = 2'), ('code = 1.0 OR code = 2.0'),
    ('NOT code IS DISTINCT FROM 3.0'), ('code = (SELECT 3.0)'), ('code = ANY (ARRAY(SELECT i / 2.0 FROM generate_series(1, 9) i))'),
    ('user_data_64 = -1.0'), ('user_data_64 = 0.0'), ('user_data_64 = 0.5'), ('user_data_64 = (SELECT 0.0)'), ('user_data_64 = 18446744073709551615.0'),
    ('user_data_32 = 3.0'), ('user_data_32 = -1.0'), ('user_data_32 = 4294967295.0'), ('user_data_32 IN (0.0, 1.0)')
) AS conditions (condition), pg_temp.check(condition) AS checked;
SELECT condition, checked.* FROM (VALUES
    ('"timestamp" = %1$s'), ('"timestamp" < %1$s'), ('"timestamp" <= %1$s'), ('"timestamp" > %1$s'), ('"timestamp" >= %1$s'),
    ('"timestamp" BETWEEN %1$s AND %2$s'), ('%1$s < "timestamp" AND %2$s > "timestamp"'),
    ('"timestamp" BETWEEN %2$s AND %1$s'), ('"timestamp" > -5'), ('"timestamp" < -5'), ('"timestamp" > 1::smallint'), ('"timestamp" <= 2147483647'),
    ('"timestamp" <= 9223372036854775807'), ('"timestamp" < 9223372036854775807'), ('"timestamp" >= 9223372036854775807'),
    ('"timestamp" > (-9223372036854775808)'), ('"timestamp" >= %1$s.5'),
    ('"timestamp" = %1$s.0'), ('"timestamp" = %1$s.5'), ('"timestamp" > %1$s.5'), ('"timestamp" < %1$s.5'), ('"timestamp" <= %1$s.5'),
    ('"timestamp" > %1$s.0'), ('%1$s.0 <= "timestamp" AND "timestamp" < %2$s::numeric'), ('"timestamp" < ''NaN''::numeric'),
    ('"timestamp" > ''NaN''::numeric'), ('"timestamp" <= ''Infinity''::numeric'), ('"timestamp" >= ''Infinity''::numeric'),
    ('"timestamp" > ''-Infinity''::numeric'), ('"timestamp" <= -0.5'), ('"timestamp" > -0.5'), ('"timestamp" >= 1e40'), ('"timestamp" < -1e40'),
    ('credit_account_id = ledger.id(920004) AND "timestamp" <= %2$s'),
    ('id = ledger.id(92000010) AND "timestamp" = %1$s'), ('id = ledger.id(92000010) AND "timestamp" > %1$s')
) AS conditions (condition), pg_temp.check(format(condition, :t10, :t20)) AS checked;
SELECT condition, checked.same FROM (VALUES
    ('created_at = %1$L'), ('created_at < %1$L'), ('created_at <= %1$L'), ('created_at > %1$L'), ('created_at >= %1$L'),
    ('created_at BETWEEN %1$L AND %2$L'), ('created_at > %1$L AND created_at < %2$L'), ('%1$L::timestamptz < created_at'),
    ('created_at > ''-infinity'''), ('created_at < ''infinity'''), ('created_at <= ''-infinity'''), ('created_at >= ''infinity'''),
    ('created_at > ''4713-01-01 BC'''), ('created_at > ''294276-01-01''')
) AS conditions (condition), pg_temp.check(format(condition, :'c10', :'c20')) AS checked;
SELECT ledger.id_numeric(id) FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" LIMIT 3;
SELECT ledger.id_numeric(id) FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" DESC LIMIT 3 OFFSET 2;
SELECT ledger.id_numeric(id) FROM ledger.transfers WHERE ledger = 920 AND code = 2 ORDER BY created_at DESC, "timestamp" DESC LIMIT 2;
SELECT count(*), bool_and(id = ledger.id(92000000 + number)) FROM (
    SELECT id, row_number() OVER (ORDER BY "timestamp") AS number FROM ledger.transfers WHERE ledger = 920) numbered;
SELECT count(*), bool_and(id = ledger.id(92009001 - number)) FROM (
    SELECT id, row_number() OVER (ORDER BY "timestamp" DESC) AS number FROM ledger.transfers WHERE ledger = 920) numbered;
SELECT count(*) FROM (SELECT FROM ledger.transfers WHERE ledger = 920 LIMIT 0) none;
SELECT count(*) FROM (SELECT FROM ledger.transfers WHERE ledger = 920 LIMIT NULL) every;

-- Joins: a nested loop looks up by id, by account, by reference.
SET enable_memoize = off;
SET enable_material = off;
CREATE TEMP TABLE orders (number bigint, account uuid, transfer uuid, transfers uuid[]);
INSERT INTO orders SELECT i, ledger.id(920000 + i), ledger.id(92000000 + i), ARRAY[ledger.id(92000000 + i), ledger.id(92000001 + i)]
FROM generate_series(1, 3) i;
INSERT INTO orders VALUES (4, NULL, NULL, NULL), (5, ledger.id(92), ledger.id(92), '{}');
ANALYZE orders;
EXPLAIN (COSTS OFF) SELECT o.number, t.amount FROM orders o JOIN ledger.transfers t ON t.id = o.transfer;
SELECT o.number, t.amount FROM orders o JOIN ledger.transfers t ON t.id = o.transfer ORDER BY 1;
-- (Where there are few accounts, reading all of them is cheaper.)
SET enable_hashjoin = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS OFF) SELECT o.number, a.code FROM orders o LEFT JOIN ledger.accounts a ON a.id = o.account;
RESET enable_hashjoin;
RESET enable_mergejoin;
SELECT o.number, a.code FROM orders o LEFT JOIN ledger.accounts a ON a.id = o.account ORDER BY 1;
EXPLAIN (COSTS OFF) SELECT o.number, t.amount FROM orders o JOIN ledger.transfers t ON t.id = ANY (o.transfers);
SELECT o.number, t.amount FROM orders o JOIN ledger.transfers t ON t.id = ANY (o.transfers) ORDER BY 1, 2;
EXPLAIN (COSTS OFF) SELECT o.number, count(*) FROM orders o JOIN ledger.transfers t ON o.account IN (t.debit_account_id, t.credit_account_id) GROUP BY 1;
SELECT o.number, count(*) FROM orders o JOIN ledger.transfers t ON o.account IN (t.debit_account_id, t.credit_account_id) GROUP BY 1 ORDER BY 1;
EXPLAIN (COSTS OFF) SELECT o.number, last.amount FROM orders o CROSS JOIN LATERAL (
    SELECT amount FROM ledger.transfers t WHERE t.debit_account_id = o.account ORDER BY "timestamp" DESC LIMIT 1) last;
SELECT o.number, last.amount FROM orders o CROSS JOIN LATERAL (
    SELECT amount FROM ledger.transfers t WHERE t.debit_account_id = o.account ORDER BY "timestamp" DESC LIMIT 1) last ORDER BY 1;
EXPLAIN (COSTS OFF) SELECT o.number, b.debits_posted FROM orders o JOIN ledger.account_balances b ON b.account_id = o.account;
SELECT o.number, count(b.*), max(b.debits_posted) FROM orders o JOIN ledger.account_balances b ON b.account_id = o.account GROUP BY 1 ORDER BY 1;
SELECT count(*), count(DISTINCT account_id) FROM ledger.account_balances WHERE account_id IN (SELECT account FROM orders);
EXPLAIN (COSTS OFF) SELECT (SELECT amount FROM ledger.transfers WHERE id = o.transfer) FROM orders o;
SELECT (SELECT amount FROM ledger.transfers WHERE id = o.transfer) FROM orders o ORDER BY number;
SELECT count(*) FROM ledger.transfers t JOIN ledger.accounts a ON a.id = t.debit_account_id
WHERE t.id IN (SELECT transfer FROM orders) AND a.ledger = 920;
RESET enable_memoize;
RESET enable_material;

-- Parameters of a generic plan.
SET plan_cache_mode = force_generic_plan;
PREPARE page (bigint, bigint, bigint) AS SELECT ledger.id_numeric(id) FROM ledger.transfers
WHERE ledger = $1 AND user_data_64 = $2 ORDER BY "timestamp" DESC LIMIT $3;
EXPLAIN (COSTS OFF) EXECUTE page (920, 1, 2);
EXECUTE page (920, 1, 2);
EXECUTE page (920, 0, 2);
EXECUTE page (920, NULL, 2);
EXECUTE page (NULL, 1, 2);
PREPARE newest (bigint, bigint) AS SELECT ledger.id_numeric(id) FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" DESC LIMIT $1 OFFSET $2;
EXPLAIN (COSTS OFF) EXECUTE newest (2, 1);
EXECUTE newest (2, 1);
EXECUTE newest (1, NULL);
EXECUTE newest (-1, 0);
SELECT count(*) FROM ledger.accounts WHERE ledger = 920 AND code = 1;
DEALLOCATE ALL;
RESET plan_cache_mode;

-- A scan returns what was there when it began: whatever its order and however many values it asks for.
CREATE FUNCTION pg_temp.more(first integer) RETURNS bigint LANGUAGE sql VOLATILE AS $$
    SELECT count(*) FROM ledger.create_transfers(ARRAY(
        SELECT ROW(ledger.id(92100000 + i), ledger.id(920001), ledger.id(920004), 1, NULL, NULL, 0, 0, 0, 920, 1 + i % 5, '{}', NULL)::ledger.transfer_input
        FROM generate_series(first, first + 999) i)) created WHERE status = 'created' $$;
CREATE FUNCTION pg_temp.began(query text, first integer, OUT fetched bigint, OUT complete boolean) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    reading refcursor;
    one record;
    wanted bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM (%s) rows', query) INTO wanted;
    OPEN reading FOR EXECUTE query;
    FETCH reading INTO one;
    IF pg_temp.more(first) <> 1000 THEN RAISE 'not created'; END IF;
    MOVE FORWARD ALL FROM reading;
    GET DIAGNOSTICS fetched = ROW_COUNT;
    CLOSE reading;
    complete := fetched + 1 = wanted;
END $$;
SELECT complete FROM pg_temp.began('SELECT * FROM ledger.transfers WHERE ledger = 920', 1000);
SELECT complete FROM pg_temp.began('SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp"', 2000);
SELECT complete FROM pg_temp.began('SELECT * FROM ledger.transfers WHERE ledger = 920 ORDER BY "timestamp" DESC', 3000);
SELECT complete FROM pg_temp.began('SELECT * FROM ledger.transfers WHERE ledger = 920 AND code IN (1, 2, 3)', 4000);
SELECT complete FROM pg_temp.began('SELECT * FROM ledger.transfers WHERE ledger = 920 AND code IN (1, 2, 3) ORDER BY "timestamp"', 5000);
SELECT complete FROM pg_temp.began('SELECT * FROM ledger.account_balances WHERE account_id IN (ledger.id(920001), ledger.id(920004))', 6000);
SELECT complete FROM pg_temp.began('SELECT * FROM ledger.change_events', 7000);
SELECT count(*) FROM ledger.transfers WHERE ledger = 920 AND amount = 1 AND user_data_64 = 0 AND debit_account_id = ledger.id(920001);

-- A query that creates transfers out of the transfers it reads comes to an end: behind those that were there when it
-- began.
SELECT count(*) AS ended, bool_and(made = 'created') AS created FROM (
    SELECT ledger.create_transfer(ledger.id(ledger.id_numeric(t.id) + 1000000), t.debit_account_id, t.credit_account_id,
        1, 920, 1, user_data_64 => 1, user_data_32 => 99) AS made
    FROM ledger.transfers t WHERE ledger = 920 AND user_data_64 = 1 AND code = 1 OFFSET 0) reading;
SELECT count(*) FROM ledger.transfers WHERE ledger = 920 AND user_data_32 = 99;
