-- Two-phase transfers: reserve, then post or void or let it expire; closing accounts.
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
    (ledger.id(3001), NULL, NULL, NULL, 30, 1, '{}', NULL),
    (ledger.id(3002), NULL, NULL, NULL, 30, 1, '{debits_must_not_exceed_credits}', NULL),
    (ledger.id(3003), NULL, NULL, NULL, 30, 1, '{}', NULL)
]::ledger.account_input[]);

-- Reserve and post all.
SELECT ledger.create_transfer(
    ledger.id(3001), ledger.id(3001), ledger.id(3002), 100, 30, 1, '{pending}', user_data_64 => 77);
SELECT * FROM pg_temp.balances(3001, 3002);
SELECT ledger.post_pending_transfer(ledger.id(3002), ledger.id(3001));
SELECT * FROM pg_temp.balances(3001, 3002);
-- The transfer that posts takes what is not said from the pending one.
\x
SELECT ledger.id_numeric(id) AS id, ledger.id_numeric(debit_account_id) AS debit, ledger.id_numeric(credit_account_id) AS credit,
    amount, ledger.id_numeric(pending_id) AS pending, user_data_64, timeout, ledger, code, flags
FROM ledger.lookup_transfers(ARRAY[ledger.id(3002)]);
\x
SELECT ledger.post_pending_transfer(ledger.id(3002), ledger.id(3001));
SELECT ledger.post_pending_transfer(ledger.id(3002), ledger.id(3001), 100);
SELECT ledger.post_pending_transfer(ledger.id(3002), ledger.id(3001), 99);
SELECT ledger.post_pending_transfer(ledger.id(3003), ledger.id(3001));
SELECT ledger.void_pending_transfer(ledger.id(3003), ledger.id(3001));

-- Post a part: the rest is released.
SELECT ledger.create_transfer(ledger.id(3010), ledger.id(3001), ledger.id(3003), 50, 30, 1, '{pending}');
SELECT ledger.post_pending_transfer(ledger.id(3011), ledger.id(3010), 51);
SELECT ledger.post_pending_transfer(ledger.id(3011), ledger.id(3010), 20);
SELECT * FROM pg_temp.balances(3001, 3003);

-- Void.
SELECT ledger.create_transfer(ledger.id(3020), ledger.id(3002), ledger.id(3003), 100, 30, 1, '{pending}');
SELECT ledger.create_transfer(ledger.id(3021), ledger.id(3002), ledger.id(3003), 1, 30, 1);
SELECT ledger.void_pending_transfer(ledger.id(3022), ledger.id(3020));
SELECT ledger.void_pending_transfer(ledger.id(3022), ledger.id(3020));
SELECT ledger.post_pending_transfer(ledger.id(3023), ledger.id(3020));
SELECT * FROM pg_temp.balances(3002, 3003);

-- Refused.
SELECT ledger.post_pending_transfer(ledger.id(3030), ledger.id(3099));
SELECT ledger.post_pending_transfer(ledger.id(3030), ledger.id(3001));
SELECT ledger.post_pending_transfer(ledger.id(3031), ledger.id(3002));
SELECT ledger.post_pending_transfer(ledger.id(3031), ledger.id(3031));
SELECT ledger.post_pending_transfer(ledger.id(3031), ledger.id(0));
SELECT ledger.post_pending_transfer(ledger.id(3031), ledger.id(ledger.amount_max()));
SELECT ledger.post_pending_transfer(ledger.id(3031), NULL);
SELECT ledger.void_pending_transfer(NULL, ledger.id(3001));

-- Expiry: refused to the nanosecond, released soon after.
SELECT ledger.create_transfer(
    ledger.id(3040), ledger.id(3001), ledger.id(3003), 5, 30, 1, '{pending}', timeout => '1 second');
SELECT pg_sleep(1.1);
SELECT ledger.post_pending_transfer(ledger.id(3041), ledger.id(3040));
DO $$
BEGIN
    FOR i IN 1 .. 9000 LOOP
        PERFORM FROM ledger.lookup_accounts(ARRAY[ledger.id(3001)]) WHERE debits_pending = 0;
        EXIT WHEN FOUND;
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;
SELECT * FROM pg_temp.balances(3001, 3003);
SELECT type, transfer_amount, debit_account_debits_pending, credit_account_credits_pending,
    transfer_timestamp < "timestamp" AS later
FROM ledger.get_change_events("limit" => NULL)
WHERE transfer_id = ledger.id(3040);
SELECT timeout FROM ledger.lookup_transfers(ARRAY[ledger.id(3040)]);

-- Closing: a pending transfer closes, voiding it opens again.
SELECT ledger.create_transfer(
    ledger.id(3050), ledger.id(3003), ledger.id(3001), 0, 30, 1, '{pending,closing_debit}');
SELECT * FROM pg_temp.balances(3003);
SELECT ledger.create_transfer(ledger.id(3051), ledger.id(3003), ledger.id(3001), 1, 30, 1);
SELECT ledger.create_transfer(ledger.id(3052), ledger.id(3001), ledger.id(3003), 1, 30, 1);
SELECT ledger.post_pending_transfer(ledger.id(3053), ledger.id(3050));
SELECT ledger.create_account(ledger.id(3003), 30, 1);
SELECT ledger.void_pending_transfer(ledger.id(3054), ledger.id(3050));
SELECT * FROM pg_temp.balances(3003);
SELECT ledger.create_transfer(ledger.id(3055), ledger.id(3001), ledger.id(3003), 1, 30, 1);
