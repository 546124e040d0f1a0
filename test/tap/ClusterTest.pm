# SPDX-License-Identifier: PostgreSQL
#
# What the tests of clusters share: several servers that are nodes of one ledger, and sessions that write at each of them.
package ClusterTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use IPC::Run;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  cluster_nodes cluster_form wait_formed wait_members wait_primary primary_of others_of
  start_writer acknowledged wait_acknowledged stop_writers writers_ok
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
    for my $node (@more) {
        my $name = $node->name;
        wait_for("guest $name",
            sub { value($first, "SELECT count(*) FROM ledger.cluster WHERE name = '$name'") == 1 });
        value($first, "SELECT ledger.cluster_add('$name')");
    }
    return wait_formed(@nodes);
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
                my ($code, $out) = eval { $node->psql('postgres', $query) };
                return defined $code && $code == 0 && $out eq $count;
            });
    }
    return 1;
}

# At this node, the members and what they are.
sub wait_members {
    my ($node, $expected) = @_;
    my $query = "SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM ledger.cluster";
    return wait_for("members $expected", sub { value($node, $query) eq $expected });
}

# The node that is the primary, as one of them says that it is itself.
sub primary_of {
    my (@nodes) = @_;
    for my $node (@nodes) {
        my ($code, $out) = eval { $node->psql('postgres', 'SELECT role FROM ledger.status') };
        return $node if defined $code && $code == 0 && $out eq 'primary';
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

# ---- Load --------------------------------------------------------------------------------------------

my $folder;
my $count = 0;

# A session that writes transfers, from $first on, and prints the number of each that was acknowledged.
sub start_writer {
    my ($node, $first, $transfers) = @_;
    $folder //= PostgreSQL::Test::Utils::tempdir();
    $count += 1;
    my $writer = {node => $node, out => "$folder/$count.out", err => "$folder/$count.err"};
    append_to_file("$folder/$count.sql",
        join '', map { "SELECT $_ FROM " . (transfer_sql($_, 1) =~ s/^SELECT //r) . "\n" } $first .. $first + $transfers - 1);
    append_to_file($_, '') for $writer->{out}, $writer->{err};
    $writer->{run} = IPC::Run::start(
        ['psql', '-XAtq', '-d', $node->connstr('postgres'), '-f', "$folder/$count.sql"],
        '>', $writer->{out}, '2>', $writer->{err});
    return $writer;
}

# A line that a killed psql has not finished is no acknowledgement.
sub acknowledged {
    my ($writer) = @_;
    return slurp_file($writer->{out}) =~ /^(\d+)\n/mg;
}

# Until each of them has got so many more.
sub wait_acknowledged {
    my ($more, @writers) = @_;
    for my $writer (@writers) {
        my $before = () = acknowledged($writer);
        wait_for(
            "$more acknowledgements at " . $writer->{node}->name,
            sub {
                my $now = () = acknowledged($writer);
                return $now >= $before + $more;
            });
    }
    return;
}

sub stop_writers {
    my (@writers) = @_;
    for my $writer (@writers) {
        $writer->{run}->signal('KILL');
        eval { $writer->{run}->finish };
    }
    return;
}

# They have seen no error, whatever happened to other nodes.
sub writers_ok {
    my ($name, @writers) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(join('', map { slurp_file($_->{err}) } @writers), '', $name);
}

# ---- What must be so ---------------------------------------------------------------------------------

sub is_same_everywhere {
    my ($name, @nodes) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($first, @more) = map { value($_, balances_sql()) } @nodes;
    my $same = is($first, $_, $name) for @more;
    return is_balanced($nodes[0], "$name, and balanced");
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
