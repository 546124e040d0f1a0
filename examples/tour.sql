-- The quickstart's tour, for psql: accounts, a payment, a retry, an overdraft, two holds, and what became of them.
-- In a ledger of its own and with ids of its own, so that README's tour answers as printed after it.

-- Open accounts: a bank that hands out money, and two customers who cannot overdraw.
SELECT ledger.create_account(ledger.id(8400001), ledger => 840, code => 1);
SELECT ledger.create_account(ledger.id(8400010), ledger => 840, code => 10,
       flags => '{debits_must_not_exceed_credits, history}');
SELECT ledger.create_account(ledger.id(8400011), ledger => 840, code => 10,
       flags => '{debits_must_not_exceed_credits, history}');

-- Money comes in: 100.00, in cents.
SELECT ledger.create_transfer(ledger.id(8401000), debit_account_id => ledger.id(8400001),
       credit_account_id => ledger.id(8400010), amount => 10000, ledger => 840, code => 1);

-- A payment of 30.00. Sent again with the same id, it happens once.
SELECT ledger.create_transfer(ledger.id(8401001), ledger.id(8400010), ledger.id(8400011), 3000, 840, 2);
SELECT ledger.create_transfer(ledger.id(8401001), ledger.id(8400010), ledger.id(8400011), 3000, 840, 2);

-- An overdraft is refused.
SELECT ledger.create_transfer(ledger.id(8401002), ledger.id(8400010), ledger.id(8400011), 999999, 840, 2);

-- Hold 20.00, then capture 15.00 of it: the rest is released.
SELECT ledger.create_transfer(ledger.id(8401003), ledger.id(8400010), ledger.id(8400011), 2000, 840, 3,
       flags => '{pending}', timeout => '1 hour');
SELECT ledger.post_pending_transfer(ledger.id(8401004), pending_id => ledger.id(8401003), amount => 1500);

-- Hold 5.00, then release it.
SELECT ledger.create_transfer(ledger.id(8401005), ledger.id(8400010), ledger.id(8400011), 500, 840, 3,
       flags => '{pending}');
SELECT ledger.void_pending_transfer(ledger.id(8401006), pending_id => ledger.id(8401005));

-- Balances are rows.
SELECT ledger.id_numeric(id) AS account, credits_posted - debits_posted AS balance, debits_pending AS held
  FROM ledger.accounts WHERE ledger = 840 ORDER BY timestamp;

-- So is a statement.
SELECT ledger.id_numeric(t.id) AS transfer, t.amount, t.flags,
       b.credits_posted - b.debits_posted AS balance_after
  FROM ledger.account_balances b JOIN ledger.transfers t USING (timestamp)
 WHERE b.account_id = ledger.id(8400010) AND ledger.id(8400010) IN (t.debit_account_id, t.credit_account_id)
 ORDER BY t.timestamp;
