# SPDX-License-Identifier: PostgreSQL
#
# (V16) Directories of a member that aren't its newest one: a copy that is started beside its original, and an older copy
# that is put back in its place. Each is refused, however often it starts, and the cluster goes on without it. Where it
# would be needed for a quorum, calls end without an answer, and never with a wrong one. Removed and added, the node is back.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @nodes = cluster_nodes(3);
cluster_form(@nodes);
my ($x, $y, $z) = @nodes;
my $folder = PostgreSQL::Test::Utils::tempdir_short();
create_two_accounts($x);
my $next = 1;
my $older = qr/ledger data directory "\S+" is older than what node "b" was at, or a copy of it/;

# Both directories, as they are.
sub copy_of {
    my ($node, $to) = @_;
    system_or_bail('cp', '-a', $node->data_dir, "$to-data");
    system_or_bail('cp', '-a', ledger_directory($node), "$to-ledger");
    return;
}

sub put_back {
    my ($node, $from) = @_;
    my $directory = ledger_directory($node);
    system_or_bail('rm', '-rf', $node->data_dir, $directory);
    system_or_bail('cp', '-a', "$from-data", $node->data_dir);
    system_or_bail('cp', '-a', "$from-ledger", $directory);
    return;
}

# Each start makes a record, an op of the log. So after two, the newest one is later than the copy.
sub start_twice {
    my ($node) = @_;
    for (1 .. 2) {
        $node->stop if $_ == 2;
        my $op = value($x, 'SELECT op FROM ledger.status');
        $node->start;
        wait_formed(@nodes);
        wait_for('a record', sub { value($x, 'SELECT op FROM ledger.status') > $op });
    }
    return;
}

sub writes {
    my ($name, @at) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    for my $node (@at) {
        is(value($node, transfer_sql($next, 1)), 'created', $name);
        $next += 1;
    }
    return;
}

sub refused {
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    wait_for("refused: $name", sub { (value($node, 'SELECT message FROM ledger.status') // '') =~ $older });
    like(error_of($node, transfer_sql($next + 1000, 1)), $older, $name);
    like(error_of($node, 'SELECT count(*) FROM ledger.accounts'), $older, "$name, and doesn't read");
    return;
}

# ---- A copy beside its original ----------------------------------------------------------------------

writes('all write', @nodes);
$y->stop;
copy_of($y, "$folder/first");
start_twice($y);
writes('all write', @nodes);

my $clone = ledger_node('clone');
put_back($clone, "$folder/first");
my $nodes = value($x, 'SHOW ledger.nodes') =~ s/\bb=\S+?(,|$)/b=$folder\/clone.sock$1/r;
$clone->append_conf('postgresql.conf', 'port = ' . $clone->port . "\nledger.nodes = '$nodes'");
$clone->start;
refused($clone, 'a copy beside its original is refused');
like(slurp_file($clone->logfile), qr/ledger engine stops: $older.*HINT:  If another server runs as this node, stop this one/s, 'and says so in its log');
writes('the cluster goes on', @nodes);
wait_formed(@nodes);
for (1 .. 3) {
    $clone->restart;
    refused($clone, "refused at restart $_");
}
$clone->stop;
writes('the cluster goes on', @nodes);
is_same_everywhere('after the copy', @nodes);

# ---- An older copy in its place ----------------------------------------------------------------------

$y->stop;
put_back($y, "$folder/first");
$y->start;
refused($y, 'an older copy is refused');
# Once it knows, it connects with nobody any more: so perhaps only one of the others has met it.
my $witness;
wait_for('one that has refused it', sub {
    ($witness) = grep { value($_, q{SELECT state FROM ledger.cluster WHERE name = 'b'}) eq 'refused' } $x, $z;
    return defined $witness;
});
is(status_of($witness, 'message'), 'node "b" of the ledger cluster is refused', 'who has refused it says so');
like(status_of($witness, 'hint'), qr/ledger\.cluster_remove\('b'\), empty its directory, and add it anew/, 'and what to do');
wait_for('a line of the log', sub { slurp_file($witness->logfile) =~ /ledger node "b" is refused/ });
for (1 .. 3) {
    $y->restart;
    refused($y, "refused at restart $_");
}
writes('the others go on', $x, $z);

# ---- The way back ------------------------------------------------------------------------------------

sub come_back {
    my ($node) = @_;
    my $name = $node->name;
    value($x, "SELECT ledger.cluster_remove('$name')");
    $node->stop;
    system_or_bail('rm', '-rf', ledger_directory($node), $node->data_dir . '/ledger.identity');
    $node->start;
    wait_for("guest $name", sub { value($x, "SELECT count(*) FROM ledger.cluster WHERE name = '$name' AND state = 'guest'") == 1 });
    value($x, "SELECT ledger.cluster_add('$name')");
    wait_formed(@nodes);
    return;
}

come_back($y);
writes('all write again', @nodes);
is_same_everywhere('when it is back', @nodes);

# ---- A copy that is needed ---------------------------------------------------------------------------

$y->stop;
copy_of($y, "$folder/second");
start_twice($y);
writes('all write', @nodes);
is_same_everywhere('before', @nodes);
$z->stop;
$y->stop;
put_back($y, "$folder/second");
$y->start;
refused($y, 'a copy is refused where it is needed, too');
like(error_of($x, q{SET ledger.quorum_wait = '1s'; } . transfer_sql($next, 1)), qr/57P03|08007/, 'it makes no quorum');
like(error_of($x, q{SET ledger.quorum_wait = '1s'; SELECT count(*) FROM ledger.accounts}), qr/57P03|08007/, 'nor for reads');
$z->start;
wait_for('a quorum', sub { error_of($x, transfer_sql($next, 1)) eq '' });
$next += 1;
come_back($y);
writes('all write at the end', @nodes);
is_same_everywhere('at the end', @nodes);

$_->stop for @nodes;
done_testing();
