-- Batches: one result for each event; linked chains; packed records; more than one message.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
CREATE FUNCTION pg_temp.balances(VARIADIC numbers numeric[])
RETURNS TABLE (account numeric, debits_pending numeric, debits_posted numeric,
    credits_pending numeric, credits_posted numeric, flags ledger.account_flag[])
LANGUAGE SQL VOLATILE AS $$
    SELECT ledger.id_numeric(id), debits_pending, debits_posted, credits_pending, credits_posted, flags
    FROM ledger.lookup_accounts((SELECT array_agg(ledger.id(n)) FROM unnest(numbers) n))
$$;
SELECT index, status FROM ledger.create_accounts(ARRAY[
    (ledger.id(4001), NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4002), NULL, NULL, NULL, 40, 1, '{debits_must_not_exceed_credits}', NULL),
    (ledger.id(4001), NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4001), NULL, NULL, NULL, 40, 2, NULL, NULL),
    (ledger.id(0), NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4003), NULL, NULL, NULL, 40, 1, '{imported}', 1),
    (ledger.id(4003), NULL, NULL, NULL, 40, 1, NULL, 1)
]::ledger.account_input[]);

-- A business failure is no error, and does not stop the others.
SELECT index, status FROM ledger.create_transfers(ARRAY[
    (ledger.id(4001), ledger.id(4001), ledger.id(4002), 10, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4002), ledger.id(4002), ledger.id(4001), 11, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4003), ledger.id(4002), ledger.id(4001), 4, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4001), ledger.id(4001), ledger.id(4002), 10, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4002), ledger.id(4002), ledger.id(4001), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL)
]::ledger.transfer_input[]);
SELECT * FROM pg_temp.balances(4001, 4002);

-- Timestamps: in order; `exists` has that of the existing one.
SELECT index, status, "timestamp" > lag("timestamp") OVER (ORDER BY index) AS later,
    "timestamp" = (SELECT "timestamp" FROM ledger.lookup_transfers(ARRAY[ledger.id(4001)])) AS existing
FROM ledger.create_transfers(ARRAY[
    (ledger.id(4004), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4001), ledger.id(4001), ledger.id(4002), 10, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4005), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL)
]::ledger.transfer_input[]);

-- Linked: all or none. The second chain fails in its middle; what stands alone is not touched.
SELECT index, status FROM ledger.create_transfers(ARRAY[
    (ledger.id(4010), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, '{linked}', NULL),
    (ledger.id(4011), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4012), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, '{linked}', NULL),
    (ledger.id(4013), ledger.id(4001), ledger.id(4001), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, '{linked}', NULL),
    (ledger.id(4014), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4015), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4016), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, '{linked}', NULL),
    (ledger.id(4017), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, '{linked}', NULL)
]::ledger.transfer_input[]);
SELECT ledger.id_numeric(id)
FROM ledger.lookup_transfers((SELECT array_agg(ledger.id(n) ORDER BY n) FROM generate_series(4010, 4017) n));
SELECT * FROM pg_temp.balances(4001, 4002);

-- Pending, posted in part, and void, in one chain. NULL is taken from the pending transfer.
SELECT index, status FROM ledger.create_transfers(ARRAY[
    (ledger.id(4020), ledger.id(4001), ledger.id(4002), 9, NULL, NULL, NULL, NULL, 60, 40, 1, '{linked,pending}', NULL),
    (ledger.id(4021), NULL, NULL, 3, ledger.id(4020), NULL, NULL, NULL, NULL, NULL, NULL, '{linked,post_pending_transfer}', NULL),
    (ledger.id(4022), ledger.id(4001), ledger.id(4002), 9, NULL, NULL, NULL, NULL, NULL, 40, 1, '{linked,pending}', NULL),
    (ledger.id(4023), NULL, NULL, NULL, ledger.id(4022), NULL, NULL, NULL, NULL, NULL, NULL, '{void_pending_transfer}', NULL),
    (ledger.id(4024), ledger.id(4001), ledger.id(4002), 9, NULL, NULL, NULL, NULL, NULL, 40, 1, '{linked,pending}', NULL),
    (ledger.id(4025), NULL, NULL, NULL, ledger.id(4024), NULL, NULL, NULL, NULL, NULL, NULL, '{post_pending_transfer}', NULL)
]::ledger.transfer_input[]);
SELECT ledger.id_numeric(id), amount FROM ledger.lookup_transfers(ARRAY[ledger.id(4021), ledger.id(4023), ledger.id(4025)]);

