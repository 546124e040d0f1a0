# SPDX-License-Identifier: PostgreSQL
#
# A damaged block that only the release of expired holds looks at: it is told, nothing else is held up, at no start either,
# and the holds are released when the block is back.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    BLOCK_SIZE => 16384,
    BLOCK_VALUES => 4,
    BATCH_EVENTS => 8190,
    HOLD_ID => 1,
};

my $library = "$ENV{LEDGER_TEST_BIN}/clock_ahead.so";
plan skip_all => 'clock_ahead.so is not built' unless -e $library;

my $node = ledger_node('main');
ledger_setup($node);
my $grid = ledger_directory($node) . '/grid';

# Hours later, as far as the ledger can tell.
sub start_later {
    local $ENV{LD_PRELOAD} = $library;
    local $ENV{CLOCK_AHEAD} = 7200;
    $node->start;
    return wait_role($node, 'primary');
}

sub held {
    return value($node, 'SELECT debits_pending FROM ledger.accounts WHERE id = ledger.id(1)');
}

# A hold of an hour in a checkpoint, and a log after it that doesn't name it.
create_two_accounts($node);
value($node,
        'SELECT ledger.create_transfer(ledger.id('
      . HOLD_ID
      . "), ledger.id(1), ledger.id(2), 5, 1, 1, '{pending}', timeout => '1 hour')");
my $next = 100;
until (status_of($node, 'coalesce(checkpoint_op, 0)') > 0) {
    value($node, batch_sql($next, BATCH_EVENTS, 3));
    $next += BATCH_EVENTS;
}
is(held(), 5, 'there is a hold');
$node->stop;

my $record = pack 'Q<6', HOLD_ID, 0, 1, 0, 2, 0;
my ($address) = grep {
    my $block = read_bytes($grid, ($_ - 1) * BLOCK_SIZE, BLOCK_SIZE);
    substr($block, 52, 1) eq chr(BLOCK_VALUES) && index($block, $record) >= 0
} 1 .. (-s $grid) / BLOCK_SIZE;
cmp_ok($address, '>', 0, 'it is in a block');
my $place = ($address - 1) * BLOCK_SIZE;
my $intact = read_bytes($grid, $place, BLOCK_SIZE);
flip_bit($grid, $place + $_) for 300, 4096, 8192, 12288;

for my $start ('first start', 'second start') {
    my $position = log_position($node);
    start_later();
    my $told = qr/WARNING:  holds that have expired are not released\n.*DETAIL:  ledger block $address of tree "transfer" is damaged/;
    wait_for("$start: the warning", sub { log_since($node, $position) =~ $told });
    pass("$start: the log says which block it is");
    is(value($node, transfer_sql($next++, 7)), 'created', "$start: transfers go on");
    is(value($node, 'SELECT amount FROM ledger.transfers WHERE id = ledger.id(5000)'), 3, "$start: reads go on");
    is(held(), 5, "$start: the hold stays open");
    # The status is renewed a little later.
    wait_for("$start: the status", sub { status_of($node, "coalesce(message, '')") ne '' });
    my ($role, $message, $detail, $hint, $damaged) =
        split /\|/, status_of($node, 'role, message, detail, hint, damaged_blocks');
    is($role, 'primary', "$start: the engine goes on");
    is($message, 'holds that have expired are not released', "$start: status says so");
    is($detail, "ledger block $address of tree \"transfer\" is damaged", "$start: status says why");
    like($hint, qr/"Damaged blocks" in doc/, "$start: status says where to read on");
    is($damaged, 1, "$start: status counts the block");
    is(status_of($node, 'worker_starts'), 1, "$start: the engine was started once");
    my $log = log_since($node, $position);
    is(() = $log =~ /not released/g, 1, "$start: the log says it once");
    unlike($log, qr/ledger engine stops/, "$start: nothing stops the engine");
    $node->stop;
}

write_bytes($grid, $place, $intact);
start_later();
wait_for('the release', sub { held() == 0 });
pass('the block is back: the hold is released');
wait_for('status', sub { status_of($node, "coalesce(message, '')") eq '' });
is(status_of($node, 'damaged_blocks'), 0, 'the block is back: nothing is damaged');
is(value($node, 'SELECT sum(debits_posted) = sum(credits_posted) FROM ledger.accounts'),
    't', 'the block is back: debits and credits are equal');
$node->stop;

done_testing();
