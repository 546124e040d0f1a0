# SPDX-License-Identifier: PostgreSQL
#
# A pending transfer with a timeout is released by itself, and stays released after a restart; one whose time runs out
# while the server is down is released after it.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ledger_node('main');
ledger_setup($node);
create_two_accounts($node);

sub hold_sql {
    my ($id, $timeout) = @_;
    return "SELECT ledger.create_transfer(ledger.id($id), ledger.id(1), ledger.id(2), 10, 1, 1,"
        . " flags => '{pending}', timeout => '$timeout')";
}

sub hold {
    return value($node, hold_sql(@_));
}

sub pending {
    return value($node, 'SELECT debits_pending FROM ledger.accounts WHERE id = ledger.id(1)');
}

# What account 1 says now, and the newest event that there was: [timestamp, "balances"].
my @seen;
sub seen_sql {
    return 'SELECT (SELECT max("timestamp") FROM ledger.change_events), '
        . 'debits_pending, debits_posted, credits_pending, credits_posted FROM ledger.accounts WHERE id = ledger.id(1)';
}

sub see {
    push @seen, [split /\|/, value($node, seen_sql()), 2];
    return;
}

# The balances at a time: the newest row that is not newer.
sub balances_at {
    my ($timestamp) = @_;
    return value($node, 'SELECT debits_pending, debits_posted, credits_pending, credits_posted FROM ledger.account_balances '
        . "WHERE account_id = ledger.id(1) AND \"timestamp\" <= $timestamp ORDER BY \"timestamp\" DESC LIMIT 1");
}

sub hold_state_sql {
    my ($id) = @_;
    return 'SELECT state, resolved_at >= expires_at, ledger.id_numeric(resolved_by) '
        . "FROM ledger.transfers WHERE id = ledger.id($id)";
}

sub hold_state {
    return value($node, hold_state_sql(@_));
}

sub post_error {
    my ($id, $pending_id) = @_;
    return error_of($node, "SELECT ledger.post_pending_transfer(ledger.id($id), ledger.id($pending_id));");
}

is(hold(1, '1 hour'), 'created', 'a hold of an hour');
see();
# All in one session, so that the hold is still open.
my $newest = value($node, join ";\n", hold_sql(2, '8 seconds'), seen_sql(), hold_state_sql(2),
    "SELECT count(*) FROM ledger.transfers WHERE state = 'open' AND expires_at < now() + interval '1 minute'");
my ($status, $balances, $state, $soon) = split /\n/, $newest;
is($status, 'created', 'a hold of some seconds');
push @seen, [split /\|/, $balances, 2];
is($state, 'open||', 'it is open');
is($soon, 1, 'and listed among those that expire soon');
wait_for('expiry', sub { pending() == 10 });
pass('the hold of some seconds is released without any call');
see();
is(hold_state(2), 'expired|t|', 'it is expired, and no transfer has resolved it');
is(value($node, "SELECT count(*), max(type::text) FROM ledger.change_events WHERE transfer_id = ledger.id(2) AND type <> 'two_phase_pending'"),
    '1|two_phase_expired', 'its expiry is found by its id');
is(value($node, "SELECT count(*) FROM ledger.transfers WHERE state = 'open'"), 1, 'the hold of an hour is open');
ok(wait_for('the number of pulses', sub { status_of($node, '(SELECT pulses FROM ledger.stats)') > 0 }), 'by a pulse');
is(value($node, "SELECT count(*) FROM ledger.change_events WHERE type = 'two_phase_expired'"),
    1, 'it is a change event');
like(post_error(100, 2), qr/pending_transfer_expired/, 'it cannot be posted any more');

$node->stop;
$node->start;
wait_role($node, 'primary');
is(pending(), 10, 'released after a restart');
is(value($node, "SELECT count(*) FROM ledger.change_events WHERE type = 'two_phase_expired'"),
    1, 'it expired once');
like(post_error(101, 2), qr/pending_transfer_expired/, 'still it cannot be posted');

is(hold(3, '1 second'), 'created', 'a hold whose time runs out while the server is down');
kill_postmaster($node);
sleep 2;
$node->start;
wait_role($node, 'primary');
wait_for('expiry after a crash', sub { pending() == 10 });
pass('it is released after a crash');
is(value($node, 'SELECT ledger.post_pending_transfer(ledger.id(102), ledger.id(1))'),
    'created', 'the hold of an hour can be posted');
is(value($node, 'SELECT debits_pending, debits_posted FROM ledger.accounts WHERE id = ledger.id(1)'),
    '0|10', 'and moves its amount');
see();
is(hold_state(1), 'posted|f|102', 'it says which transfer has posted it');
is(hold_state(3), 'expired|t|', 'the other one has expired');
is(value($node, "SELECT count(*) FROM ledger.transfers WHERE state = 'open'"), 0, 'no hold is open');
is(balances_at($_->[0]), $_->[1], "balances at $_->[0]") for @seen;
is(value($node, 'SELECT count(*) FROM ledger.account_balances WHERE account_id = ledger.id(1)'), 6,
    'a row for each of three holds, two expiries and a post');
is(value($node, 'SELECT count(*) FROM ledger.verify()'), 0, 'all that is verified');

$node->stop;
done_testing();
