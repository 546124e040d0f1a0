# SPDX-License-Identifier: PostgreSQL
#
# ledger.nodes while the servers run: a node is added to the list and to the cluster, another one moves to another port, one
# is taken out of the list, and lists that can't be used change nothing. No server that is a member is restarted for it.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use File::Spec;
use IO::Socket::INET;
use LedgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $secret = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir()) . '/secret';
append_to_file($secret, '1:' . '1f' x 32 . "\n");
chmod 0600, $secret or die $!;

my %port;
my @nodes = cluster_nodes(
    3,
    settings => "ledger.secret_file = '$secret'",
    address => sub {
        my ($name) = @_;
        $port{$name} = PostgreSQL::Test::Cluster::get_free_port();
        return "127.0.0.1:$port{$name}";
    });
my ($node_a, $node_b, $node_c) = @nodes;

sub list_of {
    return join ', ', map { "$_=127.0.0.1:$port{$_}" } @_;
}

# Sets the list at these nodes. Those that run take it over.
sub set_nodes {
    my ($list, @at) = @_;
    for my $node (@at) {
        $node->append_conf('postgresql.conf', "ledger.nodes = '$list'");
        $node->reload if -e $node->data_dir . '/postmaster.pid';
    }
    return;
}

sub wait_log {
    my ($node, $from, $pattern) = @_;
    return wait_for('a line of the log of ' . $node->name, sub { log_since($node, $from) =~ $pattern });
}

set_nodes(list_of('a', 'b'), $node_a, $node_b);
cluster_form($node_a, $node_b);
create_two_accounts($node_a);
is(value($node_b, transfer_sql(1, 10)), 'created', 'two nodes work');
my @workers = map { worker_pid($_) } $node_a, $node_b;

# ---- A node more -------------------------------------------------------------------------------------

my $position = log_position($node_a);
$node_c->start;
value($node_c, 'CREATE EXTENSION ledger');
wait_log($node_a, $position, qr/ledger network: no connection with node "c": the name is not in the list of nodes; /);
set_nodes(list_of('a', 'b', 'c'), $node_a, $node_b);
wait_log($node_a, $position, qr/LOG:  ledger node "a" goes by the new ledger\.nodes/);
wait_for('the guest c', sub { value($node_a, q{SELECT state FROM ledger.cluster WHERE name = 'c'}) eq 'guest' });
value($node_a, q{SELECT ledger.cluster_add('c')});
wait_formed(@nodes);
is(value($node_c, transfer_sql(2, 10)), 'created', 'a node was added without a restart');
is(value($node_a, q{SELECT address FROM ledger.cluster WHERE name = 'c'}), "127.0.0.1:$port{c}", 'and its address is shown');

# ---- A node moves ------------------------------------------------------------------------------------

my @writers = start_writers(@nodes);
my $old_port = $port{b};
$port{b} = PostgreSQL::Test::Cluster::get_free_port();
set_nodes(list_of('a', 'b', 'c'), @nodes);
for my $node (@nodes) {
    wait_for('the new address at ' . $node->name,
        sub { value($node, q{SELECT address FROM ledger.cluster WHERE name = 'b'}) eq "127.0.0.1:$port{b}" });
}
wait_acknowledged(20, @writers);
writers_ok('nobody notices that a node listens at another port', @writers);
writer_stop(@writers);
is_deeply([map { worker_pid($_) } $node_a, $node_b], \@workers, 'the workers are the same');
# New connections go there.
$node_b->restart;
wait_formed(@nodes);
is(value($node_b, transfer_sql(3, 10)), 'created', 'a node has moved');
ok(!IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $old_port, Timeout => 5), 'nobody listens at the old port');

# ---- Lists that can't be used ------------------------------------------------------------------------

my $good = list_of('a', 'b', 'c');
my %wrong = (
    'a=127.0.0.1:1, b' => qr/LOG:  ledger\.nodes cannot be read: expected '=' .*\n.*DETAIL:  It is at character 17 of .* The list of before holds\./,
    list_of('b', 'c') => qr/LOG:  ledger\.node_name is not one of ledger\.nodes\n.*DETAIL:  This node is "a", .* The list of before holds\./,
    '' => qr/LOG:  ledger\.node_name is set, but ledger\.nodes is empty\n.*The list of before holds\./,
    'a=192.0.2.1:1, ' . list_of('b', 'c') => qr/LOG:  ledger\.nodes was not taken over: could not listen at "192\.0\.2\.1:1": it is no address of this machine.*\n.*The list of before holds\./,
    "$good, " . join(', ', map { "n$_=127.0.0.1:$_" } 1 .. 4) => qr/LOG:  ledger\.nodes was not taken over: it has 7 nodes, and memory was taken for 6/,
);
for my $list (sort keys %wrong) {
    $position = log_position($node_a);
    set_nodes($list, $node_a);
    wait_log($node_a, $position, $wrong{$list});
    is(value($node_a, q{SELECT count(*) FROM ledger.cluster WHERE state IN ('primary', 'backup') AND address LIKE '127.%'}), 3, "what holds with '$list'");
}
set_nodes($good, $node_a);

# ---- A member that isn't in the list -----------------------------------------------------------------

my $primary = wait_primary(@nodes);
my ($keeper, $other) = others_of($primary, @nodes);
my $name = $other->name;
$position = log_position($primary);
set_nodes(list_of(grep { $_ ne $name } 'a' .. 'c'), $primary, $keeper);
wait_log($primary, $position, qr/LOG:  node "$name" is a member of the ledger's cluster, but not in ledger\.nodes\n.*DETAIL: .*\n.*HINT: .*ledger\.cluster_remove\('$name'\)/);
wait_for('it is cut off', sub { value($primary, "SELECT state FROM ledger.cluster WHERE name = '$name' AND address IS NULL") eq 'unreachable' });
is(value($primary, transfer_sql(4, 10)), 'created', 'the others go on');
set_nodes($good, $primary, $keeper);
wait_formed(@nodes);
is(value($other, transfer_sql(4, 10)), 'exists', 'back in the list, it is a member as before');
is_same_everywhere('at the end', @nodes);

# ---- Alone -------------------------------------------------------------------------------------------

my $lone = ledger_node('lone');
ledger_setup($lone);
$position = log_position($lone);
set_nodes($good, $lone);
wait_log($lone, $position, qr/LOG:  ledger\.nodes is not used, as ledger\.node_name is empty.*\n.*HINT: .*restart/);
is(status_of($lone, 'role'), 'primary', 'a ledger that is alone stays that');

$_->stop for $lone, @nodes;
done_testing();
