-- Accounts: creating, repeating, refusing, reading.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SELECT ledger.create_account(ledger.id(1001), ledger => 10, code => 1);
-- The same again succeeds and says so; the timestamp is that of the first time.
SELECT ledger.create_account(ledger.id(1001), 10, 1);
SELECT r.status, r.timestamp = a.timestamp AS same_timestamp
FROM ledger.lookup_accounts(ARRAY[ledger.id(1001)]) a,
    ledger.create_accounts(ARRAY[(a.id, NULL, NULL, NULL, 10, 1, NULL, NULL)]::ledger.account_input[]) r;

SELECT ledger.create_account(
    id => ledger.id(1002),
    ledger => 4294967295,
    code => 65535,
    flags => '{history,debits_must_not_exceed_credits}',
    user_data_128 => 'ffffffff-ffff-ffff-ffff-ffffffffffff',
    user_data_64 => -1,
    user_data_32 => 4294967295);

\x
SELECT id, debits_pending, debits_posted, credits_pending, credits_posted, user_data_128, user_data_64,
    user_data_32, ledger, code, flags
FROM ledger.lookup_accounts(ARRAY[ledger.id(1002), ledger.id(1001)]);
\x
-- created_at is the timestamp.
SELECT created_at = to_timestamp(0) + ("timestamp" / 1000) * interval '1 microsecond' AS is_timestamp,
    abs(extract(epoch FROM clock_timestamp() - created_at)) < 3600 AS is_recent
FROM ledger.lookup_accounts(ARRAY[ledger.id(1001)]);

-- Lookups keep the order, repeat what is asked twice, and leave out what does not exist.
SELECT ledger.id_numeric(id)
FROM ledger.lookup_accounts(ARRAY[ledger.id(1002), ledger.id(1999), ledger.id(1001), ledger.id(0), ledger.id(1002)]);
SELECT count(*) FROM ledger.lookup_accounts('{}');
SELECT count(*) FROM ledger.lookup_accounts(NULL);
SELECT count(*) FROM ledger.lookup_accounts(ARRAY[NULL]::uuid[]);

-- The id is taken: what differs is named, in the order of precedence.
SELECT ledger.create_account(ledger.id(1001), 11, 2, '{history}', ledger.id(1), 1, 1);
SELECT ledger.create_account(ledger.id(1001), 11, 2, '{}', ledger.id(1), 1, 1);
SELECT ledger.create_account(ledger.id(1001), 11, 2, '{}', NULL, 1, 1);
SELECT ledger.create_account(ledger.id(1001), 11, 2, '{}', NULL, 0, 1);
SELECT ledger.create_account(ledger.id(1001), 11, 2, '{}', NULL, 0, 0);
SELECT ledger.create_account(ledger.id(1001), 10, 2, '{}', NULL, 0, 0);

-- Refused by the ledger.
SELECT ledger.create_account(ledger.id(0), 10, 1);
SELECT ledger.create_account(ledger.id(ledger.amount_max()), 10, 1);
SELECT ledger.create_account(ledger.id(1003), 0, 1);
SELECT ledger.create_account(ledger.id(1003), 10, 0);
SELECT ledger.create_account(
    ledger.id(1003), 10, 1, '{debits_must_not_exceed_credits,credits_must_not_exceed_debits}');
SELECT ledger.create_account(ledger.id(1003), 10, 1, '{linked}');
SELECT ledger.create_account(ledger.id(1003), 10, 1, "timestamp" => 1);
SELECT ledger.create_account(ledger.id(1003), 10, 1, '{imported}');
SELECT ledger.create_account(ledger.id(1003), 10, 1, '{imported}', "timestamp" => 9223372036854775807);
SELECT ledger.create_account(ledger.id(1003), 10, 1, '{imported}', "timestamp" => 1);

-- Refused before the ledger is asked.
SELECT ledger.create_account(NULL, 10, 1);
SELECT ledger.create_account(ledger.id(1003), NULL, 1);
SELECT ledger.create_account(ledger.id(1003), 10, NULL);
SELECT ledger.create_account(ledger.id(1003), 4294967296, 1);
SELECT ledger.create_account(ledger.id(1003), -1, 1);
SELECT ledger.create_account(ledger.id(1003), 10, 65536);
SELECT ledger.create_account(ledger.id(1003), 10, 1, user_data_32 => -1);
SELECT ledger.create_account(ledger.id(1003), 10, 1, '{unheard_of}');
SELECT ledger.create_account(ledger.id(1003), 10, 1, '{NULL}');
SELECT ledger.create_account(ledger.id(1003), 10, 1, "timestamp" => -1);
SELECT count(*) FROM ledger.lookup_accounts(ARRAY[ledger.id(1003)]);

-- Imported: behind the newest account, before now.
SELECT ledger.create_account(
    ledger.id(1004), 10, 1, '{imported}',
    "timestamp" => (SELECT a."timestamp" + 1 FROM ledger.query_accounts("limit" => 1, reversed => true) a));
SELECT ledger.id_numeric(a.id), ledger.id_numeric(b.id), a."timestamp" = b."timestamp" + 1 AS just_after
FROM ledger.query_accounts("limit" => 1, reversed => true) a,
    ledger.lookup_accounts(ARRAY[ledger.id(1002)]) b;

-- Created closed: no transfer ever.
SELECT ledger.create_account(ledger.id(1005), 10, 1, '{closed}');
SELECT ledger.create_transfer(ledger.id(1001), ledger.id(1005), ledger.id(1001), 1, 10, 1);
