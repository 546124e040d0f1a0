# SPDX-License-Identifier: PostgreSQL
#
# A scan of accounts of any size is of one instant: under a load of transfers, holds, posts, voids and expiries, debits
# are credits in every sum over 20,000 accounts, by table, by function, by index, by a long list of ids, and through a
# cursor that stays open meanwhile.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $ACCOUNTS = 20_000;
my $SCANS = 1_000;

my $node = ledger_node('main');
ledger_setup($node);
# Code 3 is one account in four; account 1 keeps its history.
for my $first (1, 5_001, 10_001, 15_001) {
    my $last = $first + 4_999;
    value($node,
        'SELECT count(*) FROM ledger.create_accounts(ARRAY(SELECT ROW(ledger.id(i), NULL, 0, 0, 1,'
        . " CASE WHEN i % 4 = 0 THEN 3 ELSE 1 END, CASE WHEN i = 1 THEN '{history}' END, NULL)"
        . "::ledger.account_input FROM generate_series($first, $last) i))");
}
is(value($node, 'SELECT count(*) FROM ledger.accounts'), $ACCOUNTS, 'accounts');

# ---- The load ----------------------------------------------------------------------------------------

# Between any two accounts, and now and then from or to account 1, which is in every page that is first.
my $folder = PostgreSQL::Test::Utils::tempdir();
append_to_file("$folder/load.sql", <<"SQL");
\\set a random(1, $ACCOUNTS - 1)
\\set b :a + 1
\\set amount random(1, 1000)
SET ledger.commit_mode = immediate;
SELECT ledger.create_transfer(ledger.uuidv7(), ledger.id(:a), ledger.id(:b), :amount, 1, 1);
SELECT ledger.create_transfer(ledger.uuidv7(), ledger.id(:b), ledger.id(1), :amount, 1, 1);
SELECT ledger.create_transfer(ledger.uuidv7(), ledger.id(:a), ledger.id(:b), :amount, 1, 1, flags => '{pending}',
    timeout => '1 second');
\\set hold random(1000000, 1000000000000000)
SELECT ledger.create_transfer(ledger.id(:hold), ledger.id(:a), ledger.id(:b), :amount, 1, 1, flags => '{pending}');
SELECT ledger.post_pending_transfer(ledger.uuidv7(), ledger.id(:hold), :amount / 2);
\\set hold random(1000000, 1000000000000000)
SELECT ledger.create_transfer(ledger.id(:hold), ledger.id(:a), ledger.id(:b), :amount, 1, 1, flags => '{pending}');
SELECT ledger.void_pending_transfer(ledger.uuidv7(), ledger.id(:hold));
SQL

# Until it is killed; a client of it that fails is noticed, for then no total changes any more.
sub load_start {
    my $run = {out => '', err => ''};
    $run->{handle} = IPC::Run::start(
        ['pgbench', '-n', '-c', '4', '-j', '1', '-T', '7200', '-f', "$folder/load.sql", $node->connstr('postgres')],
        '>', \$run->{out}, '2>', \$run->{err});
    wait_for('load', sub { value($node, 'SELECT count(*) FROM ledger.transfers') > 100 });
    return $run;
}

my $load = load_start();

# ---- Scans -------------------------------------------------------------------------------------------

my $sums = 'sum(debits_posted), sum(credits_posted), sum(debits_pending), sum(credits_pending), count(*)';

# Runs the query so often, and then until half as many transfers have changed its answer: a load that stands still would
# prove nothing, however slow its disk is. Answers how many were not balanced or not complete, and whether that has come.
sub scan {
    my ($count, $from, $rows) = @_;
    return value($node, <<"SQL");
CREATE TEMP TABLE seen (debits_posted numeric, credits_posted numeric, debits_pending numeric, credits_pending numeric,
    rows bigint);
DO \$\$
DECLARE
    wanted integer := least($count / 2, 100);
    changes integer := 0;
    scans integer := 0;
    last numeric := -1;
    now_is numeric;
    deadline timestamptz := clock_timestamp() + interval '10 min';
BEGIN
    WHILE scans < $count OR changes <= wanted AND clock_timestamp() < deadline LOOP
        INSERT INTO seen SELECT $sums FROM $from RETURNING debits_posted INTO now_is;
        scans := scans + 1;
        IF now_is <> last THEN changes := changes + 1; END IF;
        last := now_is;
    END LOOP;
END \$\$;
SELECT count(*) FILTER (WHERE debits_posted <> credits_posted OR debits_pending <> credits_pending
        OR rows <> $rows OR debits_posted IS NULL)
    || '|' || (count(DISTINCT debits_posted) > least($count / 2, 100)) FROM seen;
SQL
}

