-- Nothing is granted to PUBLIC but what makes ids and amounts.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SELECT proname FROM pg_proc p
WHERE pronamespace = 'ledger'::regnamespace
    AND has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1;
SELECT relname FROM pg_class c
WHERE relnamespace = 'ledger'::regnamespace AND relkind IN ('r', 'v', 'f')
    AND has_table_privilege('public', c.oid, 'SELECT')
ORDER BY 1;
SELECT has_schema_privilege('public', 'ledger', 'USAGE');

SELECT ledger.create_account(ledger.id(8001), 80, 1);
SELECT ledger.create_account(ledger.id(8002), 80, 1);
CREATE ROLE regress_ledger_teller;
SET ROLE regress_ledger_teller;
SELECT ledger.id(1);
RESET ROLE;

GRANT USAGE ON SCHEMA ledger TO regress_ledger_teller;
SET ROLE regress_ledger_teller;
SELECT ledger.id(1), ledger.id_numeric(ledger.id(1)), ledger.amount_max(), ledger.uuidv7() IS NOT NULL AS uuidv7;
SELECT ledger.create_transfer('00000000-0000-0000-0000-000000008001', '00000000-0000-0000-0000-000000008001',
    '00000000-0000-0000-0000-000000008002', 1, 80, 1);
RESET ROLE;

-- One may transfer, and not create accounts.
GRANT EXECUTE ON FUNCTION ledger.id, ledger.create_transfer, ledger.create_transfers, ledger.lookup_transfers
TO regress_ledger_teller;
SET ROLE regress_ledger_teller;
SELECT ledger.create_transfer(ledger.id(8001), ledger.id(8001), ledger.id(8002), 1, 80, 1);
SELECT status FROM ledger.create_transfers(ARRAY[
    (ledger.id(8002), ledger.id(8001), ledger.id(8002), 1, NULL, NULL, NULL, NULL, NULL, 80, 1, '{pending}', NULL)
]::ledger.transfer_input[]);
SELECT amount, flags FROM ledger.lookup_transfers(ARRAY[ledger.id(8001), ledger.id(8002)]);
SELECT ledger.create_account(ledger.id(8003), 80, 1);
SELECT * FROM ledger.lookup_accounts(ARRAY[ledger.id(8001)]);
SELECT ledger.post_pending_transfer(ledger.id(8003), ledger.id(8002));
RESET ROLE;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ledger FROM regress_ledger_teller;
REVOKE ALL ON SCHEMA ledger FROM regress_ledger_teller;
DROP ROLE regress_ledger_teller;

-- One who reads, and an application, as README grants it: they get what they need, and neither verify() nor what monitors.
CREATE ROLE regress_ledger_reader;
GRANT USAGE ON SCHEMA ledger TO regress_ledger_reader;
GRANT SELECT ON ledger.accounts, ledger.transfers, ledger.account_balances, ledger.change_events TO regress_ledger_reader;
GRANT EXECUTE ON FUNCTION ledger.lookup_accounts, ledger.lookup_transfers, ledger.query_accounts, ledger.query_transfers,
    ledger.get_account_transfers, ledger.get_account_balances, ledger.get_change_events TO regress_ledger_reader;
CREATE ROLE regress_ledger_app;
GRANT regress_ledger_reader TO regress_ledger_app;
GRANT EXECUTE ON FUNCTION ledger.create_account, ledger.create_transfer, ledger.post_pending_transfer,
    ledger.void_pending_transfer, ledger.create_accounts, ledger.create_transfers, ledger.create_accounts_packed,
    ledger.create_transfers_packed TO regress_ledger_app;
SET ROLE regress_ledger_reader;
SELECT ledger.id_numeric(id), flags FROM ledger.accounts WHERE id = ledger.id(8001);
SELECT count(*) FROM ledger.get_account_transfers(ledger.id(8001));
SELECT ledger.create_transfer(ledger.id(8010), ledger.id(8001), ledger.id(8002), 1, 80, 1);
SELECT count(*) FROM ledger.verify();
SELECT role FROM ledger.status;
SET ROLE regress_ledger_app;
SELECT ledger.create_account(ledger.id(8003), 80, 1);
SELECT ledger.create_transfer(ledger.id(8010), ledger.id(8001), ledger.id(8002), 1, 80, 1);
SELECT ledger.void_pending_transfer(ledger.id(8011), ledger.id(8002));
SELECT amount FROM ledger.transfers WHERE id = ledger.id(8010);
SELECT count(*) FROM ledger.verify();
RESET ROLE;
SELECT r.rolname, p.proname FROM pg_roles r, pg_proc p
WHERE r.rolname ~ '^regress_ledger' AND p.pronamespace = 'ledger'::regnamespace AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
    AND NOT has_function_privilege('public', p.oid, 'EXECUTE')
ORDER BY 1, 2;
DROP OWNED BY regress_ledger_app, regress_ledger_reader;
DROP ROLE regress_ledger_app, regress_ledger_reader;
