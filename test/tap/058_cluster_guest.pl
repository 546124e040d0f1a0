# SPDX-License-Identifier: PostgreSQL
#
# A node that waits to be let in: what keeps it from being a member is said, at it and at the members, before it is let in
# where that is possible. One that was let in and has no directory is seen as lost, and let in anew.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use IO::Socket::UNIX;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = PostgreSQL::Test::Utils::tempdir_short();
my $nodes = join ', ', map { "$_=$folder/$_.sock" } qw(x y);
my ($x, $y) = map { ledger_node($_, settings => "ledger.nodes = '$nodes'\nledger.wal_size = 64MB") } qw(x y);
$_->append_conf('postgresql.conf', "ledger.node_name = '" . $_->name . "'") for $x, $y;

sub guests_of_x {
    return value($x, q{SELECT string_agg(name, ' ') FROM ledger.cluster WHERE state = 'guest'});
}

# Starts or restarts y with this line, and waits for its role.
sub y_with {
    my ($line, $role) = @_;
    $y->append_conf('postgresql.conf', $line);
    $y->restart;
    wait_role($y, $role);
    return status_of($y, q{message || ' / ' || detail || ' / ' || hint});
}

cluster_form($x);
create_two_accounts($x);
$y->start;
value($y, 'CREATE EXTENSION ledger');

# ---- What is wrong with it ---------------------------------------------------------------------------

like(y_with(q{ledger.node_name = 'Y 1'}, 'refused'), qr{a node cannot have the name "Y 1" / A name has 1 to 31 of the characters .* / Correct ledger\.node_name}, 'a name that no node can have');
like(y_with("ledger.node_name = 'y'\nledger.memory = 140MB", 'refused'), qr{too small}, 'a guest with too little memory for a member');
like(y_with("ledger.memory = 256MB\nledger.wal_size = 32MB", 'guest'), qr{this server is not a member of the ledger's cluster yet / It is node "y", and has no ledger\.}, 'a guest with a log of another size');
wait_for('why it reaches nobody', sub { status_of($y, 'detail') =~ /It is node "y", and has no ledger\. No connection with node "x": .*ledger\.wal_size.*\.$/ });
is(guests_of_x(), '', 'none of them is a guest at x');
like(y_with('ledger.wal_size = 64MB', 'guest'), qr{It is node "y", and has no ledger\. /}, 'a guest as it should be');
wait_for('the guest at x', sub { guests_of_x() eq 'y' });

# ---- A ledger of its own, by mistake -----------------------------------------------------------------

like(error_of($y, 'SELECT ledger.cluster_create()'), qr/55000: could not create a ledger: node "x" of ledger\.nodes has a ledger already.*DETAIL:  This server is node "y"\..*HINT:  Call ledger\.cluster_add\('y'\) at a member of that ledger\./s, 'a guest that reaches a member makes no ledger');
$y->restart;
like(error_of($y, 'SELECT ledger.cluster_create()'), qr/55000: could not create a ledger: node "x" of ledger\.nodes has a ledger already/, 'nor one that has just started');
is(status_of($y, 'role'), 'guest', 'it stays a guest');
wait_for('the guest at x', sub { guests_of_x() eq 'y' });
is(guests_of_x(), 'y', 'at x too');

# ---- Somebody has its address ------------------------------------------------------------------------

$y->stop;
my $squatter = IO::Socket::UNIX->new(Local => "$folder/y.sock", Listen => 5) or die $!;
my $position = log_position($y);
$y->start;
wait_role($y, 'refused');
like(status_of($y, 'detail'), qr{Could not listen at "$folder/y\.sock": it is in use\.}, 'an address that is in use');
my $worker = worker_pid($y);
# Each time that it tries, it looks whether somebody is there.
for my $try (1, 2) {
    my $caller = $squatter->accept or die $!;
    close $caller;
}
close $squatter;
unlink "$folder/y.sock" or die $!;
wait_role($y, 'guest');
is(worker_pid($y), $worker, 'it tries again by itself');
my @lines = log_since($y, $position) =~ /LOG:  ledger engine does not start: ledger node "y" cannot use its network/g;
is(scalar @lines, 1, 'and tells that once');

# ---- Let in, and gone --------------------------------------------------------------------------------

wait_for('the guest at x', sub { guests_of_x() eq 'y' });
# It does not hear that it was let in.
$worker = worker_pid($y);
$position = log_position($x);
kill 'STOP', $worker;
value($x, q{SELECT ledger.cluster_add('y')});
kill 'KILL', $worker;
wait_for('y is lost, and a guest',
    sub { value($x, q{SELECT string_agg(role || ' ' || state, ', ' ORDER BY role) FROM ledger.cluster WHERE name = 'y'}) eq 'guest guest, standby lost' });
wait_for('a line of the log',
    sub { log_since($x, $position) =~ /LOG:  node "y" is a member of the ledger's cluster, but its server has no ledger\n.*DETAIL: .*\n.*HINT:  .*ledger\.cluster_remove\('y'\), then ledger\.cluster_add\('y'\)/ });
is(value($x, transfer_sql(1, 10)), 'created', 'the others go on');
like(error_of($x, q{SELECT ledger.cluster_add('y')}), qr/42710: .*HINT:  If it has lost its directory, remove it first/s, 'it is not added twice');
value($x, q{SELECT ledger.cluster_remove('y')});
wait_for('y is a guest alone', sub { value($x, q{SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM ledger.cluster}) eq 'x primary, y guest' });
value($x, q{SELECT ledger.cluster_add('y')});
wait_formed($x, $y);
is(value($y, transfer_sql(1, 10)), 'exists', 'it is let in anew');
is_same_everywhere('at the end', $x, $y);

# ---- A voter that has lost its directory -------------------------------------------------------------

$y->stop;
rename ledger_directory($y), ledger_directory($y) . '.away' or die $!;
rename $y->data_dir . '/ledger.identity', $y->data_dir . '/ledger.away' or die $!;
$y->start;
wait_role($y, 'guest');
wait_for('y is lost', sub { value($x, q{SELECT count(*) FROM ledger.cluster WHERE name = 'y' AND role = 'voter' AND state = 'lost'}) == 1 });
is(value($x, q{SELECT address IS NOT NULL AND view IS NULL AND op IS NULL FROM ledger.cluster WHERE state = 'lost'}), 't', 'what it does is not known');
$y->stop;
rename ledger_directory($y) . '.away', ledger_directory($y) or die $!;

# ---- One that has lost its identity ------------------------------------------------------------------

$y->start;
wait_role($y, 'refused');
like(status_of($y, q{message || ' / ' || detail || ' / ' || hint}), qr{is that of a cluster's member, and this PGDATA isn't its own / There is no file .* It is of node "y"\. A member's directory can't be adopted: .* / Restore ledger\.identity .*ledger\.cluster_remove\('y'\).*ledger\.cluster_add\('y'\)}, 'a directory of a member without its PGDATA');
my $ledger = value($x, 'SELECT ledger FROM ledger.status');
like(error_of($y, "SELECT ledger.adopt('$ledger')"), qr/55000: .*is that of a cluster's member.*DETAIL:  A member's directory can't be adopted/s, 'and it is not adopted');
$y->stop;
rename $y->data_dir . '/ledger.away', $y->data_dir . '/ledger.identity' or die $!;
$y->start;
wait_formed($x, $y);
is(value($y, transfer_sql(2, 10)), 'created', 'with its directory it is a member as before');

$_->stop for $x, $y;
done_testing();
