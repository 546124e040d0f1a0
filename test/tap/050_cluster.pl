# SPDX-License-Identifier: PostgreSQL
#
# Three servers that are nodes of one ledger, over Unix sockets: forming a cluster, calls at each node, and losing nodes in
# every way under load. What was acknowledged is there, once, and the same at all nodes; who calls at a node that lives
# sees nothing but time.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use File::Path qw(remove_tree);
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# So long that a busy machine is no reason to change the primary, where that is to stay the same.
my @nodes = cluster_nodes(3, settings => 'ledger.failover_timeout = 60s');
my ($node_a, $node_b, $node_c) = @nodes;

# All start anew with this failover timeout.
sub restart_with_timeout {
    my ($timeout) = @_;
    $_->append_conf('postgresql.conf', "ledger.failover_timeout = $timeout") for @nodes;
    $_->stop for @nodes;
    $_->start for @nodes;
    return wait_formed(@nodes);
}

# ---- Before there is a cluster -----------------------------------------------------------------------

$_->start for @nodes;
my ($code, $out, $err) = $node_a->psql('postgres', 'CREATE EXTENSION ledger');
is($code, 0, 'the extension is created at a node without a ledger');
like($err, qr/NOTICE:  this server is not a member of the ledger's cluster yet/, 'and says that there is no ledger yet');
like($err, qr/HINT:  Run ledger\.cluster_create\(\) here, or ledger\.cluster_add\('a'\) at a member/, 'and what to do');
value($_, 'CREATE EXTENSION ledger') for $node_b, $node_c;
wait_role($node_b, 'guest');
is(status_of($node_b, 'role || node'), 'guestb', 'it is a guest');
is(value($node_b, 'SELECT count(*) FROM ledger.cluster'), 0, 'a guest sees no cluster');
like(error_of($node_b, 'SELECT ledger.create_ledger()'), qr/55000: could not create a ledger: this server is not a member/, 'a node makes no ledger of its own by accident');
like(error_of($node_b, transfer_sql(1, 1)), qr/57P03: this server is not a member of the ledger's cluster yet/, 'a call at a guest fails');
like(error_of($node_b, q{SELECT ledger.cluster_add('c')}), qr/57P03: this server is not a member/, 'a guest adds nobody');

# ---- Forming -----------------------------------------------------------------------------------------

value($node_a, 'SELECT ledger.cluster_create()');
is(value($node_a, 'SELECT name, slot, role, state, is_self FROM ledger.cluster WHERE role <> $$guest$$'), 'a|0|voter|primary|t', 'a cluster of one');
like(error_of($node_a, 'SELECT ledger.cluster_create()'), qr/42710: could not create a cluster: this ledger is a cluster already/, 'it is created once');
create_two_accounts($node_a);
is(value($node_a, transfer_sql(1, 100)), 'created', 'a cluster of one works');
like(error_of($node_a, q{SELECT ledger.cluster_add('x')}), qr/42704: could not add a node: node "x" is not connected/, 'nobody who is not there is added');
like(error_of($node_a, q{SELECT ledger.cluster_add('X y')}), qr/22023: a node cannot have the name "X y"/, 'a name that none can have');
like(error_of($node_a, q{SELECT ledger.cluster_add(NULL)}), qr/name must not be null/, 'no name');
like(error_of($node_a, q{SELECT ledger.cluster_remove('x')}), qr/42704: could not remove a node: node "x" is not a member/, 'nobody who is not there is removed');
like(error_of($node_a, 'CREATE ROLE other; SET ROLE other; SELECT ledger.cluster_create()'), qr/42501/, 'for superusers only');
wait_for('guests', sub { value($node_a, q{SELECT count(*) FROM ledger.cluster WHERE state = 'guest'}) == 2 });
value($node_a, q{SELECT ledger.cluster_add('b')});
like(error_of($node_a, q{SELECT ledger.cluster_add('b')}), qr/42710: could not add a node: node "b" is a member|55006/, 'a member is added once');
wait_for('b votes', sub { value($node_a, q{SELECT role FROM ledger.cluster WHERE name = 'b'}) eq 'voter' });
value($node_a, q{SELECT ledger.cluster_add('c')});
wait_formed(@nodes);
is(value($node_b, 'SELECT name, slot, role, state, is_self FROM ledger.cluster ORDER BY name'),
    "a|0|voter|primary|f\nb|1|voter|backup|t\nc|2|voter|backup|f", 'all are members, and b knows it');
like(error_of($node_b, q{SELECT ledger.cluster_add('c')}),
    qr/42710: could not add a node: node "c" is a member/, 'a backup asks the primary');
ok(-e ledger_directory($node_b), 'b has a directory');
is(status_of($node_b, 'ledger'), status_of($node_a, 'ledger'), 'of the same ledger');

# ---- Calls at any node -------------------------------------------------------------------------------

is(value($node_b, transfer_sql(2, 10)), 'created', 'a transfer at b');
is(value($node_c, 'SELECT credits_posted FROM ledger.accounts WHERE id = ledger.id(2)'), 110, 'is there at c at once');
is(value($node_c, transfer_sql(2, 10)), 'exists', 'and exists for a retry at c');
is(value($node_c, batch_sql(100, 500, 1)), 'created|500', 'a batch at c');
is_same_everywhere('after calls at each node', @nodes);

# ---- A backup is lost --------------------------------------------------------------------------------

my @writers = start_writers(@nodes);
kill_postmaster($node_c);
wait_acknowledged(50, @writers[ 0, 1 ]);
writer_stop(@writers);
writers_ok('who calls at a node that lives sees nothing of a backup that is lost', @writers[ 0, 1 ]);
is(primary_of($node_a, $node_b)->name, 'a', 'a is the primary still');
$node_c->start;
wait_formed(@nodes);
has_acknowledged($node_c, 'a backup was killed', @writers);
is_same_everywhere('after a backup was killed', @nodes);

restart_with_timeout('1s');

# ---- The primary is lost -----------------------------------------------------------------------------

for my $round (1 .. 3) {
    my $primary = wait_primary(@nodes);
    my @others = others_of($primary, @nodes);
    @writers = start_writers($primary, @others);
    kill_postmaster($primary);
    wait_acknowledged(50, @writers[ 1, 2 ]);
    writer_stop(@writers);
    writers_ok("round $round: who calls at a node that lives sees nothing of the failover", @writers[ 1, 2 ]);
    isnt(wait_primary(@others)->name, $primary->name, "round $round: another one is the primary");
    $primary->start;
    wait_formed(@nodes);
    has_acknowledged($primary, "round $round: the primary was killed", @writers);
    is_same_everywhere("round $round: after the primary was killed", @nodes);
}

# ---- The primary's worker stands still ---------------------------------------------------------------

my $primary = wait_primary(@nodes);
my @others = others_of($primary, @nodes);
my $stopped = worker_pid($primary);
@writers = start_writers($primary, @others);
kill 'STOP', $stopped;
wait_acknowledged(50, @writers[ 1, 2 ]);
isnt(wait_primary(@others)->name, $primary->name, 'another one takes over from a worker that stands still');
my $asking = session($primary, 'SELECT ledger.cluster_step_down()');
value($primary, "SELECT pg_cancel_backend($_)") for wait_waiting($primary, 'cluster_step_down', 1);
like((session_finish($asking))[1], qr/57014: .*DETAIL:  Whether it was carried out is unknown.*HINT:  See ledger\.cluster/s, 'a change that is cancelled says that its outcome is unknown');
kill 'CONT', $stopped;
wait_acknowledged(50, @writers);
writer_stop(@writers);
writers_ok('who calls anywhere sees nothing of it but time', @writers);
wait_formed(@nodes);
is(worker_pid($primary), $stopped, 'it is the same worker');
has_acknowledged($primary, 'the worker stood still', @writers);
is_same_everywhere('after the worker stood still', @nodes);

# ---- No quorum ---------------------------------------------------------------------------------------

# The one that stays is the primary, which has to find out that it is alone.
my $left = wait_primary(@nodes);
my ($first, $second) = others_of($left, @nodes);
kill_postmaster($_) for $first, $second;
my $before = time;
$err = error_of($left, q{SET ledger.quorum_wait = '1s'; } . transfer_sql(3, 1));
like($err, qr/57P03: no ledger primary: 1 of 3 nodes can be reached|08007: the ledger's primary was lost/, 'without a quorum nothing is written');
wait_for('no quorum', sub { status_of($left, q{coalesce(message, '') || coalesce(detail, '')}) =~ /has no quorum.*1 of 3/ });
$err = error_of($left, q{SET ledger.quorum_wait = '1s'; } . transfer_sql(3, 1));
like($err, qr/57P03: no ledger primary: 1 of 3 nodes can be reached/, 'which is said');
like($err, qr/DETAIL:  The request took no effect/, 'and that nothing has happened');
like(error_of($left, q{SET ledger.quorum_wait = '1s'; SELECT * FROM ledger.accounts}), qr/57P03: no ledger primary/, 'nothing is read either');
cmp_ok(time - $before, '<', 170, 'in the time that they give it');
is(value($left, q{SET ledger.read_consistency = local; SELECT count(*) FROM ledger.accounts}), 2, 'but what this node has');
like(error_of($left, q{SET ledger.quorum_wait = 0; SET statement_timeout = '1s'; } . transfer_sql(4, 1)), qr/57014/, 'a wait without an end is cancelled');
my $waiting = session($left, q{SET ledger.quorum_wait = 0; } . transfer_sql(5, 1));
$first->start;
($out, $err) = session_finish($waiting);
is($out, 'created', 'a call that waited goes on when there is a quorum again') or diag $err;
$second->start;
wait_formed(@nodes);
is_same_everywhere('after there was no quorum', @nodes);

# ---- All at once -------------------------------------------------------------------------------------

@writers = start_writers(@nodes);
kill_postmaster($_) for @nodes;
writer_stop(@writers);
$_->start for @nodes;
wait_formed(@nodes);
has_acknowledged($_, 'all were killed', @writers) for @nodes;
is_same_everywhere('after all were killed', @nodes);

# ---- Restart of each in turn -------------------------------------------------------------------------

for my $node (@nodes) {
    my @rest = others_of($node, @nodes);
    @writers = start_writers(@rest);
    $node->restart;
    wait_acknowledged(20, @writers);
    wait_formed(@nodes);
    writer_stop(@writers);
    writers_ok('nobody elsewhere notices the restart of ' . $node->name, @writers);
    has_acknowledged($node, $node->name . ' was restarted', @writers);
}
is_same_everywhere('after each was restarted', @nodes);

# ---- Stepping down -----------------------------------------------------------------------------------

restart_with_timeout('60s');
$primary = wait_primary(@nodes);
@writers = start_writers(@nodes);
step_down(@nodes);
wait_acknowledged(20, @writers);
writer_stop(@writers);
writers_ok('nobody notices that the primary stepped down', @writers);
like(error_of($primary, 'SELECT ledger.cluster_step_down()'), qr/55000: could not step down: node "\w" is not the cluster's primary/, 'who is not the primary does not step down');
is_same_everywhere('after stepping down', @nodes);

# ---- Wrong settings ----------------------------------------------------------------------------------

# Starts c with another line, and tells why its engine doesn't work.
sub refusal_with {
    my ($line) = @_;
    $node_c->append_conf('postgresql.conf', $line);
    $node_c->restart;
    wait_role($node_c, 'refused');
    return status_of($node_c, q{message || ' / ' || detail});
}

like(refusal_with(q{ledger.node_name = ''}), qr/is that of a cluster's member/, 'a member does not open alone');
like(refusal_with(q{ledger.node_name = 'z'}), qr/is that of another node .* It is of node "c", and this is node "z"/, 'nor under another name');
my $nodes_line = value($node_a, 'SHOW ledger.nodes');
like(refusal_with("ledger.node_name = 'c'\nledger.nodes = ''"), qr/ledger\.node_name is set, but ledger\.nodes is empty/, 'nor without a list');
like(refusal_with(q{ledger.nodes = 'a=/x y=1, =3'}), qr/ledger\.nodes cannot be read: .* \/ It is at character \d+ of "a=/, 'a list that cannot be read says where');
$node_c->append_conf('postgresql.conf', "ledger.nodes = '$nodes_line'");
$node_c->restart;
wait_formed(@nodes);

# ---- Removing ----------------------------------------------------------------------------------------

$primary = wait_primary(@nodes);
my ($removed, $rest) = others_of($primary, @nodes);
like(error_of($primary, 'SELECT ledger.cluster_remove(' . "'" . $primary->name . "')"), qr/55000/, 'the primary does not remove itself');
value($primary, "SELECT ledger.cluster_remove('" . $removed->name . "')");
is(value($primary, "SELECT count(*) FROM ledger.cluster WHERE role = 'voter'"), 2, 'a member is removed');
is(value($rest, transfer_sql(6, 1)), 'created', 'two go on');
is_same_everywhere('after a member was removed', $primary, $rest);
like(error_of($rest, "SELECT ledger.cluster_remove('" . $primary->name . "')"), qr/HINT:  Call ledger\.cluster_step_down\(\) at that node/, 'the hint is right at another node too');

# What was removed knows that, before and after a restart, and tells its log once.
my $name = $removed->name;
my $not_member = qr/node "$name" is not a member of its cluster/;
for my $when ('when it has been removed', 'after a restart') {
    my $logged = -s $removed->logfile;
    $removed->restart if $when =~ /restart/;
    wait_for("$when: status", sub { status_of($removed, 'message') =~ $not_member });
    like(error_of($removed, q{SET ledger.quorum_wait = '1s'; SELECT * FROM ledger.accounts}), qr/57P03: no ledger primary: $not_member/, "$when, a call says so");
    like(error_of($removed, "SELECT ledger.cluster_add('$name')"), qr/55000: could not add a node: $not_member/, "$when, a change of members does");
    like(status_of($removed, 'hint'), qr/its directory is of no use any more/, "$when, there is a hint");
    wait_for("$when: log", sub { slurp_file($removed->logfile) =~ qr/LOG:  ledger $not_member/ });
    unlike(slurp_file($removed->logfile, $logged), qr/its primary is node ""/, "$when, no primary without a name is told");
}
is(value($removed, 'SET ledger.read_consistency = local; SELECT count(*) FROM ledger.accounts'), 2, 'what it has can be read');

# Its directory is lost: the hint is that of a node.
$removed->stop;
remove_tree(ledger_directory($removed));
$removed->start;
wait_role($removed, 'refused');
like(status_of($removed, 'hint'), qr/call ledger\.cluster_remove\('$name'\) at a member, remove ledger\.identity .* call ledger\.cluster_add\('$name'\)/, 'a lost directory of a node: what to do');
unlink $removed->data_dir . '/ledger.identity';
$removed->restart;
wait_for('it is a guest', sub { value($primary, "SELECT count(*) FROM ledger.cluster WHERE name = '$name' AND state = 'guest'") == 1 });

# ---- Alone -------------------------------------------------------------------------------------------

my $lone = ledger_node('lone', settings => "ledger.nodes = '$nodes_line'");
ledger_setup($lone);
is(value($lone, 'SELECT count(*) FROM ledger.cluster'), 0, 'with ledger.nodes alone a ledger is alone');
like(error_of($lone, 'SELECT ledger.cluster_create()'), qr/55000: this server is not a node of a cluster.*ledger\.node_name is not set/s, 'and is made no cluster');

$_->stop for $lone, $primary, $rest, $removed;
done_testing();
