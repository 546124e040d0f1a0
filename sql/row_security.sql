-- Row level security on a partitioned table whose partition is the ledger: nothing of the query's own that could tell
-- what it sees comes before the policy, wherever the conditions are checked.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;

SELECT status, count(*) FROM ledger.create_accounts(ARRAY(
    SELECT ROW(ledger.id(960000 + i), NULL, i, i, 960, 1, '{history}', NULL)::ledger.account_input
    FROM generate_series(1, 4) i)) GROUP BY status;
-- Transfers 1 to 6; those of account 1 are 1 and 4. The others are secret.
SELECT status, count(*) FROM ledger.create_transfers(ARRAY(
    SELECT ROW(ledger.id(960100 + i), ledger.id(960001 + (i - 1) % 3), ledger.id(960004), 1000 + i, NULL,
        NULL, (i - 1) % 3, i, 0, 960, i, '{}', NULL)::ledger.transfer_input
    FROM generate_series(1, 6) i)) GROUP BY status;

CREATE SCHEMA tenancy;
CREATE ROLE tenancy_tenant;
GRANT USAGE ON SCHEMA tenancy, ledger TO tenancy_tenant;
GRANT EXECUTE ON FUNCTION ledger.id, ledger.id_numeric TO tenancy_tenant;
CREATE TABLE tenancy.transfers (LIKE ledger.transfers) PARTITION BY LIST (ledger);
CREATE FOREIGN TABLE tenancy.all_transfers PARTITION OF tenancy.transfers DEFAULT
    SERVER ledger OPTIONS (relation 'transfers');
ALTER TABLE tenancy.transfers ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON tenancy.transfers TO tenancy_tenant;
-- Cheap, so that only the security level can put the policy first.
CREATE FUNCTION tenancy.leak(value numeric) RETURNS boolean LANGUAGE plpgsql STABLE COST 0.0001 AS
    $$ BEGIN RAISE NOTICE 'saw %', value; RETURN true; END $$;
CREATE FUNCTION tenancy.leak_id(value uuid) RETURNS uuid LANGUAGE plpgsql STABLE COST 0.0001 AS
    $$ BEGIN RAISE NOTICE 'saw %', ledger.id_numeric(value); RETURN value; END $$;
-- Where the plan, and so how often a row is seen, is the planner's to choose: raises at the first row that is secret.
CREATE FUNCTION tenancy.spy(value numeric) RETURNS boolean LANGUAGE plpgsql STABLE COST 0.0001 AS
    $$ BEGIN IF value NOT IN (1001, 1004) THEN RAISE 'saw a secret: %', value; END IF; RETURN true; END $$;
CREATE TABLE tenancy.wanted AS SELECT ledger.id(960100 + i) AS id FROM generate_series(1, 6) i;
ANALYZE tenancy.wanted;
GRANT SELECT ON tenancy.wanted TO tenancy_tenant;
CREATE VIEW tenancy.barrier WITH (security_barrier) AS
    SELECT * FROM ledger.transfers WHERE ledger = 960 AND user_data_64 = current_setting('app.number')::bigint;
GRANT SELECT ON tenancy.barrier TO tenancy_tenant;