-- Malformed: an error before anything is sent.
SELECT * FROM ledger.create_transfers(ARRAY[NULL]::ledger.transfer_input[]);
SELECT * FROM ledger.create_transfers(ARRAY[
    (ledger.id(4030), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL),
    (ledger.id(4031), ledger.id(4001), ledger.id(4002), 1.5, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL)
]::ledger.transfer_input[]);
SELECT * FROM ledger.create_transfers(ARRAY[
    (ledger.id(4030), ledger.id(4001), NULL, 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL)
]::ledger.transfer_input[]);
SELECT * FROM ledger.create_transfers(ARRAY[
    (NULL, ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL)
]::ledger.transfer_input[]);
SELECT * FROM ledger.create_transfers(ARRAY[ARRAY[
    (ledger.id(4030), ledger.id(4001), ledger.id(4002), 1, NULL, NULL, NULL, NULL, NULL, 40, 1, NULL, NULL)
]]::ledger.transfer_input[]);
SELECT count(*) FROM ledger.lookup_transfers(ARRAY[ledger.id(4030), ledger.id(4031)]);
SELECT count(*) FROM ledger.create_transfers('{}');
SELECT count(*) FROM ledger.create_transfers(NULL);

-- Packed: id, debit account, credit account, amount, ..., ledger 40, code 1, flags. Little-endian.
CREATE FUNCTION pg_temp.u(value numeric, bytes integer) RETURNS bytea
LANGUAGE SQL IMMUTABLE AS $$
    SELECT string_agg(set_byte('\x00', 0, mod(div(value, 256::numeric ^ i), 256)::integer), '' ORDER BY i)
    FROM generate_series(0, bytes - 1) i
$$;
CREATE FUNCTION pg_temp.packed(id numeric, debit numeric, credit numeric, amount numeric, flags integer) RETURNS bytea
LANGUAGE SQL IMMUTABLE AS $$
    SELECT pg_temp.u(id, 16) || pg_temp.u(debit, 16) || pg_temp.u(credit, 16) || pg_temp.u(amount, 16) ||
        pg_temp.u(0, 48) || pg_temp.u(40, 4) || pg_temp.u(1, 2) || pg_temp.u(flags, 2) || pg_temp.u(0, 8)
$$;
CREATE FUNCTION pg_temp.statuses(results bytea) RETURNS TABLE (index bigint, status bytea, reserved bytea)
LANGUAGE SQL IMMUTABLE AS $$
    SELECT i, substr(results, (i * 16 - 7)::integer, 4), substr(results, (i * 16 - 3)::integer, 4)
    FROM generate_series(1, length(results) / 16) i
$$;
SELECT length(pg_temp.packed(1, 2, 3, 4, 5));
-- created, exists (46), exists_with_different_amount (39), accounts_must_be_different (12), reserved_flag (4)
SELECT * FROM pg_temp.statuses(ledger.create_transfers_packed(
    pg_temp.packed(4040, 4001, 4002, 5, 0) || pg_temp.packed(4040, 4001, 4002, 5, 0) ||
    pg_temp.packed(4040, 4001, 4002, 6, 0) || pg_temp.packed(4041, 4001, 4001, 5, 0) ||
    pg_temp.packed(4041, 4001, 4002, 5, 512)));
