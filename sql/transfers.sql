-- Single-phase transfers: effects, limits, balancing, what is refused.
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
    (ledger.id(2001), NULL, NULL, NULL, 20, 1, '{}', NULL),
    (ledger.id(2002), NULL, NULL, NULL, 20, 1, '{debits_must_not_exceed_credits}', NULL),
    (ledger.id(2003), NULL, NULL, NULL, 20, 1, '{credits_must_not_exceed_debits}', NULL),
    (ledger.id(2004), NULL, NULL, NULL, 20, 1, '{}', NULL),
    (ledger.id(2005), NULL, NULL, NULL, 21, 1, '{}', NULL),
    (ledger.id(2006), NULL, NULL, NULL, 20, 1, '{}', NULL),
    (ledger.id(2007), NULL, NULL, NULL, 20, 1, '{}', NULL)
]::ledger.account_input[]);

SELECT ledger.create_transfer(
    ledger.id(2001), ledger.id(2001), ledger.id(2002), 100, ledger => 20, code => 1);
SELECT ledger.create_transfer(
    ledger.id(2001), ledger.id(2001), ledger.id(2002), 100, ledger => 20, code => 1);
SELECT * FROM pg_temp.balances(2001, 2002);

\x
SELECT id, debit_account_id, credit_account_id, amount, pending_id, user_data_128, user_data_64, user_data_32,
    timeout, ledger, code, flags
FROM ledger.lookup_transfers(ARRAY[ledger.id(2001)]);
\x

-- Limits: debits up to what was credited, not one more; and the id that failed stays failed.
SELECT ledger.create_transfer(ledger.id(2002), ledger.id(2002), ledger.id(2001), 60, 20, 1);
SELECT ledger.create_transfer(ledger.id(2003), ledger.id(2002), ledger.id(2001), 41, 20, 1);
SELECT ledger.create_transfer(ledger.id(2003), ledger.id(2002), ledger.id(2001), 40, 20, 1);
SELECT ledger.create_transfer(ledger.id(2004), ledger.id(2002), ledger.id(2001), 40, 20, 1);
SELECT ledger.create_transfer(ledger.id(2005), ledger.id(2001), ledger.id(2003), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2006), ledger.id(2003), ledger.id(2001), 7, 20, 1);
SELECT ledger.create_transfer(ledger.id(2007), ledger.id(2001), ledger.id(2003), 7, 20, 1);
SELECT * FROM pg_temp.balances(2001, 2002, 2003);

-- Amounts: zero is legal, the largest is exact, and sums that do not fit are refused.
SELECT ledger.create_transfer(ledger.id(2008), ledger.id(2001), ledger.id(2004), 0, 20, 1);
SELECT ledger.create_transfer(
    ledger.id(2009), ledger.id(2006), ledger.id(2007), ledger.amount_max(), 20, 1);
SELECT * FROM pg_temp.balances(2006, 2007);
SELECT ledger.create_transfer(ledger.id(2010), ledger.id(2006), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2010), ledger.id(2004), ledger.id(2007), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2010), ledger.id(2006), ledger.id(2004), 1, 20, 1, '{pending}');

-- Balancing: as much as there is, up to the amount.
SELECT ledger.create_transfer(ledger.id(2011), ledger.id(2001), ledger.id(2004), 30, 20, 1);
SELECT ledger.create_transfer(
    ledger.id(2012), ledger.id(2004), ledger.id(2001), 20, 20, 1, '{balancing_debit}');
SELECT ledger.create_transfer(
    ledger.id(2013), ledger.id(2004), ledger.id(2001), ledger.amount_max(), 20, 1, '{balancing_debit}');
SELECT ledger.create_transfer(
    ledger.id(2014), ledger.id(2004), ledger.id(2001), ledger.amount_max(), 20, 1, '{balancing_debit}');
SELECT ledger.id_numeric(id), amount, flags
FROM ledger.lookup_transfers(ARRAY[ledger.id(2012), ledger.id(2013), ledger.id(2014)]);
-- Repeated with the original limit it exists; with less than was moved it differs.
SELECT ledger.create_transfer(
    ledger.id(2013), ledger.id(2004), ledger.id(2001), ledger.amount_max(), 20, 1, '{balancing_debit}');
SELECT ledger.create_transfer(
    ledger.id(2013), ledger.id(2004), ledger.id(2001), 9, 20, 1, '{balancing_debit}');
SELECT * FROM pg_temp.balances(2004);

-- Refused by the ledger.
SELECT ledger.create_transfer(ledger.id(0), ledger.id(2001), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(ledger.amount_max()), ledger.id(2001), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(0), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(0), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2001), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 0, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 0);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2005), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 21, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1, timeout => '1 s');
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1, '{closing_debit}');
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1, '{post_pending_transfer}');
-- None of these burnt the id; an account that does not exist does.
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2021), ledger.id(2999), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2022), ledger.id(2001), ledger.id(2999), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2021), ledger.id(2001), ledger.id(2004), 1, 20, 1);
SELECT count(*) FROM ledger.lookup_transfers(ARRAY[ledger.id(2021), ledger.id(2022)]);

-- The id is taken.
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1, '{pending}');
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2002), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2002), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 2, 20, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1, user_data_128 => ledger.id(1));
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1, user_data_64 => 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 1, user_data_32 => 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 21, 1);
SELECT ledger.create_transfer(ledger.id(2020), ledger.id(2001), ledger.id(2004), 1, 20, 2);

-- Refused before the ledger is asked.
SELECT ledger.create_transfer(NULL, ledger.id(2001), ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), NULL, ledger.id(2004), 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), NULL, 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), NULL, 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), 1.5, 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), -1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), 'NaN', 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), ledger.amount_max() + 1, 20, 1);
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), 1, 20, 1, '{pending}', '1 month');
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), 1, 20, 1, '{pending}', '0.5 s');
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), 1, 20, 1, '{pending}', '-1 s');
SELECT ledger.create_transfer(ledger.id(2030), ledger.id(2001), ledger.id(2004), 1, 20, 1, '{pending}', '4294967296 s');
SELECT count(*) FROM ledger.lookup_transfers(ARRAY[ledger.id(2030)]);
