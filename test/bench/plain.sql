-- The ledger that people write themselves: what the extension is compared with. Row locks in the order of ids keep
-- it correct and free of deadlocks. It can do the least that a ledger must: refuse an id that it has, know the
-- balances, and list an account's transfers. It has less to maintain than the extension: 64 bits in place of 128,
-- no ledgers and codes and user data, and no indexes of them.
CREATE SCHEMA plain;

CREATE TABLE plain.accounts (
    id uuid PRIMARY KEY,
    debits bigint NOT NULL DEFAULT 0,
    credits bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE plain.transfers (
    id uuid PRIMARY KEY,
    debit_account_id uuid NOT NULL,
    credit_account_id uuid NOT NULL,
    amount bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX transfers_debit ON plain.transfers (debit_account_id, created_at);
CREATE INDEX transfers_credit ON plain.transfers (credit_account_id, created_at);

CREATE FUNCTION plain.transfer(id uuid, debit uuid, credit uuid, amount bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM plain.accounts AS account WHERE account.id IN (debit, credit) ORDER BY account.id FOR UPDATE;
    INSERT INTO plain.transfers (id, debit_account_id, credit_account_id, amount)
    VALUES (transfer.id, debit, credit, transfer.amount);
    UPDATE plain.accounts AS account SET debits = debits + transfer.amount WHERE account.id = debit;
    UPDATE plain.accounts AS account SET credits = credits + transfer.amount WHERE account.id = credit;
END
$$;

-- As the single statement of bulk_client, for more than one client at a time: after locks in the order of ids, or,
-- where a batch is about all accounts anyway, after a lock of the table: looking again at thousands of rows that
-- another batch has just changed would cost far more.
CREATE FUNCTION plain.transfer_many(ids uuid[], debits uuid[], credits uuid[], amounts bigint[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(ids) > 1000 THEN
        LOCK TABLE plain.accounts IN SHARE ROW EXCLUSIVE MODE;
    ELSE
        PERFORM FROM plain.accounts AS account
        WHERE account.id = ANY (transfer_many.debits || transfer_many.credits)
        ORDER BY account.id FOR UPDATE;
    END IF;
    WITH events AS MATERIALIZED (
        SELECT * FROM unnest(ids, transfer_many.debits, transfer_many.credits, amounts)
            AS event (id, debit_account_id, credit_account_id, amount)
    ), inserted AS (
        INSERT INTO plain.transfers (id, debit_account_id, credit_account_id, amount) SELECT * FROM events
    ), sums AS (
        SELECT side.id, sum(side.debit)::bigint AS debits, sum(side.credit)::bigint AS credits
        FROM (
            SELECT debit_account_id AS id, amount AS debit, 0 AS credit FROM events
            UNION ALL
            SELECT credit_account_id, 0, amount FROM events
        ) AS side GROUP BY side.id
    )
    UPDATE plain.accounts AS account
    SET debits = account.debits + sums.debits, credits = account.credits + sums.credits
    FROM sums WHERE account.id = sums.id;
END
$$;

-- An account's number as its id, for all that makes ids of random numbers.
INSERT INTO plain.accounts (id) SELECT ledger.id(n) FROM generate_series(1, 10000) AS n;
VACUUM ANALYZE plain.accounts;