SELECT ledger.id_numeric(id), amount FROM ledger.lookup_transfers(ARRAY[ledger.id(4040), ledger.id(4041)]);
-- created; debits_posted_must_be_zero (10); reserved_field (4)
SELECT * FROM pg_temp.statuses(ledger.create_accounts_packed(
    pg_temp.u(4004, 16) || pg_temp.u(0, 96) || pg_temp.u(40, 4) || pg_temp.u(1, 2) || pg_temp.u(0, 10) ||
    pg_temp.u(4005, 16) || pg_temp.u(0, 16) || pg_temp.u(1, 16) || pg_temp.u(0, 64) || pg_temp.u(40, 4) || pg_temp.u(1, 2) || pg_temp.u(0, 10) ||
    pg_temp.u(4005, 16) || pg_temp.u(0, 92) || pg_temp.u(1, 4) || pg_temp.u(40, 4) || pg_temp.u(1, 2) || pg_temp.u(0, 10)));
SELECT length(ledger.create_transfers_packed(''));
SELECT ledger.create_transfers_packed('\x0102');
SELECT ledger.create_transfers_packed(NULL) IS NULL AS is_null;

-- More than one message holds: 20,000 events in chains of 90, none of them torn.
SELECT count(*), count(DISTINCT "timestamp"), min(index), max(index), min(status), max(status)
FROM ledger.create_transfers((
    SELECT array_agg((ledger.id(4100000 + n), ledger.id(4001), ledger.id(4002), 1, NULL, ledger.id(4100000), NULL, NULL, NULL, 40, 1,
        CASE WHEN n % 90 = 0 OR n = 20000 THEN '{}' ELSE '{linked}' END::ledger.transfer_flag[], NULL)::ledger.transfer_input ORDER BY n)
    FROM generate_series(1, 20000) n));
-- The last chain is left open: it alone fails.
SELECT status, count(*), min(index), max(index)
FROM ledger.create_transfers((
    SELECT array_agg((ledger.id(4200000 + n), ledger.id(4001), ledger.id(4002), 1, NULL, ledger.id(4200000), NULL, NULL, NULL, 40, 1,
        CASE WHEN n % 4000 = 0 AND n < 20000 THEN '{}' ELSE '{linked}' END::ledger.transfer_flag[], NULL)::ledger.transfer_input ORDER BY n)
    FROM generate_series(1, 20000) n))
GROUP BY status ORDER BY status;
-- A chain that no message can hold: nothing is sent.
SELECT *
FROM ledger.create_transfers((
    SELECT array_agg((ledger.id(4300000 + n), ledger.id(4001), ledger.id(4002), 1, NULL, ledger.id(4300000), NULL, NULL, NULL, 40, 1,
        CASE WHEN n > 100 THEN '{linked}' ELSE '{}' END::ledger.transfer_flag[], NULL)::ledger.transfer_input ORDER BY n)
    FROM generate_series(1, 8400) n));
SELECT count(*) FROM ledger.query_transfers(user_data_128 => ledger.id(4300000));

-- Pages: more rows than one message holds, each once, in order.
SELECT count(*), count(DISTINCT id), sum(amount) FROM ledger.query_transfers(user_data_128 => ledger.id(4100000), "limit" => NULL);
SELECT count(*) FROM ledger.query_transfers(user_data_128 => ledger.id(4100000));
SELECT count(*), min(ledger.id_numeric(id)), max(ledger.id_numeric(id))
FROM ledger.query_transfers(user_data_128 => ledger.id(4100000), "limit" => 12345, reversed => true);
SELECT count(*) FROM ledger.query_transfers(user_data_128 => ledger.id(4200000), "limit" => NULL);
SELECT count(*) FROM ledger.lookup_transfers((SELECT array_agg(ledger.id(4100000 + n)) FROM generate_series(-5, 20005) n));
SELECT count(*), bool_and("timestamp" > before) AS ascending
FROM (SELECT "timestamp", lag("timestamp") OVER () AS before
      FROM ledger.get_account_transfers(ledger.id(4001), credits => false, user_data_128 => ledger.id(4100000), "limit" => NULL)) pairs;
SELECT count(*) FROM ledger.get_change_events("limit" => NULL) WHERE transfer_user_data_128 = ledger.id(4100000);
