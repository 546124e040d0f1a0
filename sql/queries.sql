-- Queries: filters, ranges, order, limits, history, change events; and filters that make no sense.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SELECT index, status FROM ledger.create_accounts(ARRAY[
    (ledger.id(5001), ledger.id(51), 5100, 510, 50, 501, '{history}', NULL),
    (ledger.id(5002), ledger.id(51), 5200, 510, 50, 502, '{}', NULL),
    (ledger.id(5003), ledger.id(52), 5100, 520, 50, 501, '{}', NULL),
    (ledger.id(5004), ledger.id(52), 5200, 520, 51, 502, '{}', NULL)
]::ledger.account_input[]);
SELECT index, status FROM ledger.create_transfers(ARRAY[
    (ledger.id(5001), ledger.id(5001), ledger.id(5002), 1, NULL, ledger.id(53), 5300, 530, NULL, 50, 503, '{}', NULL),
    (ledger.id(5002), ledger.id(5002), ledger.id(5001), 2, NULL, ledger.id(53), 5400, 530, NULL, 50, 504, '{}', NULL),
    (ledger.id(5003), ledger.id(5001), ledger.id(5003), 4, NULL, ledger.id(54), 5300, 540, NULL, 50, 503, '{}', NULL),
    (ledger.id(5004), ledger.id(5001), ledger.id(5002), 8, NULL, ledger.id(54), 5400, 540, NULL, 50, 504, '{pending}', NULL),
    (ledger.id(5005), NULL, NULL, 5, ledger.id(5004), NULL, NULL, NULL, NULL, NULL, NULL, '{post_pending_transfer}', NULL)
]::ledger.transfer_input[]);
CREATE FUNCTION pg_temp.t(n integer) RETURNS bigint
LANGUAGE SQL VOLATILE AS $$ SELECT "timestamp" FROM ledger.lookup_transfers(ARRAY[ledger.id(n)]) $$;

-- Accounts, by each field and by several.
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(user_data_128 => ledger.id(51));
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(user_data_64 => 5100);
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(user_data_32 => 520);
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(ledger => 50);
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(code => 502);
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(ledger => 50, code => 501, reversed => true);
SELECT ledger.id_numeric(id) FROM ledger.query_accounts(
    user_data_128 => ledger.id(52), user_data_64 => 5200, user_data_32 => 520, ledger => 51, code => 502);
SELECT count(*) FROM ledger.query_accounts(user_data_128 => ledger.id(51), user_data_32 => 520);

-- Transfers.
SELECT ledger.id_numeric(id) FROM ledger.query_transfers(user_data_128 => ledger.id(53));
-- The transfer that posts took the user data, ledger and code of the pending one.
SELECT ledger.id_numeric(id), amount FROM ledger.query_transfers(user_data_64 => 5400, code => 504);
SELECT ledger.id_numeric(id) FROM ledger.query_transfers(ledger => 50);
SELECT ledger.id_numeric(id) FROM ledger.query_transfers(ledger => 50, reversed => true, "limit" => 2);
SELECT ledger.id_numeric(id) FROM ledger.query_transfers(
    ledger => 50, timestamp_min => pg_temp.t(5002), timestamp_max => pg_temp.t(5004));
SELECT ledger.id_numeric(id) FROM ledger.query_transfers(
    ledger => 50, timestamp_min => pg_temp.t(5002), timestamp_max => pg_temp.t(5004), reversed => true, "limit" => 1);

-- The transfers of an account.
SELECT ledger.id_numeric(id), amount FROM ledger.get_account_transfers(ledger.id(5001));
SELECT ledger.id_numeric(id), amount FROM ledger.get_account_transfers(ledger.id(5001), credits => false);
SELECT ledger.id_numeric(id), amount FROM ledger.get_account_transfers(ledger.id(5001), debits => false);
SELECT ledger.id_numeric(id), amount FROM ledger.get_account_transfers(ledger.id(5001), code => 504, reversed => true);
SELECT ledger.id_numeric(id), amount FROM ledger.get_account_transfers(
    ledger.id(5001), user_data_128 => ledger.id(54), user_data_64 => 5300, user_data_32 => 540);
SELECT count(*) FROM ledger.get_account_transfers(ledger.id(5999));

-- Its balances after each: only with the flag history. A row for each transfer, in the same order.
SELECT ledger.id_numeric(account_id), debits_pending, debits_posted, credits_pending, credits_posted
FROM ledger.get_account_balances(ledger.id(5001));
SELECT debits_pending, debits_posted, credits_posted
FROM ledger.get_account_balances(ledger.id(5001), credits => false, "limit" => 2, reversed => true);
SELECT bool_and(b."timestamp" = t."timestamp"), count(*)
FROM (SELECT row_number() OVER () AS n, "timestamp" FROM ledger.get_account_balances(ledger.id(5001))) b
FULL JOIN (SELECT row_number() OVER () AS n, "timestamp" FROM ledger.get_account_transfers(ledger.id(5001))) t USING (n);
SELECT count(*) FROM ledger.get_account_balances(ledger.id(5002));

-- What changed.
SELECT ledger.id_numeric(transfer_id) AS transfer, transfer_amount AS amount, ledger.id_numeric(transfer_pending_id) AS pending,
    type, transfer_flags, ledger.id_numeric(debit_account_id) AS debit, ledger.id_numeric(credit_account_id) AS credit
FROM ledger.get_change_events(timestamp_min => pg_temp.t(5001), timestamp_max => pg_temp.t(5005));
\x
SELECT * FROM ledger.get_change_events(timestamp_min => pg_temp.t(5005), timestamp_max => pg_temp.t(5005)) e,
    LATERAL (SELECT e."timestamp" = e.transfer_timestamp AS same) s \gset event_
