-- The foreign tables: what they show, and what they refuse. (What the planner does with them: pushdown.sql.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;

SELECT index, status FROM ledger.create_accounts(ARRAY[
    ROW(ledger.id(910001), ledger.id(77), -1, 4294967295, 910, 10, '{history}', NULL),
    ROW(ledger.id(910002), NULL, 0, 0, 910, 20, '{}', NULL),
    ROW(ledger.id(910003), NULL, 5, 6, 910, 65535, '{history,debits_must_not_exceed_credits}', NULL)
]::ledger.account_input[]);
SELECT index, status FROM ledger.create_transfers(ARRAY[
    ROW(ledger.id(910101), ledger.id(910001), ledger.id(910002), 100, NULL, ledger.id(88), 7, 8, 0, 910, 1, '{}', NULL),
    ROW(ledger.id(910102), ledger.id(910002), ledger.id(910001), 340282366920938463463374607431768211000,
        NULL, NULL, 0, 0, 0, 910, 2, '{pending}', NULL),
    ROW(ledger.id(910103), NULL, NULL, 30, ledger.id(910102), NULL, 0, 0, 0, NULL, NULL, '{post_pending_transfer}', NULL)
]::ledger.transfer_input[]);
SELECT "timestamp" AS t1 FROM ledger.transfers WHERE id = ledger.id(910101) \gset
SELECT "timestamp" AS t2 FROM ledger.transfers WHERE id = ledger.id(910102) \gset
SELECT "timestamp" AS t3 FROM ledger.transfers WHERE id = ledger.id(910103) \gset

-- Every column but the times.
\x on
SELECT id, debits_pending, debits_posted, credits_pending, credits_posted, user_data_128, user_data_64, user_data_32,
    ledger, code, flags
FROM ledger.accounts WHERE ledger = 910 ORDER BY "timestamp";
SELECT id, debit_account_id, credit_account_id, amount, pending_id, user_data_128, user_data_64, user_data_32, timeout,
    ledger, code, flags
FROM ledger.transfers WHERE ledger = 910 ORDER BY "timestamp";
SELECT (row_to_json(e)::jsonb - '{timestamp,transfer_timestamp,debit_account_timestamp,credit_account_timestamp,created_at}'::text[])
    FROM ledger.change_events e WHERE "timestamp" = :t3;
\x off
SELECT ledger.id_numeric(account_id), debits_pending, debits_posted, credits_pending, credits_posted
FROM ledger.account_balances WHERE account_id = ledger.id(910001) ORDER BY "timestamp";

-- The times: ns, and the same cut to microseconds; they rise; an event's are those of its records.
SELECT bool_and(created_at = 'epoch'::timestamptz + "timestamp" / 1000 * interval '1 microsecond') AS same,
    bool_and(abs(extract(epoch FROM now() - created_at)) < 3600) AS now
FROM (
    SELECT "timestamp", created_at FROM ledger.accounts WHERE ledger = 910
    UNION ALL SELECT "timestamp", created_at FROM ledger.transfers WHERE ledger = 910
    UNION ALL SELECT "timestamp", created_at FROM ledger.account_balances WHERE account_id = ledger.id(910001)
    UNION ALL SELECT "timestamp", created_at FROM ledger.change_events WHERE "timestamp" IN (:t1, :t2, :t3)
) times;
SELECT :t1 < :t2 AND :t2 < :t3 AS rise;
SELECT count(*) FROM ledger.change_events e
JOIN ledger.transfers t ON t.id = e.transfer_id AND t."timestamp" = e.transfer_timestamp
JOIN ledger.accounts d ON d.id = e.debit_account_id AND d."timestamp" = e.debit_account_timestamp
JOIN ledger.accounts c ON c.id = e.credit_account_id AND c."timestamp" = e.credit_account_timestamp
WHERE e."timestamp" BETWEEN :t1 AND :t3;

-- The same rows as the functions return.
SELECT count(*) FROM (
    (SELECT * FROM ledger.accounts WHERE ledger = 910 EXCEPT ALL SELECT * FROM ledger.query_accounts(ledger => 910))
    UNION ALL
    (SELECT * FROM ledger.query_accounts(ledger => 910) EXCEPT ALL SELECT * FROM ledger.accounts WHERE ledger = 910)
) difference;
SELECT count(*) FROM (
    (SELECT * FROM ledger.transfers WHERE ledger = 910 EXCEPT ALL SELECT * FROM ledger.query_transfers(ledger => 910))
    UNION ALL
    (SELECT * FROM ledger.query_transfers(ledger => 910) EXCEPT ALL SELECT * FROM ledger.transfers WHERE ledger = 910)
) difference;
SELECT count(*) FROM (
    (SELECT * FROM ledger.account_balances WHERE account_id = ledger.id(910001)
     EXCEPT ALL SELECT * FROM ledger.get_account_balances(ledger.id(910001)))
    UNION ALL
    (SELECT * FROM ledger.get_account_balances(ledger.id(910001))
     EXCEPT ALL SELECT * FROM ledger.account_balances WHERE account_id = ledger.id(910001))
) difference;
SELECT count(*) FROM (
    (SELECT * FROM ledger.change_events WHERE "timestamp" BETWEEN :t1 AND :t3
     EXCEPT ALL SELECT * FROM ledger.get_change_events(:t1, :t3))
    UNION ALL
    (SELECT * FROM ledger.get_change_events(:t1, :t3)
     EXCEPT ALL SELECT * FROM ledger.change_events WHERE "timestamp" BETWEEN :t1 AND :t3)
) difference;

-- Whole rows, no columns, system columns.
SELECT (a).id, (a).code FROM (SELECT a FROM ledger.accounts a WHERE id = ledger.id(910002)) whole;
SELECT count(*) FROM ledger.transfers WHERE ledger = 910;
SELECT EXISTS (SELECT FROM ledger.transfers WHERE ledger = 910 AND code = 3);
SELECT tableoid::regclass, id FROM ledger.accounts WHERE id = ledger.id(910002);

-- SQL over it: a trial balance, a join, a running balance.
SELECT code, sum(debits_posted) AS debits, sum(credits_posted) AS credits
FROM ledger.accounts WHERE ledger = 910 GROUP BY ROLLUP (code) ORDER BY code;
SELECT ledger.id_numeric(t.id) AS transfer, d.code AS debit, c.code AS credit, t.amount
FROM ledger.transfers t
JOIN ledger.accounts d ON d.id = t.debit_account_id
JOIN ledger.accounts c ON c.id = t.credit_account_id
WHERE t.ledger = 910 ORDER BY t."timestamp";
SELECT ledger.id_numeric(p.id) AS pending, ledger.id_numeric(t.id) AS resolved_by
FROM ledger.transfers p LEFT JOIN ledger.transfers t ON t.pending_id = p.id AND t.ledger = 910
WHERE p.ledger = 910 AND 'pending' = ANY (p.flags);
SELECT ledger.id_numeric(id), sum(amount) OVER (ORDER BY "timestamp") FROM ledger.transfers
WHERE credit_account_id = ledger.id(910001) OR debit_account_id = ledger.id(910001) ORDER BY "timestamp" DESC;

-- Row locks lock nothing, and are allowed; so are cursors, forward and (through a materialization) back.
SELECT id FROM ledger.accounts WHERE id = ledger.id(910001) FOR UPDATE;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT ledger.id_numeric(id) FROM ledger.transfers WHERE ledger = 910 ORDER BY "timestamp";
FETCH 2 FROM c;
FETCH BACKWARD 1 FROM c;
FETCH ALL FROM c;
COMMIT;

-- COPY out.
COPY (SELECT ledger.id_numeric(id), code FROM ledger.accounts WHERE ledger = 910 ORDER BY id) TO STDOUT;

-- Balances need an account.
SELECT * FROM ledger.account_balances;
SELECT * FROM ledger.account_balances WHERE "timestamp" > 5;
SELECT * FROM ledger.account_balances WHERE account_id > ledger.id(910001);
-- An account without history has them too; one that does not exist has none.
SELECT count(*) FROM ledger.account_balances WHERE account_id = ledger.id(910002);
SELECT count(*) FROM ledger.account_balances WHERE account_id = ledger.id(910099);

-- Nothing is written through tables.
INSERT INTO ledger.accounts SELECT * FROM ledger.accounts WHERE false;
INSERT INTO ledger.transfers (id) VALUES (ledger.id(1));
INSERT INTO ledger.account_balances (account_id) VALUES (ledger.id(1));
COPY ledger.transfers (id) FROM STDIN;
00000000-0000-0000-0000-000000000001
\.
UPDATE ledger.accounts SET code = 3;
UPDATE ledger.transfers SET amount = 3 WHERE id = ledger.id(910101);
DELETE FROM ledger.transfers;
TRUNCATE ledger.transfers;

-- A foreign table of one's own: same columns or nothing.
CREATE SCHEMA foreign_tables;
CREATE FOREIGN TABLE foreign_tables.bad (id uuid) SERVER ledger;
CREATE FOREIGN TABLE foreign_tables.bad (id uuid) SERVER ledger OPTIONS (relation 'acounts');
CREATE FOREIGN TABLE foreign_tables.bad (id uuid) SERVER ledger OPTIONS (relation 'accounts', colour 'blue');
CREATE FOREIGN TABLE foreign_tables.few (id uuid) SERVER ledger OPTIONS (relation 'accounts');
SELECT * FROM foreign_tables.few;
CREATE FOREIGN TABLE foreign_tables.wrong (
    account_id text, a numeric, b numeric, c numeric, d numeric, "timestamp" bigint, created_at timestamptz
) SERVER ledger OPTIONS (relation 'account_balances');
SELECT * FROM foreign_tables.wrong;
CREATE FOREIGN TABLE foreign_tables.balances (
    account uuid, dp numeric, d numeric, cp numeric, c numeric, t bigint, at timestamptz
) SERVER ledger OPTIONS (relation 'account_balances');
SELECT d, c, t = :t3 AS newest FROM foreign_tables.balances WHERE account = ledger.id(910001) ORDER BY t DESC LIMIT 1;
CREATE SERVER other FOREIGN DATA WRAPPER ledger_fdw OPTIONS (host 'elsewhere');
SET client_min_messages = warning;
DROP SCHEMA foreign_tables CASCADE;
RESET client_min_messages;

-- Nothing is granted to everybody.
CREATE ROLE foreign_tables_reader;
SET ROLE foreign_tables_reader;
SELECT count(*) FROM ledger.accounts;
RESET ROLE;
GRANT USAGE ON SCHEMA ledger TO foreign_tables_reader;
SET ROLE foreign_tables_reader;
SELECT count(*) FROM ledger.accounts;
CREATE FOREIGN TABLE pg_temp.mine (id uuid) SERVER ledger OPTIONS (relation 'accounts');
RESET ROLE;
GRANT SELECT ON ledger.accounts TO foreign_tables_reader;
SET ROLE foreign_tables_reader;
SELECT count(*) FROM ledger.accounts WHERE ledger = 910;
SELECT count(*) FROM ledger.transfers WHERE ledger = 910;
RESET ROLE;
REVOKE ALL ON SCHEMA ledger FROM foreign_tables_reader;
REVOKE ALL ON ledger.accounts FROM foreign_tables_reader;
DROP ROLE foreign_tables_reader;
