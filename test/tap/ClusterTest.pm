# SPDX-License-Identifier: PostgreSQL
#
# What the tests of clusters share: several servers that are nodes of one ledger, and sessions that write at each of them.
package ClusterTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  cluster_nodes cluster_form add_member wait_formed wait_primary primary_of others_of step_down
  start_writers writers_ok
  is_same_everywhere has_acknowledged
);

# Servers that aren't started, named a, b, c …. Options: settings, and addresses (a function from a name to an address).
sub cluster_nodes {
    my ($count, %options) = @_;
    my @names = ('a' .. 'l')[ 0 .. $count - 1 ];
    my $folder = PostgreSQL::Test::Utils::tempdir_short();
    my $address = $options{address} // sub { "$folder/$_[0].sock" };
    my $nodes = join ', ', map { "$_=" . $address->($_) } @names;
    my $settings = $options{settings} // '';
    my @nodes;
    for my $name (@names) {
        push @nodes, ledger_node($name, settings => <<"CONF");
ledger.node_name = '$name'
ledger.nodes = '$nodes'
ledger.wal_size = 64MB
ledger.quorum_wait = 180s
$settings
CONF
    }
    return @nodes;
}

# Starts them, and makes one cluster of them.
sub cluster_form {
    my (@nodes) = @_;
    for my $node (@nodes) {
        $node->start;
        $node->safe_psql('postgres', 'CREATE EXTENSION ledger');
    }
    my ($first, @more) = @nodes;
    value($first, 'SELECT ledger.cluster_create()');
    add_member($_->name, @nodes) for @more;
    return wait_formed(@nodes);
}

# Asks the primary, whoever that is now: on a busy machine it may change meanwhile, and then whoever asked is told so.
sub add_member {
    my ($name, @nodes) = @_;
    my $error = '';
    return 1 if eval {
        wait_for("$name is a member", sub {
            my $primary = primary_of(@nodes) // return 0;
            my ($code, $out) = asked($primary, "SELECT role FROM ledger.cluster WHERE name = '$name'");
            return 1 if $code == 0 && $out eq 'voter';
            $error = error_of($primary, "SELECT ledger.cluster_add('$name')") if $code == 0 && $out eq 'guest';
            return 0;
        });
    };
    die "$@ $error";
}

# All vote and can be reached, as each of them sees it.
sub wait_formed {
    my (@nodes) = @_;
    my $count = @nodes;
    for my $node (@nodes) {
        my $query = "SELECT count(*) FROM ledger.cluster WHERE role = 'voter' AND state IN ('primary', 'backup')";
        wait_for(
            'all members at ' . $node->name,
            sub {
                my ($code, $out) = asked($node, $query);
                return $code == 0 && $out eq $count;
            });
    }
    return 1;
}

# The node that is the primary, as one of them says that it is itself.
sub primary_of {
    my (@nodes) = @_;
    for my $node (@nodes) {
        my ($code, $out) = asked($node, 'SELECT role FROM ledger.status');
        return $node if $code == 0 && $out eq 'primary';
    }
    return;
}

sub wait_primary {
    my (@nodes) = @_;
    my $primary;
    wait_for('a primary', sub { defined($primary = primary_of(@nodes)) });
    return $primary;
}

sub others_of {
    my ($node, @nodes) = @_;
    return grep { $_->name ne $node->name } @nodes;
}

# Has another node become the primary, and returns it. Nobody has to take over: if none has, the same one is it again, and may
# be asked again.
sub step_down {
    my (@nodes) = @_;
    my $primary = wait_primary(@nodes);
    my $asked = 0;
    my $next;
    wait_for('another primary', sub {
        $next = primary_of(@nodes) // return 0;
        return 1 if $next->name ne $primary->name;
        return 0 if time - $asked < 5;
        $asked = time;
        error_of($primary, 'SELECT ledger.cluster_step_down()');
        return 0;
    });
    return $next;
}

# ---- Load --------------------------------------------------------------------------------------------

my $NUMBERS = 10_000_000;
my $first = $NUMBERS;

# A session at each of these nodes that writes transfers until it is stopped, and goes on after an error. Each has had some
# acknowledged.
sub start_writers {
    my (@at) = @_;
    my @writers;
    for my $node (@at) {
        push @writers, writer_start($node, transfer_sql('#', 1) =~ s/^SELECT /SELECT # FROM /r, $first, on_error_stop => 0);
        $first += $NUMBERS;
    }
    wait_acknowledged(20, @writers);
    return @writers;
}

# They have seen no error, whatever happened to other nodes.
sub writers_ok {
    my ($name, @writers) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(join('', map { slurp_file($_->{err}) } @writers), '', $name);
}

# ---- What must be so ---------------------------------------------------------------------------------

# What a killed session asked for last may be carried out between two reads. Then the first node shows more in the end than in
# the beginning, and nothing follows from what was read between; nobody asks for more, so that has an end.
sub is_same_everywhere {
    my ($name, @nodes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my (@seen, $balanced);
    wait_for('reads of one state', sub {
        @seen = map { value($_, balances_sql()) } @nodes;
        $balanced = value($nodes[0], balanced_sql());
        return value($nodes[0], balances_sql()) eq $seen[0];
    });
    my $first = shift @seen;
    my $same = is($_, $first, $name) for @seen;
    return is($balanced, 't|t|t', "$name, and balanced");
}

# Nothing that was acknowledged is lost.
sub has_acknowledged {
    my ($node, $name, @writers) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my @numbers = map { acknowledged($_) } @writers;
    my %there = map { $_ => 1 } split /\n/, value($node, 'SELECT ledger.id_numeric(id) FROM ledger.transfers');
    my @lost = grep { !$there{$_} } @numbers;
    return is("@lost", '', "$name: " . @numbers . ' acknowledged');
}

1;
