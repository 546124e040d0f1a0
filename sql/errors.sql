-- Each failure of the one-row functions has an SQLSTATE that says its class, and most a hint.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS ledger;
RESET client_min_messages;
SET ledger.commit_mode = immediate;
CREATE FUNCTION pg_temp.try(command text)
RETURNS TABLE (state text, message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN QUERY SELECT '00000', 'succeeded', '';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
    RETURN NEXT;
END
$$;
SELECT index, status FROM ledger.create_accounts(ARRAY[
    (ledger.id(6001), NULL, NULL, NULL, 60, 1, '{}', NULL),
    (ledger.id(6002), NULL, NULL, NULL, 60, 1, '{debits_must_not_exceed_credits}', NULL),
    (ledger.id(6003), NULL, NULL, NULL, 60, 1, '{credits_must_not_exceed_debits}', NULL),
    (ledger.id(6004), NULL, NULL, NULL, 60, 1, '{closed}', NULL),
    (ledger.id(6005), NULL, NULL, NULL, 61, 1, '{}', NULL)
]::ledger.account_input[]);

CREATE TEMP TABLE attempts (n integer GENERATED ALWAYS AS IDENTITY, command text);
INSERT INTO attempts (command) VALUES
    ($$create_account(ledger.id(0), 60, 1)$$),
    ($$create_account(ledger.id(6001), 60, 2)$$),
    ($$create_account(ledger.id(6009), 60, 1, '{imported}', "timestamp" => 1)$$),
    ($$create_account(NULL, 60, 1)$$),
    ($$create_account(ledger.id(6009), 60, 65536)$$),
    ($$create_transfer(ledger.id(0), ledger.id(6001), ledger.id(6002), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6001), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6005), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 1, 61, 1)$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 1, 60, 1, '{linked}')$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 1, 60, 1, timeout => '1 s')$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 1, 60, 1, '{closing_credit}')$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), -1, 60, 1)$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 0.5, 60, 1)$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 1, 60, 1, '{pending}', '2 years')$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 10, 60, 1)$$),
    ($$create_transfer(ledger.id(6001), ledger.id(6001), ledger.id(6002), 11, 60, 1)$$),
    ($$create_transfer(ledger.id(6009), ledger.id(6001), ledger.id(6002), 1, 60, 1, '{imported}', "timestamp" => 1)$$),
    ($$create_transfer(ledger.id(6002), ledger.id(6002), ledger.id(6001), 11, 60, 1)$$),
    ($$create_transfer(ledger.id(6002), ledger.id(6002), ledger.id(6001), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6003), ledger.id(6001), ledger.id(6003), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6004), ledger.id(6001), ledger.id(6004), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6005), ledger.id(6004), ledger.id(6001), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6006), ledger.id(6999), ledger.id(6001), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6007), ledger.id(6001), ledger.id(6999), 1, 60, 1)$$),
    ($$create_transfer(ledger.id(6008), ledger.id(6001), ledger.id(6002), ledger.amount_max(), 60, 1)$$),
    ($$create_transfer(ledger.id(6010), ledger.id(6001), ledger.id(6002), 5, 60, 1, '{pending}')$$),
    ($$post_pending_transfer(ledger.id(6011), ledger.id(6998))$$),
    ($$post_pending_transfer(ledger.id(6012), ledger.id(6001))$$),
    ($$post_pending_transfer(ledger.id(6012), ledger.id(6010), 6)$$),
    ($$post_pending_transfer(ledger.id(6012), ledger.id(6012))$$),
    ($$post_pending_transfer(ledger.id(6012), ledger.id(6010))$$),
    ($$void_pending_transfer(ledger.id(6013), ledger.id(6010))$$),
    ($$create_transfer(ledger.id(6014), ledger.id(6001), ledger.id(6002), 5, 60, 1, '{pending}')$$),
    ($$void_pending_transfer(ledger.id(6015), ledger.id(6014))$$),
    ($$post_pending_transfer(ledger.id(6016), ledger.id(6014))$$),
    ($$query_accounts("limit" => 0)$$),
    ($$query_accounts(code => 0)$$);
\x
SELECT command, t.* FROM attempts, pg_temp.try('SELECT ledger.' || command) t ORDER BY n;
\x

-- An error in a batch has its place in the context.
SELECT * FROM ledger.create_accounts(ARRAY[
    (ledger.id(6020), NULL, NULL, NULL, 60, 1, '{}', NULL),
    (ledger.id(6021), NULL, NULL, -1, 60, 1, '{}', NULL)
]::ledger.account_input[]);
SELECT count(*) FROM ledger.lookup_accounts(ARRAY[ledger.id(6020)]);
