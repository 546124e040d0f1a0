-- The extension installs, goes without a trace, and comes back.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SELECT extversion, extrelocatable FROM pg_extension WHERE extname = 'ledger';

SELECT ledger.create_account(ledger.id(9001), 90, 1, '{history}');
DROP EXTENSION ledger;
SELECT count(*) FROM pg_namespace WHERE nspname = 'ledger';

-- A schema that somebody else made is not taken over.
CREATE SCHEMA ledger;
CREATE EXTENSION ledger;
DROP SCHEMA ledger;
CREATE EXTENSION ledger;

-- What the ledger holds is not the extension's: it is still there.
SELECT ledger.create_account(ledger.id(9001), 90, 1, '{history}');
SELECT ledger.id_numeric(id), flags FROM ledger.lookup_accounts(ARRAY[ledger.id(9001)]);

-- Everything has a comment.
SELECT p.proname FROM pg_proc p
WHERE p.pronamespace = 'ledger'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
ORDER BY 1;
SELECT t.typname FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE t.typnamespace = 'ledger'::regnamespace
    AND (t.typtype = 'e' OR c.relkind = 'c')
    AND obj_description(t.oid, 'pg_type') IS NULL AND obj_description(t.typrelid, 'pg_class') IS NULL
ORDER BY 1;
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('v', 'f', 'r')
    AND obj_description(c.oid, 'pg_class') IS NULL
ORDER BY 1;

-- What the functions say of themselves: writes are volatile and parallel unsafe, reads parallel restricted.
SELECT p.proname, p.provolatile AS volatile, p.proparallel AS parallel, p.proisstrict AS strict
FROM pg_proc p
WHERE p.pronamespace = 'ledger'::regnamespace AND p.proname ~ '^(create|post|void|lookup|get_(account|change)|query|id|uuid|amount)'
ORDER BY 1;

-- The statuses, each with its code.
SELECT count(*) FROM unnest(enum_range(NULL::ledger.create_account_status));
SELECT count(*) FROM unnest(enum_range(NULL::ledger.create_transfer_status));
SELECT enum_range(NULL::ledger.account_flag);
SELECT enum_range(NULL::ledger.transfer_flag);
