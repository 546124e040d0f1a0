# SPDX-License-Identifier: PostgreSQL
#
# A member whose disk is full: the other one goes on, calls at it end after ledger.quorum_wait and say why, and with room
# it is as before. The limit of file sizes stands for a full disk (004_disk_full.pl).
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant BATCHES_MAX => 50;

plan skip_all => 'prlimit is not here' if system('command -v prlimit > /dev/null') != 0;

my ($x, $y) = cluster_nodes(2);
cluster_form($x, $y);
create_two_accounts($x);
value($x, transfer_sql(1, 10));

my $worker = worker_pid($y);
sub limit_files {
    my ($limit) = @_;
    return system_or_bail('prlimit', '--pid', $worker, "--fsize=$limit:unlimited");
}

limit_files(-s ledger_directory($y) . '/grid');
my $batches = 0;
while (status_of($y, 'role') ne 'no_room' && $batches < BATCHES_MAX) {
    value($x, batch_sql(1000 + $batches * 8190, 8190, 1));
    $batches += 1;
}
cmp_ok($batches, '<', BATCHES_MAX, "after $batches batches a member has no room");
like(status_of($y, 'message'), qr/this node has no room/, 'and says so');
is(value($x, transfer_sql(2, 10)), 'created', 'the other one goes on');

my $soon = q{SET ledger.quorum_wait = '1s'; };
like(error_of($y, $soon . transfer_sql(3, 10)), qr/08007: this node has no room for what the ledger's cluster has committed.*DETAIL:  .*unknown/s, 'a write that was sent: its outcome is unknown');
like(error_of($y, $soon . 'SELECT count(*) FROM ledger.accounts'), qr/53000: this node has no room for .*DETAIL:  The request took no effect.*HINT:  Increase ledger\.memory .* or make room/s, 'a read says what is missing');
is(value($y, q{SET ledger.read_consistency = local; SELECT count(*) FROM ledger.accounts}), 2, 'what it has can be read');
like(error_of($y, q{SET ledger.quorum_wait = 0; SET statement_timeout = '1s'; } . transfer_sql(4, 10)), qr/57014/, 'a wait without an end is cancelled');
is(worker_pid($y), $worker, 'it is the same worker');

limit_files('unlimited');
is(value($y, transfer_sql(3, 10)), 'exists', 'with room it goes on by itself, and what was sent is there once');
wait_formed($x, $y);
is_same_everywhere('at the end', $x, $y);

$_->stop for $x, $y;
done_testing();
