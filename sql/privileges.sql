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
