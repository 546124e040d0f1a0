# SPDX-License-Identifier: PostgreSQL
#
# A ledger that was alone, and has data, becomes a cluster: the newcomer is sent all of it. A newcomer that the log can't
# bring up any more is refused, and nothing has changed. Waits for a change of members can be cancelled. A newcomer whose
# directory can't be made says so, and can be let in a second time.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $nodes = join ', ', map { "$_=$folder/$_.sock" } qw(x y z);
my %node = map { $_ => ledger_node($_) } qw(x y z);
my $x = $node{x};

ledger_setup($x);
create_two_accounts($x);
my $next = 1000;

sub write_batches {
    my ($node, $count) = @_;
    for (1 .. $count) {
        is(value($node, batch_sql($next, 8190, 1)), 'created|8190', 'a batch') if $_ == 1;
        value($node, batch_sql($next, 8190, 1)) if $_ > 1;
        $next += 8190;
    }
    return;
}

write_batches($x, 3);
my $before = value($x, balances_sql());

# ---- It becomes a cluster ----------------------------------------------------------------------------

for my $name (qw(x y z)) {
    $node{$name}->append_conf('postgresql.conf', "ledger.node_name = '$name'\nledger.nodes = '$nodes'\n"
            # A busy machine is no reason to change the primary.
            . "ledger.failover_timeout = 20s\nledger.quorum_wait = 180s");
}
$x->restart;
wait_role($x, 'primary');
is(value($x, balances_sql()), $before, 'a lone ledger with a name works as before');
is(value($x, transfer_sql(1, 1)), 'created', 'and writes');
like(error_of($x, q{SELECT ledger.cluster_add('y')}), qr/55000: could not add a node: this ledger is not a cluster yet.*HINT:  SELECT ledger\.cluster_create/s, 'nobody is added to a lone ledger');
for my $name (qw(y z)) {
    $node{$name}->start;
    value($node{$name}, 'CREATE EXTENSION ledger');
}
value($x, 'SELECT ledger.cluster_create()');
wait_for('guests', sub { value($x, q{SELECT count(*) FROM ledger.cluster WHERE state = 'guest'}) == 2 });

# ---- Whose directory can't be made -------------------------------------------------------------------

my $data = ledger_directory($node{y});
append_to_file("$data.new", 'in the way');
value($x, q{SELECT ledger.cluster_add('y')});
wait_for('a line of the log', sub { slurp_file($node{y}->logfile) =~ /ledger engine stops: could not use ".*\.new": / });
unlink "$data.new" or die $!;
like(slurp_file($node{y}->logfile), qr/HINT:  The cluster has let this node in, but its directory could not be made/, 'it is said why a node that was let in does not work');
wait_role($node{y}, 'guest');
like(error_of($x, q{SELECT ledger.cluster_add('y')}), qr/42710/, 'it cannot be added before it is removed');
value($x, q{SELECT ledger.cluster_remove('y')});
wait_for('guests', sub { value($x, q{SELECT count(*) FROM ledger.cluster WHERE state = 'guest'}) == 2 });

# ---- The newcomer has all of it ----------------------------------------------------------------------

value($x, q{SELECT ledger.cluster_add('y')});
wait_formed($x, $node{y});
is_same_everywhere('what the ledger had when it was alone is at the newcomer', $x, $node{y});
write_batches($node{y}, 2);
is_same_everywhere('and what came since', $x, $node{y});

# ---- The log has overwritten the beginning -----------------------------------------------------------

write_batches($x, 45);
like(error_of($x, q{SELECT ledger.cluster_add('z')}), qr/0A000: could not add a node: the log does not reach back to the ledger's beginning/, 'a newcomer that cannot be brought up is refused');
is(value($x, q{SELECT count(*) FROM ledger.cluster WHERE role <> 'guest'}), 2, 'and nothing has changed');
$node{y}->restart;
wait_formed($x, $node{y});
is_same_everywhere('members go on', $x, $node{y});

# ---- Waiting for a change ----------------------------------------------------------------------------

# While something waits in the log for the other voter, that can't be removed. It stands still first: what is asked of a
# primary that reaches no quorum isn't put into the log.
my $worker = worker_pid($node{y});
kill 'STOP', $worker or die $!;
my $committed = value($x, 'SELECT commit_op FROM ledger.status');
my $waiting = session($x, 'SET ledger.quorum_wait = 0; ' . transfer_sql(2, 1));
wait_for('it is in the log', sub { value($x, 'SELECT op FROM ledger.status') > $committed });
kill 'STOP', postmaster_pid($node{y}) or die $!;
kill 'KILL', $worker or die $!; # It can't see that the other one ends.
kill_postmaster($node{y});
wait_for('no quorum', sub { status_of($x, 'message') eq 'the ledger cluster has no quorum' });
is(status_of($x, 'detail'), '1 of 2 nodes can be reached, and 2 are needed.', 'why nothing goes on is said');
like(error_of($x, q{SET statement_timeout = '1s'; SELECT ledger.cluster_remove('y')}), qr/57014|55000|08007/, 'a change without a quorum can be cancelled');
like(error_of($x, q{SET ledger.quorum_wait = '1s'; SET statement_timeout = '180s'; SELECT ledger.cluster_remove('y')}), qr/55000|08007/, 'and ends by itself');
$node{y}->start;
wait_formed($x, $node{y});
my ($out, $err) = session_finish($waiting);
is($out, 'created', 'and what has waited goes on') or diag $err;
is(value($node{y}, transfer_sql(2, 1)), 'exists', 'and calls');
is_same_everywhere('at the end', $x, $node{y});

$_->stop for values %node;
done_testing();
