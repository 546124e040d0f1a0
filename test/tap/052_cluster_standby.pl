# SPDX-License-Identifier: PostgreSQL
#
# A PostgreSQL primary and its streaming standbys, whose workers are voters of one ledger's cluster: reads on the hot
# standbys, writes refused there by PostgreSQL's own rule, promotion. A standby's PGDATA is a copy of another node's, with
# its identity file: it is not taken for that node, neither before the standby has a directory nor after PGDATA is made
# anew.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use LedgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $node_a = ledger_node('a', allows_streaming => 1, settings => <<"CONF");
ledger.node_name = 'a'
ledger.nodes = 'a=$folder/a.sock, b=$folder/b.sock, c=$folder/c.sock'
ledger.failover_timeout = 5s
ledger.quorum_wait = 180s
CONF
$node_a->start;
value($node_a, 'CREATE EXTENSION ledger');
value($node_a, 'SELECT ledger.cluster_create()');
$node_a->backup('copy');

sub standby {
    my ($name) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init_from_backup($node_a, 'copy', has_streaming => 1);
    $node->append_conf('postgresql.conf', "ledger.node_name = '$name'");
    # Set by ledger_node for the node that was copied.
    $node->append_conf('postgresql.conf', 'ledger.data_directory = \'' . ledger_directory($node) . q{'});
    return $node;
}

my ($node_b, $node_c) = map { standby($_) } qw(b c);
my @nodes = ($node_a, $node_b, $node_c);
for my $node ($node_b, $node_c) {
    my $name = $node->name;
    $node->start;
    wait_role($node, 'guest');
    pass("$name is a guest, although its PGDATA is a copy of a's");
    # Who is no primary of PostgreSQL's adds nobody: so the ledger's must be a, as it is with this failover timeout.
    add_member($name, $node_a);
}
wait_formed(@nodes);

create_two_accounts($node_a);
is(value($node_a, transfer_sql(1, 10)), 'created', 'the primary writes');
is(value($node_b, 'SELECT credits_posted FROM ledger.accounts WHERE id = ledger.id(2)'), 10, 'a standby reads it at once');
like(error_of($node_b, transfer_sql(2, 10)), qr/25006: cannot execute ledger\.create_transfer during recovery/, 'and writes nothing');

# The ledger's primary need not be PostgreSQL's.
isnt(step_down(@nodes)->name, 'a', 'a standby is the primary of the ledger');
is(value($node_a, transfer_sql(3, 10)), 'created', 'and PostgreSQL\'s primary writes');
like(error_of($node_b, 'SELECT ledger.create_ledger()'), qr/25006/, 'no ledger is made on a standby');

# PGDATA of b is made anew; its directory is what it was.
my $identity = status_of($node_b, 'ledger');
$node_b->stop;
unlink $node_b->data_dir . '/ledger.identity' or die $!;
append_to_file($node_b->data_dir . '/ledger.identity', slurp_file($node_a->data_dir . '/ledger.identity'));
$node_b->start;
wait_formed(@nodes);
like(slurp_file($node_b->logfile), qr/PGDATA is a copy of that of ledger node "a"/, 'a copied identity file is not taken for b\'s');
is(status_of($node_b, 'ledger'), $identity, 'b goes on with its directory');

# The server of a is lost, b is promoted.
kill_postmaster($node_a);
is(value($node_b, 'SELECT credits_posted FROM ledger.accounts WHERE id = ledger.id(2)'), 20, 'b reads when a is lost');
$node_b->promote;
is(value($node_b, transfer_sql(4, 10)), 'created', 'and writes when it is promoted');
is(value($node_c, 'SELECT credits_posted FROM ledger.accounts WHERE id = ledger.id(2)'), 30, 'which c shows');

$_->stop for $node_b, $node_c;
done_testing();
