# SPDX-License-Identifier: PostgreSQL
#
# A bit flips in a block that is in use, while the server runs and nobody needs the block: the scrubber tells, and who
# needs it is told which block it is.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    BLOCK_SIZE => 16384,
    BLOCK_VALUES => 4,
    BATCH_EVENTS => 8190,
};

my $node = ledger_node('main', settings => "ledger.memory = 128MB\nledger.scrub_interval = '1s'");
ledger_setup($node);
my $directory = ledger_directory($node);

# ---- A ledger with a checkpoint ----------------------------------------------------------------------

create_two_accounts($node);
my $next = 1;
until (status_of($node, 'coalesce(checkpoint_op, 0)') > 0) {
    value($node, batch_sql($next, BATCH_EVENTS, 3));
    $next += BATCH_EVENTS;
}
$node->restart;
wait_role($node, 'primary');

# ---- All is well -------------------------------------------------------------------------------------

my $position = log_position($node);
wait_for('two tours', sub { status_of($node, 'scrub_tours') >= 2 });
is(status_of($node, 'damaged_blocks'), 0, 'no damage: none is shown');
is(status_of($node, 'scrub_progress BETWEEN 0 AND 1'), 't', 'progress is a part');
unlike(log_since($node, $position), qr/ledger block/, 'no damage: none is logged');

# ---- A block with transfers --------------------------------------------------------------------------

# Records of 128 bytes, whose last field is the timestamp: accounts are few, so these are transfers.
my ($address) = grep {
    my $header = read_bytes("$directory/grid", ($_ - 1) * BLOCK_SIZE, 64);
    my ($size, $type, undef, undef, $count) = unpack 'x48 L< C C S< L<', $header;
    $type == BLOCK_VALUES && $count > 100 && $size == 256 + 128 * $count;
} 1 .. (-s "$directory/grid") / BLOCK_SIZE;
ok($address, "block $address has records");

flip_bit("$directory/grid", ($address - 1) * BLOCK_SIZE + 5000);
wait_for('damage to be found', sub { status_of($node, 'damaged_blocks') > 0 });
is(status_of($node, 'damaged_blocks'), 1, 'damage: shown');
wait_for('two more tours', sub { my $n = status_of($node, 'scrub_tours'); $n >= 5 });
is(status_of($node, 'damaged_blocks'), 1, 'damage: shown once, however often it is found');
is(status_of($node, 'role'), 'primary', 'damage: the engine works on');
my @warnings = log_since($node, $position) =~ /WARNING: .*ledger block $address of tree "\w+" is damaged/g;
is(scalar @warnings, 1, 'damage: logged once');
like(log_since($node, $position), qr/HINT:  .*Restore .* from a backup/, 'damage: the log says what to do');
is(value($node, transfer_sql($next++, 1)), 'created', 'damage: others work on');

my $error = error_of($node, 'SELECT sum(t.amount) FROM ledger.transfers t');
like($error, qr/ERROR:  XX001: .*ledger block $address\b/s, 'who needs the block is told');

my $found = value($node, 'SELECT kind, object, detail FROM ledger.verify()');
like($found, qr/^block\|block $address of tree "\w+"\|it is damaged: not what was written$/m, 'verify names the block');
like($found, qr/^unfinished\|block $address of tree/m, 'verify says that balances were not recomputed');

# ---- Undone ------------------------------------------------------------------------------------------

flip_bit("$directory/grid", ($address - 1) * BLOCK_SIZE + 5000);
wait_for('damage to be gone', sub { status_of($node, 'damaged_blocks') == 0 });
is_balanced($node, 'undone: all is there');
is(value($node, 'SELECT count(*) FROM ledger.verify()'), 0, 'undone: verify finds nothing');

# ---- The log -----------------------------------------------------------------------------------------

my $op = status_of($node, 'op');
my $place = prepare_at($directory, $op);
flip_bit("$directory/prepares.wal", $place->{offset} + 300);
like(
    value($node, 'SELECT kind, object, detail FROM ledger.verify()'),
    qr/^journal\|op $op\|it is damaged/,
    'verify finds a damaged entry of the log');
flip_bit("$directory/prepares.wal", $place->{offset} + 300);
is(value($node, 'SELECT count(*) FROM ledger.verify()'), 0, 'undone: verify finds nothing');

my $entry = $place->{slot_offset};
flip_bit("$directory/headers.wal", $entry + 100);
is(
    value($node, 'SELECT kind, object, detail FROM ledger.verify()'),
    "header|entry of op $op in headers.wal|it is damaged: not what was written",
    'verify finds a damaged entry of the headers log');
flip_bit("$directory/headers.wal", $entry + 100);
is(value($node, 'SELECT count(*) FROM ledger.verify()'), 0, 'undone: verify finds nothing');

# ---- Under load, cancelled, and one at a time ----------------------------------------------------------

my @loads = map { my $base = 10_000_000 * $_; session($node, join '', map { batch_sql($base + 100 * $_, 100, 1) } 1 .. 200) } 1 .. 2;
for (1 .. 3) {
    is(value($node, 'SELECT count(*) FROM ledger.verify()'), 0, "under load: verify finds nothing");
}
session_finish($_) for @loads;
for my $timeout (1, 2, 5, 10) {
    my $text = error_of($node, "SET statement_timeout = $timeout; SELECT count(*) FROM ledger.verify()");
    like($text, qr/^$|57014/, "cancelled after $timeout ms");
}
is(error_of($node, 'SELECT count(*) FROM ledger.verify()'), '', 'the next one, at once after one that was cancelled');
my $worker = worker_pid($node);
kill 'STOP', $worker or die $!;
my @verifications = map { session($node, 'SELECT count(*) FROM ledger.verify()') } 1 .. 3;
wait_for('three that wait', sub {
    return value($node, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Extension'"
        . " AND query LIKE '%ledger.verify()%' AND pid <> pg_backend_pid()") == 3;
});
kill 'CONT', $worker or die $!;
my @ends = map { [session_finish($_)] } @verifications;
is(scalar(grep { $_->[0] eq '0' } @ends), 1, 'of three at once, one verifies');
is(scalar(grep {
        $_->[1] =~ /55006: another verification of the ledger is under way\nDETAIL:  .*\nHINT:  Wait for it/
    } @ends), 2, 'and the others say why they do not');
is_balanced($node, 'the books balance');

# ---- The setting -------------------------------------------------------------------------------------

$node->append_conf('postgresql.conf', 'ledger.scrub_interval = 0');
$node->reload;
wait_for(
    'no more tours',
    sub {
        my $tours = status_of($node, 'scrub_tours');
        value($node, 'SELECT pg_sleep(2.5)');
        return status_of($node, 'scrub_tours') == $tours;
    });
pass('0 turns it off, with a reload');

done_testing();
