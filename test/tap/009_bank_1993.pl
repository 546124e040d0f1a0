# SPDX-License-Identifier: PostgreSQL
#
# The transactions of a bank in 1993: every customer's balance is that of the file, and loading twice changes nothing.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $path = ($ENV{LEDGER_TEST_DATA} // '') . '/bank_1993.csv';
plan skip_all => 'bank_1993.csv is not here' unless -r $path;

my $node = ledger_node('main');
ledger_setup($node);

# ---- The file in a table, and beside it the bank's own accounts, one for each kind of operation -------

$node->safe_psql('postgres', <<"SQL");
CREATE TABLE staged (
    trans_id bigint, account_id bigint, date date, side text, operation text, amount numeric, balance_after numeric,
    k_symbol text, partner_bank text, partner_account text);
\\copy staged FROM '$path' WITH (FORMAT csv, HEADER)
CREATE TABLE bank (operation text PRIMARY KEY, account_id bigint);
INSERT INTO bank
    SELECT operation, 1000000 + row_number() OVER (ORDER BY operation)
    FROM (SELECT DISTINCT coalesce(operation, '') AS operation FROM staged) o;
SQL
my $rows = value($node, 'SELECT count(*) FROM staged');
cmp_ok($rows, '>', 1000, 'the file has rows');
is(value($node, 'SELECT count(DISTINCT trans_id) FROM staged'), $rows, 'each with an id of its own');
is(value($node, "SELECT count(*) FROM staged WHERE side NOT IN ('credit', 'debit') OR amount < 0"), 0, 'and a side');

# ---- Loading -----------------------------------------------------------------------------------------

my $accounts_sql = <<'SQL';
SELECT status, count(*) FROM ledger.create_accounts(ARRAY(
    SELECT ROW(ledger.id(account_id), NULL, 0, 0, 203, code, NULL, NULL)::ledger.account_input
    FROM (SELECT DISTINCT account_id, 1 AS code FROM staged UNION ALL SELECT account_id, 2 FROM bank) a
    ORDER BY account_id)) GROUP BY 1
SQL
my $transfers_sql = <<'SQL';
SELECT status, count(*) FROM ledger.create_transfers(ARRAY(
    SELECT ROW(ledger.id(trans_id),
        ledger.id(CASE side WHEN 'credit' THEN b.account_id ELSE s.account_id END),
        ledger.id(CASE side WHEN 'credit' THEN s.account_id ELSE b.account_id END),
        amount, NULL, NULL, to_char(date, 'YYYYMMDD')::bigint, 0, 0, 203, 1, NULL, NULL)::ledger.transfer_input
    FROM staged s JOIN bank b ON b.operation = coalesce(s.operation, '')
    ORDER BY date, trans_id)) GROUP BY 1
SQL
my $accounts = value($node, 'SELECT (SELECT count(DISTINCT account_id) FROM staged) + (SELECT count(*) FROM bank)');
is(value($node, $accounts_sql), "created|$accounts", 'accounts are created');
is(value($node, $transfers_sql), "created|$rows", 'transfers are created');

# ---- Comparing ---------------------------------------------------------------------------------------

$node->safe_psql('postgres', <<'SQL');
CREATE VIEW of_file AS
    SELECT account_id, sum(CASE side WHEN 'credit' THEN amount ELSE -amount END) AS balance,
        count(*) AS transfers
    FROM staged GROUP BY 1;
CREATE VIEW of_ledger AS
    SELECT ledger.id_numeric(id)::bigint AS account_id, credits_posted - debits_posted AS balance
    FROM ledger.accounts WHERE code = 1;
-- The bank's own last balances: where the last day has one row, its order is not in question. The file rounds interest
-- to 10 hellers and the bank did not, so each such row can shift its balance by one unit.
CREATE VIEW of_bank AS
    SELECT account_id, balance_after AS balance, 10 * interests AS rounding
    FROM (SELECT *, count(*) OVER (PARTITION BY account_id, date) AS rows_of_day,
            max(date) OVER (PARTITION BY account_id) AS last_day,
            count(*) FILTER (WHERE operation = 'UROK') OVER (PARTITION BY account_id) AS interests
        FROM staged) s
    WHERE rows_of_day = 1 AND date = last_day;
SQL

sub check_balances {
    my ($name) = @_;
    my $customers = value($node, 'SELECT count(*) FROM of_file');
    is(value($node, 'SELECT count(*) FROM of_file JOIN of_ledger USING (account_id, balance)'),
        $customers, "$name: the balance of each of $customers customers is the sum of the file");
    my $stated = value($node, 'SELECT count(*) FROM of_bank');
    cmp_ok($stated, '>', 0, "$name: the bank states last balances");
    is(
        value($node,
            'SELECT count(*) FROM of_bank b JOIN of_ledger l USING (account_id)'
                . ' WHERE abs(b.balance - l.balance) <= b.rounding'),
        $stated, "$name: of each of $stated customers it is the last balance that the bank states, but for rounding");
    cmp_ok(value($node, 'SELECT count(*) FROM of_bank JOIN of_ledger USING (account_id, balance)'),
        '>=', 0.8 * $stated, "$name: of most of them, to the heller");
    is(
        value($node,
            'SELECT sum(debits_posted - credits_posted) = (SELECT sum(balance) FROM of_file)'
                . ' FROM ledger.accounts WHERE code = 2'),
        't', "$name: the bank's accounts hold the other side");
    return is_balanced($node, "$name: balances are those of the transfers");
}

check_balances('loaded');
my ($busiest, $count) = split /\|/,
    value($node, 'SELECT account_id, transfers FROM of_file ORDER BY transfers DESC, account_id LIMIT 1');
is(
    value($node,
        "SELECT count(*), sum(CASE WHEN credit_account_id = ledger.id($busiest) THEN amount ELSE -amount END)"
            . " = (SELECT balance FROM of_file WHERE account_id = $busiest)"
            . " FROM ledger.get_account_transfers(ledger.id($busiest))"),
    "$count|t", 'the statement of the busiest account');

my $balances = value($node, balances_sql());
is(value($node, $accounts_sql), "exists|$accounts", 'loaded twice: accounts exist');
is(value($node, $transfers_sql), "exists|$rows", 'loaded twice: transfers exist');
is(value($node, balances_sql()), $balances, 'loaded twice: nothing changes');

$node->restart;
wait_role($node, 'primary');
is(value($node, balances_sql()), $balances, 'restarted: nothing changes');
check_balances('restarted');

$node->stop;
done_testing();
