-- Holds: what became of them, lists of those that are open, and that lists read no more than they must. Balances of
-- any account, with a row for each expiry. Change events of a transfer, and newest first.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;

CREATE FUNCTION pg_temp.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || query LOOP
        line := regexp_replace(line, ' \(actual.*\)', '');
        line := regexp_replace(line, 'expires_at < .* \d{4} \w+', 'expires_at < T');
        IF line ~ 'Ledger|Filter|Sort|Scan' THEN RETURN NEXT ltrim(line, '-> '); END IF;
    END LOOP;
END
$$;

SELECT status, count(*) FROM ledger.create_accounts(ARRAY(
    SELECT ROW(ledger.id(810000 + i), NULL, NULL, NULL, 81 + i / 5, 1, '{}', NULL)::ledger.account_input
    FROM generate_series(1, 6) i)) GROUP BY status;

-- 2,000 ordinary transfers and 600 holds between accounts 1 and 2; then a few more of others.
SELECT status, count(*) FROM ledger.create_transfers(ARRAY(
    SELECT ROW(ledger.id(81000000 + i), ledger.id(810001), ledger.id(810002), 1, NULL, NULL, NULL, NULL, 0, 81, 1, '{}', NULL)::ledger.transfer_input
    FROM generate_series(1, 2000) i)) GROUP BY status;
SELECT status, count(*) FROM ledger.create_transfers(ARRAY(
    SELECT ROW(ledger.id(81100000 + i), ledger.id(810001), ledger.id(810002), 5, NULL, NULL, i, NULL,
        CASE WHEN i % 3 = 0 THEN 0 ELSE 3600 * i END, 81, 1 + i % 2, '{pending}', NULL)::ledger.transfer_input
    FROM generate_series(1, 600) i)) GROUP BY status;
SELECT status, count(*) FROM ledger.create_transfers(ARRAY(
    SELECT ROW(ledger.id(81200000 + i), NULL, NULL, CASE WHEN i % 2 = 0 THEN 2 END, ledger.id(81100000 + i), NULL, NULL, NULL, 0, NULL, NULL,
        CASE WHEN i % 2 = 0 THEN '{post_pending_transfer}' ELSE '{void_pending_transfer}' END::ledger.transfer_flag[], NULL)::ledger.transfer_input
    FROM generate_series(1, 590) i)) GROUP BY status;
SELECT status, count(*) FROM ledger.create_transfers(ARRAY[
    (ledger.id(81300001), ledger.id(810003), ledger.id(810001), 7, NULL, NULL, NULL, NULL, 7200, 81, 1, '{pending}', NULL),
    (ledger.id(81300002), ledger.id(810005), ledger.id(810006), 7, NULL, NULL, NULL, NULL, 0, 82, 1, '{pending}', NULL),
    (ledger.id(81300003), ledger.id(810005), ledger.id(810006), 7, NULL, NULL, NULL, NULL, 0, 82, 1, '{}', NULL)
]::ledger.transfer_input[]) GROUP BY status;
SELECT created_at AS held_at FROM ledger.transfers WHERE id = ledger.id(81100001) \gset

-- What became of a hold; the functions say the same.
SELECT ledger.id_numeric(id) AS id, state, expires_at - created_at AS expires_in, ledger.id_numeric(resolved_by) AS resolved_by,
    resolved_at IS NOT NULL AS resolved
FROM ledger.transfers
WHERE id IN (ledger.id(81000001), ledger.id(81100001), ledger.id(81100002), ledger.id(81100003), ledger.id(81100600), ledger.id(81200001))
ORDER BY "timestamp";
SELECT count(*) FROM (
    (SELECT * FROM ledger.transfers WHERE ledger = 81 EXCEPT SELECT * FROM ledger.query_transfers(ledger => 81))
    UNION ALL
    (SELECT * FROM ledger.get_account_transfers(ledger.id(810001))
        EXCEPT SELECT * FROM ledger.lookup_transfers(ARRAY(SELECT id FROM ledger.transfers WHERE ledger = 81)))) AS different;
-- What resolved it is a transfer of that time.
SELECT count(*), bool_and(r.created_at = h.resolved_at AND r.pending_id = h.id
    AND h.state = CASE WHEN 'post_pending_transfer' = ANY (r.flags) THEN 'posted' ELSE 'voided' END::ledger.hold_state)
FROM ledger.transfers h JOIN ledger.transfers r ON r.id = h.resolved_by WHERE h.ledger = 81;

