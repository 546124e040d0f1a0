# SPDX-License-Identifier: PostgreSQL
#
# Links between three nodes that stand still one way or both, or are cut, by a proxy between them: who can work works, who
# can't waits, and goes on when the link is back. Nothing that was acknowledged is lost.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use constant RANDOM_ROUNDS => 25;

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my @names = qw(a b c);
my $proxy = IPC::Run::start(
    [$^X, '-I', dirname(abs_path(__FILE__)), '-MClusterProxy', '-e', 'proxy_run(@ARGV)', $folder, @names]);

# Each node reaches the others through the proxy, and listens where that finds it.
my @nodes;
for my $name (@names) {
    my $list = join ', ', map { $_ eq $name ? "$_=$folder/$_.sock" : "$_=$folder/$name-$_.sock" } @names;
    push @nodes, ledger_node($name, settings => <<"CONF");
ledger.node_name = '$name'
ledger.nodes = '$list'
ledger.wal_size = 64MB
ledger.failover_timeout = 1s
ledger.quorum_wait = 0
CONF
}
my ($node_a, $node_b, $node_c) = @nodes;

# All at once, so that the proxy reads no half of it.
sub faults {
    my (@lines) = @_;
    unlink "$folder/faults.new";
    append_to_file("$folder/faults.new", join '', map { "$_\n" } @lines);
    rename "$folder/faults.new", "$folder/faults" or die $!;
    return;
}

# Ends the faults: all three must go on, and nothing may be lost.
sub heal {
    my ($what, @writers) = @_;
    faults();
    wait_acknowledged(10, @writers);
    writer_stop(@writers);
    writers_ok("$what: nobody has seen more of it than time", @writers);
    wait_formed(@nodes);
    has_acknowledged($_, $what, @writers) for @nodes;
    return is_same_everywhere($what, @nodes);
}

# The names of the primary and of the two others.
sub parties {
    my $primary = wait_primary(@nodes);
    my @others = others_of($primary, @nodes);
    return ($primary, @others);
}

faults();
wait_for('the proxy', sub { -e "$folder/c-b.sock" });
cluster_form(@nodes);
create_two_accounts($node_a);
is(value($node_b, transfer_sql(1, 10)), 'created', 'through the proxy it works');

# ---- The primary isn't heard, but hears --------------------------------------------------------------

my ($primary, @others) = parties();
my @writers = start_writers($primary, @others);
faults(map { 'stall ' . $primary->name . ' ' . $_->name } @others);
wait_acknowledged(50, @writers[ 1, 2 ]);
isnt(wait_primary(@others)->name, $primary->name, 'who is not heard is replaced');
heal('the primary was not heard', @writers);

# ---- The primary hears nobody, but is heard ----------------------------------------------------------

($primary, @others) = parties();
@writers = start_writers($primary, @others);
faults(map { 'stall ' . $_->name . ' ' . $primary->name } @others);
wait_acknowledged(50, @writers[ 1, 2 ]);
isnt(wait_primary(@others)->name, $primary->name, 'who hears nobody resigns');
heal('the primary was deaf', @writers);

# ---- The primary is cut off --------------------------------------------------------------------------

($primary, @others) = parties();
@writers = start_writers($primary, @others);
faults(map { 'cut ' . $primary->name . ' ' . $_->name } @others);
wait_acknowledged(50, @writers[ 1, 2 ]);
isnt(wait_primary(@others)->name, $primary->name, 'who is cut off is replaced');
like(error_of($primary, q{SET ledger.quorum_wait = '1s'; SELECT * FROM ledger.accounts}), qr/57P03: no ledger primary: 1 of 3 nodes can be reached/, 'and reads nothing old');
heal('the primary was cut off', @writers);

# ---- Two nodes can't reach each other ----------------------------------------------------------------

($primary, @others) = parties();
@writers = start_writers($primary, @others);
faults('cut ' . $primary->name . ' ' . $others[0]->name);
wait_acknowledged(50, $writers[2]);
heal('two nodes could not reach each other', @writers);

# ---- All are parted ----------------------------------------------------------------------------------

@writers = start_writers(@nodes);
faults('cut a b', 'cut a c', 'cut b c');
# What was on its way has come when each node knows that it is alone, and its writer waits again.
for my $node (@nodes) {
    wait_for('a part of one node', sub { status_of($node, q{coalesce(message, '') || coalesce(detail, '')}) =~ /has no quorum.*1 of 3/ });
    wait_waiting($node, 'create_transfer', 1);
}
my @before = map { scalar(my @numbers = acknowledged($_)) } @writers;
sleep 2;
is_deeply([map { scalar(my @numbers = acknowledged($_)) } @writers], \@before, 'three parts of one node each acknowledge nothing');
heal('all were parted', @writers);

# ---- At random ---------------------------------------------------------------------------------------

my $seed = $ENV{LEDGER_TEST_SEED} // int(time) % 1_000_000;
srand $seed;
@writers = start_writers(@nodes);
for my $round (1 .. RANDOM_ROUNDS) {
    my @lines;
    for my $from (@names) {
        for my $to (grep { $_ ne $from } @names) {
            push @lines, "stall $from $to" if rand() < 0.2;
            push @lines, "cut $from $to" if rand() < 0.05;
        }
    }
    faults(@lines);
    sleep rand 1;
}
heal("seed $seed", @writers);

$_->stop for @nodes;
$proxy->signal('KILL');
eval { $proxy->finish };
done_testing();