is(scan($SCANS, 'ledger.accounts', $ACCOUNTS), '0|true', "$SCANS scans of the table, each of one instant");
is(scan(50, 'ledger.query_accounts()', $ACCOUNTS), '0|true', 'by function');
is(scan(50, 'ledger.query_accounts(ledger => 1, reversed => true)', $ACCOUNTS), '0|true', 'backwards, by an index');
is(scan(50, 'ledger.accounts WHERE ledger = 1 AND code IN (1, 3)', $ACCOUNTS), '0|true', 'in two strands');
is(scan(20, 'ledger.accounts WHERE id = ANY (ARRAY(SELECT ledger.id(n) FROM generate_series(1, 20000) n))', $ACCOUNTS),
    '0|true', 'by a list of ids longer than a page');
is(scan(20, 'ledger.lookup_accounts(ARRAY(SELECT ledger.id(20001 - n) FROM generate_series(1, 20000) n))', $ACCOUNTS),
    '0|true', 'by lookup_accounts');

is(value($node, <<'SQL'), '', 'a trial balance finds nothing');
SELECT i, unbalanced.* FROM generate_series(1, 50) i, LATERAL (
    SELECT ledger, sum(debits_posted) - sum(credits_posted) FROM ledger.accounts WHERE i > 0 GROUP BY ledger
    HAVING sum(debits_posted) <> sum(credits_posted) OR sum(debits_pending) <> sum(credits_pending)) unbalanced
SQL

# ---- A cursor that stays open ------------------------------------------------------------------------

my ($cursor, $error) = session_finish(session($node, <<'SQL'));
BEGIN;
CREATE TEMP TABLE fetched (debits_posted numeric, credits_posted numeric, debits_pending numeric,
    credits_pending numeric);
DECLARE scan NO SCROLL CURSOR FOR
    SELECT debits_posted, credits_posted, debits_pending, credits_pending FROM ledger.accounts;
CREATE FUNCTION pg_temp.fetch(rows integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE scan refcursor := 'scan'; a numeric; b numeric; c numeric; d numeric;
BEGIN
    FOR i IN 1 .. rows LOOP
        FETCH scan INTO a, b, c, d;
        EXIT WHEN NOT FOUND;
        INSERT INTO fetched VALUES (a, b, c, d);
    END LOOP;
END $$;
SELECT pg_temp.fetch(100);
SELECT sum(debits_posted) AS before FROM ledger.accounts \gset
SELECT pg_sleep(3);
SELECT pg_temp.fetch(2000);
SELECT pg_sleep(1);
SELECT pg_temp.fetch(30000);
SELECT sum(debits_posted) = sum(credits_posted), sum(debits_pending) = sum(credits_pending), count(*),
    sum(debits_posted) <= :before FROM fetched;
SQL
is($error, '', 'a cursor stays open for seconds');
is((split /\n/, $cursor)[-1], 't|t|20000|t', 'and gives what there was when its first row was fetched');

# ---- Two scans of one statement ----------------------------------------------------------------------

# Each is of an instant of its own. The balance of an account against the sum of its transfers is exact where both are
# bounded by the same timestamp.
is(value($node, <<'SQL'), '0|true', 'the recipe of README: a balance and the transfers up to it');
CREATE TEMP TABLE seen (balance numeric, transfers numeric);
DO $$
DECLARE
    reads integer := 0;
    deadline timestamptz := clock_timestamp() + interval '10 min';
BEGIN
    WHILE (reads < 30 OR (SELECT count(DISTINCT balance) <= 5 FROM seen)) AND clock_timestamp() < deadline LOOP
        INSERT INTO seen
        SELECT b.credits_posted, (SELECT sum(t.amount) FROM ledger.transfers t
            WHERE t.credit_account_id = ledger.id(1) AND t."timestamp" <= b."timestamp")
        FROM ledger.account_balances b WHERE b.account_id = ledger.id(1) ORDER BY b."timestamp" DESC LIMIT 1;
        PERFORM pg_sleep(0.05);
        reads := reads + 1;
    END LOOP;
END $$;
SELECT count(*) FILTER (WHERE balance <> transfers) || '|' || (count(DISTINCT balance) > 5) FROM seen;
SQL

$load->{handle}->signal('TERM');
$load->{handle}->finish;
unlike($load->{err}, qr/error|aborted/i, 'the load met no error');
is(value($node, 'SELECT count(*) FROM ledger.verify()'), 0, 'verify finds nothing');
$node->stop;
done_testing();
