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

sub hold {
    my ($id, $timeout) = @_;
    return value($node,
        "SELECT ledger.create_transfer(ledger.id($id), ledger.id(1), ledger.id(2), 10, 1, 1,"
        . " flags => '{pending}', timeout => '$timeout')");
}

sub pending {
    return value($node, 'SELECT debits_pending FROM ledger.accounts WHERE id = ledger.id(1)');
}

sub post_error {
    my ($id, $pending_id) = @_;
    return error_of($node, "SELECT ledger.post_pending_transfer(ledger.id($id), ledger.id($pending_id));");
}

is(hold(1, '1 hour'), 'created', 'a hold of an hour');
is(hold(2, '1 second'), 'created', 'a hold of a second');
wait_for('expiry', sub { pending() == 10 });
pass('the hold of a second is released without any call');
cmp_ok(status_of($node, '(SELECT pulses FROM ledger.stats)'), '>', 0, 'by a pulse');
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

$node->stop;
done_testing();