-- A query sees account 1's transfers at most, and says what it saw.
CREATE POLICY own ON tenancy.transfers TO tenancy_tenant USING (false);
CREATE FUNCTION pg_temp.policy(condition text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER POLICY own ON tenancy.transfers USING (ledger = 960 AND %s)', condition);
    RETURN condition;
END $$;

-- A policy that the engine applies exactly, and a query that asks for another account's transfer.
SELECT pg_temp.policy($$debit_account_id = current_setting('app.account')::uuid$$);
SET ROLE tenancy_tenant;
SET app.account = '00000000-0000-0000-0000-0000000ea601';
SELECT ledger.id_numeric(id) FROM tenancy.transfers ORDER BY "timestamp";
EXPLAIN (COSTS OFF) SELECT id FROM tenancy.transfers WHERE id = '00000000-0000-0000-0000-0000000ea666' AND 1 / (amount - 1002) > 0;
SELECT count(*) FROM tenancy.transfers WHERE id = '00000000-0000-0000-0000-0000000ea666' AND 1 / (amount - 1001) > 0;
SELECT count(*) FROM tenancy.transfers WHERE id = '00000000-0000-0000-0000-0000000ea666' AND 1 / (amount - 1002) > 0;
SELECT count(*) FROM tenancy.transfers WHERE id = ledger.id(960102) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE id = ledger.id(960101) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE id IN (ledger.id(960101), ledger.id(960102)) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE code IN (1, 2) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE (code = 1 OR code = 2 OR tenancy.leak(amount)) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE debit_account_id = ledger.id(960002) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE user_data_32 = (SELECT 2) AND tenancy.leak(amount);
SELECT count(*) FROM (SELECT FROM tenancy.transfers WHERE tenancy.leak(amount) LIMIT 1) first_one;
-- As a column of the result, it sees what passed.
SELECT tenancy.leak(amount) FROM tenancy.transfers WHERE code IN (1, 2);
-- The value of a condition is computed before any row is read: it may fail, and says nothing of rows.
SELECT count(*) FROM tenancy.transfers WHERE id = tenancy.leak_id(ledger.id(960102));
SELECT count(*) FROM tenancy.transfers WHERE tenancy.leak_id(id) = ledger.id(960102);
-- An operator that is not leakproof stays behind the policy.
EXPLAIN (COSTS OFF) SELECT id FROM tenancy.transfers WHERE created_at >= date '2000-01-01';
SELECT count(*) FROM tenancy.transfers WHERE created_at >= date '2000-01-01' AND tenancy.leak(amount);

-- Joins: a nested loop looks up by the query's ids.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_material = off;
SET enable_memoize = off;
SELECT count(*) FROM tenancy.wanted w JOIN tenancy.transfers t ON t.id = w.id AND tenancy.spy(t.amount);
SELECT count(*) FROM tenancy.wanted w JOIN tenancy.transfers t ON t.id = w.id WHERE tenancy.spy(t.amount + 0 * t.code);
SELECT count(*) FROM tenancy.wanted w JOIN tenancy.transfers t ON t.id = w.id AND (w.id = ledger.id(5) OR tenancy.spy(t.amount));
SELECT count(t.id) FROM tenancy.wanted w LEFT JOIN LATERAL (
    SELECT id FROM tenancy.transfers WHERE id = w.id AND tenancy.spy(amount) OFFSET 0) t ON true;
SELECT count(*) FROM tenancy.transfers t JOIN tenancy.transfers u ON u.debit_account_id = t.debit_account_id AND tenancy.spy(u.amount);
SELECT (SELECT amount FROM tenancy.transfers WHERE id = w.id AND tenancy.spy(amount)) FROM tenancy.wanted w ORDER BY id;
RESET enable_hashjoin;
RESET enable_mergejoin;
RESET enable_material;
RESET enable_memoize;
RESET ROLE;

-- A policy that the executor checks too, for 0 means "no filter" to the engine.
SELECT pg_temp.policy($$user_data_64 = current_setting('app.number')::bigint$$);
SET ROLE tenancy_tenant;
SET app.number = '0';
SELECT count(*) FROM tenancy.transfers WHERE tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE id = ledger.id(960102) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE code IN (1, 2, 3) AND tenancy.leak(amount);
SET app.number = '1';
SELECT count(*) FROM tenancy.transfers WHERE tenancy.leak(amount);
RESET ROLE;

-- Policies that only the executor can check: a subquery, an OR, a list of unknown length.
SELECT pg_temp.policy($$EXISTS (SELECT FROM tenancy.wanted w WHERE w.id = transfers.id AND amount = 1001)$$);
SET ROLE tenancy_tenant;
SELECT count(*) FROM tenancy.transfers WHERE tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE id = ledger.id(960102) AND tenancy.leak(amount);
RESET ROLE;
SELECT pg_temp.policy($$(amount = 1001 OR code = 4)$$);
SET ROLE tenancy_tenant;
SELECT count(*) FROM tenancy.transfers WHERE tenancy.leak(amount);
SELECT count(*) FROM tenancy.transfers WHERE id = ANY (ARRAY(SELECT id FROM tenancy.wanted)) AND tenancy.leak(amount);
RESET ROLE;
SELECT pg_temp.policy($$code = ANY (string_to_array(current_setting('app.codes'), ',')::integer[])$$);
SET ROLE tenancy_tenant;
SET app.codes = '1,4';
SELECT count(*) FROM tenancy.transfers WHERE tenancy.leak(amount);
SELECT set_config('app.codes', string_agg(i::text, ',') || ',1,4', false) <> '' AS many FROM generate_series(1001, 1100) i;
SELECT count(*) FROM tenancy.transfers WHERE tenancy.leak(amount);
RESET ROLE;

-- Views that are barriers.
SET ROLE tenancy_tenant;
SET app.number = '0';
EXPLAIN (COSTS OFF) SELECT id FROM tenancy.barrier WHERE id = '00000000-0000-0000-0000-0000000ea666' AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.barrier WHERE tenancy.leak(amount);
SELECT count(*) FROM tenancy.barrier WHERE id = ledger.id(960102) AND tenancy.leak(amount);
SELECT count(*) FROM tenancy.barrier WHERE code IN (1, 2) AND tenancy.leak(amount);
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA tenancy CASCADE;
RESET client_min_messages;
REVOKE ALL ON SCHEMA ledger FROM tenancy_tenant;
REVOKE ALL ON FUNCTION ledger.id, ledger.id_numeric FROM tenancy_tenant;
DROP ROLE tenancy_tenant;
