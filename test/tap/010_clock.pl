# SPDX-License-Identifier: PostgreSQL
#
# A clock that once was far ahead: ledger time does not go back, the log says so at each start, and everything works on.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    AHEAD_S => 3600,
    NS_PER_S => 1_000_000_000,
};

my $library = "$ENV{LEDGER_TEST_BIN}/clock_ahead.so";
plan skip_all => 'clock_ahead.so is not built' unless -e $library;

my $node = ledger_node('main');
ledger_setup($node);
create_two_accounts($node);
$node->stop;
my $position = log_position($node);
$node->start;
wait_role($node, 'primary');
unlike(log_since($node, $position), qr/ahead of the system clock/, 'a clock that is right: no warning');
$node->stop;

{
    local $ENV{LD_PRELOAD} = $library;
    local $ENV{CLOCK_AHEAD} = AHEAD_S;
    $node->start;
}
wait_role($node, 'primary');
is(value($node, transfer_sql(1, 10)), 'created', 'clock ahead: a transfer');
my $timestamp = status_of($node, '"timestamp"');
cmp_ok($timestamp, '>', (time + AHEAD_S / 2) * NS_PER_S, 'clock ahead: so is the ledger');
$node->stop;

$position = log_position($node);
$node->start;
wait_role($node, 'primary');
my $log = log_since($node, $position);
like($log, qr/WARNING:  ledger time is (3[56]\d\d)\.\d{3} seconds ahead of the system clock/, 'set back: a warning');
like($log, qr/DETAIL:  The newest entry of the log has timestamp $timestamp; the clock says \d+/, 'set back: how far');
is(value($node, transfer_sql(2, 10)), 'created', 'set back: a transfer');
is(value($node, transfer_sql(2, 10)), 'exists', 'set back: once');
my $next = status_of($node, '"timestamp"');
cmp_ok($next, '>', $timestamp, 'set back: time does not go back');
cmp_ok($next, '<', $timestamp + NS_PER_S, 'set back: and hardly goes on');
my $ahead = value($node, 'SELECT round("timestamp" / 1e9 - extract(epoch FROM clock_timestamp())) FROM ledger.status');
cmp_ok($ahead, '>', AHEAD_S / 2, 'set back: ledger.status shows it');
$node->stop;

done_testing();