\x
SELECT :'event_debit_account_debits_pending' AS debits_pending, :'event_debit_account_debits_posted' AS debits_posted,
    :'event_debit_account_credits_posted' AS credits_posted, :'event_debit_account_user_data_64' AS user_data_64,
    :'event_debit_account_code' AS code, :'event_debit_account_flags' AS flags, :'event_same' AS same;
SELECT :'event_credit_account_credits_pending' AS credits_pending, :'event_credit_account_credits_posted' AS credits_posted,
    :'event_credit_account_debits_posted' AS debits_posted, :'event_credit_account_user_data_64' AS user_data_64,
    :'event_credit_account_code' AS code, :'event_credit_account_flags' AS flags, :'event_ledger' AS ledger;
SELECT count(*) FROM ledger.get_change_events("limit" => 3);

-- NULL is no filter and no limit.
SELECT ledger.id_numeric(id)
FROM ledger.query_accounts(NULL, NULL, NULL, 50, NULL, NULL, NULL, NULL, NULL);

-- More than a page, and more than several: no limit is no limit.
SELECT status, count(*) FROM ledger.create_accounts(ARRAY(
    SELECT ROW(ledger.id(520000 + i), NULL, 0, 0, 52, 1, '{history}', NULL)::ledger.account_input
    FROM generate_series(1, 9000) i)) GROUP BY status;
SELECT status, count(*) FROM ledger.create_transfers(ARRAY(
    SELECT ROW(ledger.id(52000000 + i), ledger.id(520001), ledger.id(520002), i, NULL, NULL, 0, 0, NULL, 52, 1, '{}', NULL)::ledger.transfer_input
    FROM generate_series(1, 18000) i)) GROUP BY status;
SELECT count(*), sum(amount) = (SELECT debits_posted FROM ledger.lookup_accounts(ARRAY[ledger.id(520001)])) AS same
FROM ledger.get_account_transfers(ledger.id(520001));
CREATE FUNCTION pg_temp.ascends(numbers bigint[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT numbers = array_agg(DISTINCT n ORDER BY n) FROM unnest(numbers) n $$;
CREATE FUNCTION pg_temp.descends(numbers bigint[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT numbers = array_agg(DISTINCT n ORDER BY n DESC) FROM unnest(numbers) n $$;
SELECT count(*), pg_temp.ascends(array_agg("timestamp")) FROM ledger.get_account_transfers(ledger.id(520001), "limit" => NULL);
SELECT count(*), pg_temp.descends(array_agg("timestamp")) FROM ledger.get_account_transfers(ledger.id(520002), reversed => true);
SELECT count(*), pg_temp.ascends(array_agg("timestamp")) FROM ledger.get_account_balances(ledger.id(520001));
SELECT count(*), pg_temp.descends(array_agg("timestamp")) FROM ledger.query_transfers(ledger => 52, reversed => true);
SELECT count(*), pg_temp.ascends(array_agg("timestamp")) FROM ledger.query_accounts(ledger => 52);
SELECT count(*), pg_temp.descends(array_agg("timestamp")) FROM ledger.query_accounts(ledger => 52, reversed => true);
SELECT count(*), pg_temp.ascends(array_agg("timestamp")) FROM ledger.get_change_events(
    timestamp_min => (SELECT "timestamp" FROM ledger.lookup_transfers(ARRAY[ledger.id(52000001)])),
    timestamp_max => (SELECT "timestamp" FROM ledger.lookup_transfers(ARRAY[ledger.id(52018000)])));
SELECT count(*) FROM ledger.lookup_accounts(ARRAY(SELECT ledger.id(520000 + i) FROM generate_series(1, 9001) i));
SELECT n, count(*), max(t.amount), min(t.amount) FROM unnest(ARRAY[1, 32, 33, 8190, 8191, 16380, 16381, 17999, 18000, 18001]) n,
    LATERAL ledger.get_account_transfers(ledger.id(520001), "limit" => n, reversed => true) t GROUP BY n ORDER BY n;
SELECT n, count(*) FROM unnest(ARRAY[1, 4000, 8000, 12000]) n, LATERAL ledger.get_change_events("limit" => n) e GROUP BY n ORDER BY n;
-- The rows go to disk when they are more than work_mem.
SET work_mem = '64kB';
SELECT count(*), sum(amount) FROM ledger.query_transfers(ledger => 52);
RESET work_mem;

-- Senseless: errors, not empty answers.
SELECT * FROM ledger.query_accounts("limit" => 0);
SELECT * FROM ledger.query_transfers("limit" => -1);
SELECT * FROM ledger.get_change_events("limit" => 0);
SELECT * FROM ledger.query_transfers(timestamp_min => 2, timestamp_max => 1);
SELECT * FROM ledger.query_transfers(timestamp_max => 0);
SELECT * FROM ledger.query_transfers(timestamp_min => -1);
SELECT * FROM ledger.query_transfers(user_data_128 => ledger.id(0));
SELECT * FROM ledger.query_transfers(user_data_64 => 0);
SELECT * FROM ledger.query_transfers(user_data_32 => 0);
SELECT * FROM ledger.query_transfers(ledger => 0);
SELECT * FROM ledger.query_transfers(code => 0);
SELECT * FROM ledger.query_transfers(ledger => 4294967296);
SELECT * FROM ledger.query_transfers(code => 65536);
SELECT * FROM ledger.get_account_transfers(NULL);
SELECT * FROM ledger.get_account_transfers(ledger.id(0));
SELECT * FROM ledger.get_account_balances(ledger.id(ledger.amount_max()));
SELECT * FROM ledger.get_account_transfers(ledger.id(5001), debits => false, credits => false);
