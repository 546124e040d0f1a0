-- Random queries of the foreign tables answer as those of plain tables with the same rows: conditions of all kinds that
-- the engine serves and of those that it doesn't, lists, bounds of all types of time, order, limit and offset.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;

CREATE FUNCTION pg_temp.some_transfers(first integer, last integer) RETURNS ledger.transfer_input[] LANGUAGE sql AS $$
    SELECT array_agg(ROW(ledger.id(97000000 + i), ledger.id(970000 + a), ledger.id(970000 + a + 3 * (1 + i % 5)), i, NULL,
        CASE WHEN i % 3 > 0 THEN ledger.id(i % 3) END, i % 6 - 1, i % 5, 0, 970 + a % 3, 1 + i % 7, '{}', NULL)::ledger.transfer_input
        ORDER BY i)
    FROM (SELECT i, 1 + i * 7 % 12 AS a FROM generate_series(first, last) i) numbered $$;
SELECT status, count(*) FROM ledger.create_accounts(ARRAY(
    SELECT ROW(ledger.id(970000 + i), CASE WHEN i % 3 > 0 THEN ledger.id(i % 3) END, i % 6 - 1, i % 5, 970 + i % 3, 1 + i % 7,
        CASE WHEN i % 2 = 0 THEN '{history}' ELSE '{}' END::ledger.account_flag[], NULL)::ledger.account_input
    FROM generate_series(1, 30) i)) GROUP BY status;
SELECT status, count(*) FROM ledger.create_transfers(pg_temp.some_transfers(1, 1500)) GROUP BY status;
SELECT status, count(*) FROM ledger.create_transfers(pg_temp.some_transfers(1501, 3000)) GROUP BY status;
SET timezone = 'Asia/Kathmandu';

CREATE TEMP TABLE accounts AS SELECT * FROM ledger.accounts WHERE ledger IN (970, 971, 972);
CREATE TEMP TABLE transfers AS SELECT * FROM ledger.transfers WHERE ledger IN (970, 971, 972);
SELECT min("timestamp") AS first, max("timestamp") AS last FROM transfers \gset
CREATE TEMP TABLE change_events AS SELECT * FROM ledger.change_events WHERE "timestamp" BETWEEN :first AND :last;
CREATE TEMP TABLE account_balances AS
    SELECT debit_account_id AS account_id, debit_account_debits_pending AS debits_pending, debit_account_debits_posted AS debits_posted,
        debit_account_credits_pending AS credits_pending, debit_account_credits_posted AS credits_posted, "timestamp", created_at
    FROM change_events UNION ALL
    SELECT credit_account_id, credit_account_debits_pending, credit_account_debits_posted, credit_account_credits_pending,
        credit_account_credits_posted, "timestamp", created_at FROM change_events;
SELECT count(*) FROM accounts;
SELECT count(*) FROM transfers;
SELECT count(*) FROM change_events;
SELECT count(*) > 1000 AS enough FROM account_balances;

-- Numbers that are random, and the same each time.
CREATE SEQUENCE pg_temp.drawn;
CREATE FUNCTION pg_temp.pick(below integer) RETURNS integer LANGUAGE sql VOLATILE AS $$
    SELECT (('x' || substr(md5('seed 1: ' || nextval('pg_temp.drawn')), 1, 7))::bit(28)::integer % below) $$;
