# SPDX-License-Identifier: PostgreSQL
#
# Reads of many pages beside others that write: who goes on from the last timestamp misses nothing, reads end, their
# memory is bounded, and they can be cancelled in the middle.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use Test::More;
use Time::HiRes qw(time sleep);

use constant {
    WRITERS => 4,
    WRITER_BATCHES => 60,
    BATCH_EVENTS => 25,
    BULK_EVENTS => 8190,
    BULK_BATCHES => 20,
    CANCELS => 6,
    MEMORY_MAX_MB => 24,
};

my $node = ledger_node('main', settings => 'ledger.bulk_slots = 2');
ledger_setup($node);
create_two_accounts($node);

# A batch whose codes are 1, 2, 3, and whose direction alternates.
sub coded_batch_sql {
    my ($first, $count) = @_;
    return 'SELECT count(*) FROM ledger.create_transfers(ARRAY(SELECT ROW(ledger.id(i), ledger.id(1 + i % 2),'
        . ' ledger.id(2 - i % 2), 1, NULL, NULL, 0, 0, 0, 1, 1 + i % 3, NULL, NULL)::ledger.transfer_input'
        . " FROM generate_series($first, $first + $count - 1) i)) WHERE status = 'created';";
}

# ---- Pollers -----------------------------------------------------------------------------------------

# Reads 50 rows at a time, each time those behind the last timestamp, until all are there; says how many, and how many
# different ones.
sub poller_sql {
    my ($table, $condition, $wanted) = @_;
    return <<"SQL";
CREATE TEMP TABLE seen (stamp bigint);
DO \$\$
DECLARE
    last bigint := 0;
    got bigint := 0;
    found_now bigint;
    deadline timestamptz := clock_timestamp() + interval '170 s';
BEGIN
    WHILE got < $wanted AND clock_timestamp() < deadline LOOP
        INSERT INTO seen SELECT "timestamp" FROM ledger.$table WHERE "timestamp" > last AND $condition
            ORDER BY "timestamp" LIMIT 50;
        GET DIAGNOSTICS found_now = ROW_COUNT;
        got := got + found_now;
        SELECT coalesce(max(stamp), 0) INTO last FROM seen;
    END LOOP;
END \$\$;
SELECT count(*), count(DISTINCT stamp) FROM seen;
SQL
}

my $total = WRITERS * WRITER_BATCHES * BATCH_EVENTS;
my %pollers = (
    'of two codes' => ['transfers', 'code IN (1, 2)', $total * 2 / 3],
    'of two accounts' => ['transfers', 'debit_account_id IN (ledger.id(1), ledger.id(2))', $total],
    'of events' => ['change_events', 'true', $total],
);
my %running = map { $_ => session($node, poller_sql(@{$pollers{$_}})) } sort keys %pollers;
my @writers = map {
    my $base = 1000 + $_ * 100_000;
    session($node, join "\n", map { coded_batch_sql($base + $_ * BATCH_EVENTS, BATCH_EVENTS) } 1 .. WRITER_BATCHES)
} 1 .. WRITERS;
for my $writer (@writers) {
    my ($out, $err) = session_finish($writer);
    is($err, '', 'a writer: no error');
}
for my $name (sort keys %running) {
    my ($out, $err) = session_finish($running{$name});
    is($err, '', "a poller $name: no error");
    is($out, "$pollers{$name}[2]|$pollers{$name}[2]", "a poller $name: everything, once");
}

# ---- Memory ------------------------------------------------------------------------------------------

for my $batch (1 .. BULK_BATCHES) {
    is(value($node, coded_batch_sql(1_000_000 * $batch, BULK_EVENTS)), BULK_EVENTS, "bulk $batch");
}
$total += BULK_BATCHES * BULK_EVENTS;

sub memory_mb {
    my ($query) = @_;
    my $out = value($node, <<"SQL");
SET work_mem = '1MB';
BEGIN;
DECLARE reading CURSOR FOR $query;
MOVE 20000 FROM reading;
SELECT sum(total_bytes) / 1024 / 1024 FROM pg_backend_memory_contexts;
COMMIT;
SQL
    return $out;
}
my %queries = (
    'a function' => 'SELECT * FROM ledger.query_transfers()',
    'a table' => 'SELECT * FROM ledger.transfers',
    'a table in order, of several values' => 'SELECT * FROM ledger.transfers WHERE code IN (1, 2, 3) ORDER BY "timestamp"',
);
for my $name (sort keys %queries) {
    my $mb = memory_mb($queries{$name});
    cmp_ok($mb, '<', MEMORY_MAX_MB, sprintf '%s of %d rows: %.1f MB', $name, $total, $mb);
    is(value($node, "SELECT count(*) FROM ($queries{$name}) counted"), $total, "$name: all rows");
}

# ---- Cancelling --------------------------------------------------------------------------------------

# Each reads everything again and again, which takes hours.
my %long = (
    'a function' => 'SELECT sum(n) FROM generate_series(1, 100000) g, LATERAL ('
        . 'SELECT count(*) AS n FROM ledger.query_transfers(timestamp_min => g)) reading',
    'a table' => 'SELECT sum(n) FROM generate_series(1, 100000) g, LATERAL ('
        . 'SELECT count(*) AS n FROM ledger.transfers WHERE "timestamp" > g) reading',
    'a table in order, of several values' => 'SELECT sum(n) FROM generate_series(1, 100000) g, LATERAL ('
        . 'SELECT count(*) AS n FROM (SELECT FROM ledger.transfers WHERE "timestamp" > g AND code IN (1, 2, 3)'
        . ' ORDER BY "timestamp" OFFSET 1) ordered) reading',
);
for my $name (sort keys %long) {
    for my $time (1 .. CANCELS / keys %long) {
        my $session = session($node, $long{$name} . ';');
        wait_for('a reader', sub {
            return value($node, 'SELECT count(*) FROM pg_stat_activity WHERE state = \'active\''
                . ' AND query LIKE \'SELECT sum(n)%\' AND now() - query_start > interval \'100 ms\'') > 0;
        });
        my $start = time;
        value($node, 'SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE \'SELECT sum(n)%\'');
        my ($out, $err) = session_finish($session);
        like($err, qr/57014: canceling statement due to user request/, "$name, cancelled in the middle: its own error");
        unlike($err, qr/outcome/, "$name, cancelled in the middle: no outcome to be unsure of");
        cmp_ok(time - $start, '<', 120, "$name, cancelled in the middle: soon");
    }
}
# Slots came back: there are two large ones.
is(value($node, 'SELECT count(*) FROM ledger.query_transfers()'), $total, 'afterwards: a read');
is_balanced($node, 'afterwards: balances are those of the transfers');

$node->stop;
done_testing();
