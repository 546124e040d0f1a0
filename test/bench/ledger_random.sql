\set debit random(1, 10000)
\set other random(1, 9999)
\set credit 1 + (:debit + :other - 1) % 10000
SELECT ledger.create_transfer(ledger.uuidv7(), ledger.id(:debit), ledger.id(:credit), 100, 1, 1);
