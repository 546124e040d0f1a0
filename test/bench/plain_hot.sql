\set debit random(2, 10000)
SELECT plain.transfer(ledger.uuidv7(), ledger.id(:debit), ledger.id(1), 100);
