# SPDX-License-Identifier: PostgreSQL
#
# How far the ledger has come can't be noted in PGDATA: everything works on, the log says so once, and it is noted again
# as soon as it can be. A folder with the name of the temporary file stands for a full disk.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ledger_node('main');
ledger_setup($node);
create_two_accounts($node);
my $identity = $node->data_dir . '/ledger.identity';
my $next = 1;

sub noted_op {
    my ($op) = slurp_file($identity) =~ /^op: (\d+)$/m;
    return $op;
}

sub transfer_works {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(value($node, transfer_sql($next, 5)), 'created', $name);
    $next += 1;
    return;
}

sub count_warnings {
    my ($position) = @_;
    my @warnings = log_since($node, $position) =~ /WARNING:  could not write "\S+ledger\.identity"/g;
    return scalar @warnings;
}

my $position = log_position($node);
# Not while it is being noted.
wait_for('its place', sub { mkdir "$identity.tmp" });
my $noted = noted_op();
transfer_works('a transfer whose op cannot be noted');
wait_for('the warning', sub { count_warnings($position) > 0 });
transfer_works('another one');
sleep 6;
is(count_warnings($position), 1, 'the log says so once');
is(status_of($node, 'role'), 'primary', 'the engine works on');
is(noted_op(), $noted, 'the file is what it was');
$node->stop;

$position = log_position($node);
$node->start;
wait_role($node, 'primary');
wait_for('the warning of a start', sub { count_warnings($position) > 0 });
is(count_warnings($position), 1, 'a start says so, too');
transfer_works('and works');

rmdir "$identity.tmp" or die $!;
my $op = status_of($node, 'op');
wait_for('the note', sub { noted_op() >= $op });
pass('with room, it is noted without being asked');
transfer_works('and so is what follows');
$op = status_of($node, 'op');
$node->stop;
cmp_ok(noted_op(), '>=', $op, 'at the latest when the server stops');
is(count_warnings($position), 1, 'with nothing more to say');
$node->start;
wait_role($node, 'primary');
is_balanced($node, 'nothing is lost');
$node->stop;

done_testing();
