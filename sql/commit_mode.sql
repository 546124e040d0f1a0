-- A call that is a whole transaction is durable when it returns. One inside a larger transaction must say that it
-- does not mind surviving a ROLLBACK.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SELECT boot_val, enumvals FROM pg_settings WHERE name = 'ledger.commit_mode';
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
