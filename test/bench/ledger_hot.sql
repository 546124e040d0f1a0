\set debit random(2, 10000)
SELECT ledger.create_transfer(ledger.uuidv7(), ledger.id(:debit), ledger.id(1), 100, 1, 1);