CREATE FUNCTION pg_temp.pick_of(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT choices[1 + pg_temp.pick(cardinality(choices))] $$;

-- A value of a column: in and out of what there is, constant or known only when the query runs.
CREATE FUNCTION pg_temp.some_value(field text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    value text;
BEGIN
    CASE field
        WHEN 'id' THEN value := format('ledger.id(%s)', pg_temp.pick_of('970000', '97000000', '97001500')::integer + pg_temp.pick(31));
        WHEN 'debit_account_id', 'credit_account_id', 'account_id' THEN value := format('ledger.id(%s)', 970000 + pg_temp.pick(32));
        WHEN 'user_data_128' THEN value := format('ledger.id(%s)', pg_temp.pick(4));
        WHEN 'user_data_64', 'user_data_32' THEN value := (pg_temp.pick(8) - 2)::text;
        WHEN 'ledger' THEN value := (969 + pg_temp.pick(5))::text;
        WHEN 'code' THEN value := pg_temp.pick(10)::text;
    END CASE;
    IF pg_temp.pick(20) = 0 THEN value := 'NULL'; END IF;
    IF field LIKE '%id' OR field = 'user_data_128' THEN value := value || '::uuid';
    ELSIF field IN ('code', 'ledger', 'user_data_64', 'user_data_32') AND pg_temp.pick(3) = 0 THEN
        value := format('(%s)::%s', value, pg_temp.pick_of('smallint', 'integer', 'bigint'));
    ELSIF value = 'NULL' THEN value := 'NULL::bigint';
    END IF;
    IF pg_temp.pick(5) = 0 THEN value := format('(SELECT %s)', value); END IF;
    RETURN value;
END $$;

CREATE FUNCTION pg_temp.some_values(field text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    list text := pg_temp.some_value(field);
BEGIN
    FOR i IN 1 .. pg_temp.pick(CASE WHEN pg_temp.pick(10) = 0 THEN 80 ELSE 6 END) LOOP
        list := list || ', ' || pg_temp.some_value(field);
    END LOOP;
    RETURN list;
END $$;

CREATE FUNCTION pg_temp.some_time(moment timestamptz) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE pg_temp.pick(8)
        WHEN 0 THEN format('%L', moment)
        WHEN 1 THEN format('timestamptz %L', moment)
        WHEN 2 THEN format('timestamp %L', moment::timestamp)
        WHEN 3 THEN format('(SELECT timestamp %L)', moment::timestamp)
        WHEN 4 THEN format('date %L', moment::date)
        WHEN 5 THEN format('(date %L + %s)', moment::date, pg_temp.pick(3) - 1)
        WHEN 6 THEN format('(timestamptz %L - interval ''%s ms'')', moment, pg_temp.pick(2000) - 1000)
        ELSE pg_temp.pick_of('current_date', 'now()', '''infinity''', 'date ''infinity''', 'timestamp ''-infinity''',
            'date ''4714-11-24 BC''', 'date ''5874897-12-31''', 'timestamp ''294276-12-31''')
    END;
END $$;

CREATE FUNCTION pg_temp.some_condition(fields text[], moment timestamptz, stamp bigint) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    field text := fields[1 + pg_temp.pick(cardinality(fields))];
    operator text := pg_temp.pick_of('=', '<', '<=', '>', '>=');
BEGIN
    IF field = 'created_at' AND pg_temp.pick(2) = 0 THEN
        RETURN format('%s %s created_at', pg_temp.some_time(moment), operator);
    ELSIF field = 'created_at' THEN
        RETURN format('created_at %s %s', operator, pg_temp.some_time(moment));
    ELSIF field = 'timestamp' THEN
        RETURN format('"timestamp" %s %s', operator, stamp + pg_temp.pick(3) - 1);
    END IF;
    RETURN CASE pg_temp.pick(9)
        WHEN 0 THEN format('%s IN (%s)', field, pg_temp.some_values(field))
        WHEN 1 THEN format('%s = ANY (ARRAY[%s])', field, pg_temp.some_values(field))
        WHEN 2 THEN format('%s = ANY (ARRAY(SELECT unnest(ARRAY[%s])))', field, pg_temp.some_values(field))
        WHEN 3 THEN format('(%1$s = %2$s OR %3$s = %1$s)', field, pg_temp.some_value(field), pg_temp.some_value(field))
        WHEN 4 THEN format('%s IS NOT DISTINCT FROM %s', field, pg_temp.some_value(field))
        WHEN 5 THEN format('%s = %s', pg_temp.some_value(field), field)
        WHEN 6 THEN format('%s <> %s', field, pg_temp.some_value(field))
        WHEN 7 THEN format('(%s = %s AND %s IN (%s))', field, pg_temp.some_value(field), field, pg_temp.some_values(field))
        ELSE format('%s = %s', field, pg_temp.some_value(field))
    END;
END $$;

CREATE FUNCTION pg_temp.some_query(relation text, fields text[]) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    moment timestamptz;
    stamp bigint;
    conditions text := '';
    sort text;
BEGIN
    SELECT created_at, "timestamp" INTO moment, stamp FROM transfers OFFSET pg_temp.pick(3000) LIMIT 1;
    FOR i IN 0 .. pg_temp.pick(3) LOOP
        conditions := conditions || ' AND ' || pg_temp.some_condition(fields, moment, stamp);
    END LOOP;
    IF pg_temp.pick(4) = 0 THEN RETURN conditions; END IF;
    sort := pg_temp.pick_of('"timestamp"', '"timestamp" DESC', 'created_at, "timestamp"', 'created_at DESC, "timestamp" DESC',
        'created_at DESC, "timestamp"');
    IF relation = 'account_balances' THEN sort := sort || ', account_id'; END IF;
    conditions := conditions || ' ORDER BY ' || sort;
    IF pg_temp.pick(2) = 0 THEN conditions := conditions || ' LIMIT ' || 1 + pg_temp.pick(100); END IF;
    IF pg_temp.pick(4) = 0 THEN conditions := conditions || ' OFFSET ' || pg_temp.pick(10); END IF;
    RETURN conditions;
END $$;

CREATE FUNCTION pg_temp.answer(schema text, relation text, scope text, query text) RETURNS text[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    answer text[];
BEGIN
    EXECUTE format('SELECT array_agg(row_key%s) FROM (SELECT %s AS row_key FROM %I.%I WHERE %s%s) selected',
        CASE WHEN query LIKE '%ORDER BY%' THEN '' ELSE ' ORDER BY row_key' END,
        CASE relation WHEN 'account_balances' THEN 'account_id || '' '' || "timestamp"' ELSE '"timestamp"::text' END,
        schema, relation, scope, query) INTO answer;
    RETURN answer;
END $$;

-- All differences, and how many queries there were of each relation, and how many that select something.
CREATE FUNCTION pg_temp.compare(relation text, scope text, fields text[], queries integer,
    OUT compared bigint, OUT selecting boolean, OUT differences text[]) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    query text;
    wanted text[];
    selected integer := 0;
    copies text := (SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema());
BEGIN
    compared := 0;
    FOR i IN 1 .. queries LOOP
        query := pg_temp.some_query(relation, fields);
        wanted := pg_temp.answer(copies, relation, scope, query);
        compared := compared + 1;
        IF wanted IS NOT NULL THEN selected := selected + 1; END IF;
        IF pg_temp.answer('ledger', relation, scope, query) IS DISTINCT FROM wanted THEN differences := differences || query; END IF;
    END LOOP;
    selecting := selected > queries / 10;
END $$;

SELECT * FROM pg_temp.compare('transfers', 'ledger IN (970, 971, 972)',
    '{id,debit_account_id,credit_account_id,user_data_128,user_data_64,user_data_32,ledger,code,timestamp,created_at}', 800);
SELECT * FROM pg_temp.compare('accounts', 'ledger IN (970, 971, 972)',
    '{id,user_data_128,user_data_64,user_data_32,ledger,code,timestamp,created_at}', 300);
SELECT * FROM pg_temp.compare('account_balances', 'account_id IN (ledger.id(970001), ledger.id(970002), ledger.id(970004))',
    '{account_id,timestamp,created_at}', 250);
SELECT * FROM pg_temp.compare('account_balances', 'account_id = ANY (ARRAY(SELECT id FROM accounts))',
    '{account_id,timestamp,created_at}', 120);
SELECT * FROM pg_temp.compare('change_events', format('"timestamp" BETWEEN %s AND %s', :first, :last),
    '{ledger,timestamp,created_at}', 200);
-- Plans that are made before the values are known: lists of any length, nulls, and zeros.
CREATE FUNCTION pg_temp.some_array(start integer, below integer) RETURNS integer[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    numbers integer[] := '{}';
BEGIN
    IF pg_temp.pick(20) = 0 THEN RETURN NULL; END IF;
    FOR i IN 1 .. pg_temp.pick(CASE WHEN pg_temp.pick(5) = 0 THEN 90 ELSE 5 END) LOOP
        numbers := numbers || CASE WHEN pg_temp.pick(20) > 0 THEN start + pg_temp.pick(below) END;
    END LOOP;
    RETURN numbers;
END $$;
CREATE FUNCTION pg_temp.compare_prepared(codes integer[], ledgers bigint[], numbers bigint[], accounts uuid[], number bigint,
    since date, until timestamp, rows bigint, OUT selected integer, OUT same boolean) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    got bigint[];
    wanted bigint[];
BEGIN
    SELECT array_agg("timestamp") INTO got FROM (SELECT "timestamp" FROM ledger.transfers
        WHERE code = ANY (codes) AND ledger = ANY (ledgers) ORDER BY "timestamp" LIMIT rows) ordered;
    SELECT array_agg("timestamp") INTO wanted FROM (SELECT "timestamp" FROM transfers
        WHERE code = ANY (codes) AND ledger = ANY (ledgers) ORDER BY "timestamp" LIMIT rows) ordered;
    same := got IS NOT DISTINCT FROM wanted;
    selected := coalesce(cardinality(wanted), 0);
    SELECT array_agg("timestamp") INTO got FROM (SELECT "timestamp" FROM ledger.transfers
        WHERE ledger IN (970, 971, 972) AND user_data_64 = ANY (numbers) AND user_data_32 = number ORDER BY "timestamp" DESC LIMIT rows) ordered;
    SELECT array_agg("timestamp") INTO wanted FROM (SELECT "timestamp" FROM transfers
        WHERE ledger IN (970, 971, 972) AND user_data_64 = ANY (numbers) AND user_data_32 = number ORDER BY "timestamp" DESC LIMIT rows) ordered;
    same := same AND got IS NOT DISTINCT FROM wanted;
    selected := selected + coalesce(cardinality(wanted), 0);
    SELECT array_agg("timestamp" ORDER BY "timestamp") INTO got FROM ledger.transfers
        WHERE debit_account_id = ANY (accounts) AND code IN (codes[1], codes[2]) AND created_at >= since AND created_at < until;
    SELECT array_agg("timestamp" ORDER BY "timestamp") INTO wanted FROM transfers
        WHERE debit_account_id = ANY (accounts) AND code IN (codes[1], codes[2]) AND created_at >= since AND created_at < until;
    same := same AND got IS NOT DISTINCT FROM wanted;
    selected := selected + coalesce(cardinality(wanted), 0);
END $$;
CREATE FUNCTION pg_temp.compare_prepared_often(OUT compared bigint, OUT selecting boolean, OUT differences bigint)
LANGUAGE sql VOLATILE AS $$
    SELECT count(*), count(*) FILTER (WHERE selected > 0) > 50, count(*) FILTER (WHERE NOT same)
    FROM generate_series(1, 150) i, LATERAL pg_temp.compare_prepared(
        pg_temp.some_array(0 * i, 10), pg_temp.some_array(969, 5), pg_temp.some_array(-1, 7),
        ARRAY(SELECT ledger.id(n) FROM unnest(pg_temp.some_array(970000, 14)) n), pg_temp.pick(5),
        current_date - pg_temp.pick(2), (SELECT created_at::timestamp FROM transfers OFFSET pg_temp.pick(3000) LIMIT 1), 1 + pg_temp.pick(100)) $$;
SET plan_cache_mode = force_generic_plan;
SELECT * FROM pg_temp.compare_prepared_often();
SET plan_cache_mode = force_custom_plan;
SELECT * FROM pg_temp.compare_prepared_often();
RESET plan_cache_mode;
RESET timezone;