-- Lists of open holds: of an account, either side; of a ledger; of those that expire soon.
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE state = 'open' AND debit_account_id = ledger.id(810003)$$);
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE state = 'open' AND ledger.id(810003) IN (debit_account_id, credit_account_id)$$);
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE state = 'open' AND ledger.id(810001) IN (debit_account_id, credit_account_id) ORDER BY "timestamp" DESC$$);
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE state = 'open' AND debit_account_id = ledger.id(810001) AND credit_account_id = ledger.id(810002)$$);
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE state = 'open' AND ledger = 82$$);
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE state = 'open' AND ledger = 81 AND code = 1 AND user_data_64 = 600 ORDER BY "timestamp" DESC LIMIT 2$$);
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE state = ANY ('{open,posted}') AND debit_account_id = ledger.id(810001)$$);
SELECT pg_temp.plan(format($$SELECT * FROM ledger.transfers WHERE state = 'open' AND ledger IN (81, 82) AND expires_at < %L$$, :'held_at'::timestamptz + interval '595 hours'));
SELECT pg_temp.plan(format($$SELECT * FROM ledger.transfers WHERE state = 'open' AND expires_at < %L AND debit_account_id = ledger.id(810001) ORDER BY "timestamp"$$, :'held_at'::timestamptz + interval '595 hours'));
SELECT ledger.id_numeric(id) AS id, ledger FROM ledger.transfers
WHERE state = 'open' AND ledger IN (81, 82) AND expires_at < :'held_at'::timestamptz + interval '595 hours' ORDER BY expires_at;
-- The same rows, found the hard way.
SELECT count(*), count(*) FILTER (WHERE s.id IS NULL) AS missed FROM ledger.query_transfers() t
    LEFT JOIN (SELECT id FROM ledger.transfers WHERE state = 'open' AND ledger = 81) s USING (id)
    WHERE t.ledger = 81 AND t.state = 'open';
SELECT count(*) AS open, sum(amount) AS held, (SELECT debits_pending FROM ledger.accounts WHERE id = ledger.id(810001)) AS debits_pending
FROM ledger.transfers WHERE state = 'open' AND debit_account_id = ledger.id(810001);
SELECT state, count(*) FROM ledger.transfers WHERE ledger = 81 GROUP BY state ORDER BY state;
SELECT count(*) FROM ledger.transfers WHERE state IS NULL AND ledger = 82;
SELECT count(*) FROM ledger.transfers WHERE expires_at IS NULL AND state = 'open' AND ledger = 81;
-- Values that are known when it runs, and wrong ones.
PREPARE holds(ledger.hold_state, uuid) AS SELECT count(*) FROM ledger.transfers WHERE state = $1 AND debit_account_id = $2;
EXECUTE holds('posted', ledger.id(810001));
EXECUTE holds('expired', ledger.id(810001));
EXECUTE holds(NULL, ledger.id(810001));
SET plan_cache_mode = force_generic_plan;
EXECUTE holds('voided', ledger.id(810001));
RESET plan_cache_mode;
SELECT count(*) FROM ledger.transfers WHERE state = 'gone';
SELECT count(*) FROM ledger.transfers WHERE state = 'open' AND state = 'posted';
SELECT count(*) FROM ledger.transfers WHERE state = 'open' AND expires_at < '-infinity';
SELECT count(*) FROM ledger.transfers WHERE ledger = 82 AND state = 'open' AND expires_at <= 'infinity';

-- What resolved a hold, by its id; also joined.
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE pending_id = ledger.id(81100004)$$);
SELECT pg_temp.plan($$SELECT * FROM ledger.transfers WHERE pending_id = ledger.id(81100600)$$);
SELECT ledger.id_numeric(id) AS id FROM ledger.transfers WHERE pending_id = ANY (ARRAY[ledger.id(81100004), ledger.id(81000001), ledger.id(5), NULL]);
SELECT count(*) FROM ledger.transfers WHERE pending_id = ledger.id(81100004) AND amount = 99;

-- Change events: of a transfer; newest first; the newest.
SELECT pg_temp.plan($$SELECT * FROM ledger.change_events WHERE transfer_id = ledger.id(81100004)$$);
SELECT type, transfer_amount FROM ledger.change_events WHERE transfer_id = ANY (ARRAY[ledger.id(81100004), ledger.id(81200004)]) ORDER BY "timestamp";
SELECT pg_temp.plan($$SELECT * FROM ledger.change_events ORDER BY "timestamp" DESC LIMIT 3$$);
SELECT "timestamp" AS newest FROM ledger.transfers WHERE id = ledger.id(81300003) \gset
SELECT ledger.id_numeric(transfer_id) AS id FROM ledger.change_events WHERE "timestamp" <= :newest ORDER BY "timestamp" DESC LIMIT 3;
SELECT ledger.id_numeric(transfer_id) AS id FROM ledger.get_change_events(timestamp_max => :newest, "limit" => 2, reversed => true);
SELECT pg_temp.plan($$SELECT max("timestamp") FROM ledger.change_events$$);
SELECT pg_temp.plan($$SELECT max("timestamp") FROM ledger.transfers$$);
SELECT pg_temp.plan($$SELECT max("timestamp") FROM ledger.accounts$$);
SELECT (SELECT max("timestamp") FROM ledger.change_events WHERE "timestamp" <= :newest) = :newest AS newest;

-- Balances of an account without the flag history; the function keeps to the flag.
SELECT count(*), max(debits_pending) FROM ledger.account_balances WHERE account_id = ledger.id(810005);
SELECT count(*) FROM ledger.get_account_balances(ledger.id(810005));
SELECT pg_temp.plan($$SELECT * FROM ledger.account_balances WHERE account_id = ledger.id(810001) ORDER BY "timestamp" DESC LIMIT 1$$);
-- The newest row is what the account says.
SELECT b.debits_pending = a.debits_pending AND b.debits_posted = a.debits_posted AND b.credits_pending = a.credits_pending
    AND b.credits_posted = a.credits_posted AS same
FROM ledger.accounts a, LATERAL (SELECT * FROM ledger.account_balances WHERE account_id = a.id ORDER BY "timestamp" DESC LIMIT 1) b
WHERE a.ledger IN (81, 82) ORDER BY a.id;
