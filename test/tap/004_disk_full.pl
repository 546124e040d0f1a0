# SPDX-License-Identifier: PostgreSQL
#
# No space. The limit of file sizes (RLIMIT_FSIZE) stands for a full disk: a server whose files may not grow beyond it
# gets EFBIG, which the engine treats as it treats ENOSPC and EDQUOT, and it can be raised while the server runs.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    BATCH_EVENTS => 8190,
    LIMIT_CREATION_KB => 20 * 1024,    # Less than ledger.wal_size, more than a segment of PostgreSQL's own log.
    BATCHES_MAX => 200,
};

plan skip_all => 'prlimit is not here' if system('command -v prlimit > /dev/null') != 0;

my $node = ledger_node('main', settings => 'ledger.memory = 512MB');
my $directory = ledger_directory($node);

# Only the soft limit, which its owner may raise again. The server ignores SIGXFSZ.
sub start_limited {
    my ($limit_kb) = @_;
    system_or_bail('bash', '-c', 'ulimit -S -f "$0"; exec "$@"', $limit_kb,
        'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start');
    $node->_update_pid(1);
    return;
}

sub raise_limit {
    my ($pid) = @_;
    return system_or_bail('prlimit', '--pid', $pid, '--fsize=unlimited');
}

# ---- Creation ----------------------------------------------------------------------------------------

start_limited(LIMIT_CREATION_KB);
my $error = error_of($node, 'CREATE EXTENSION ledger');
like($error, qr/WARNING:.*no ledger was created/, 'creation: the extension is there, and no ledger');
is(status_of($node, 'role'), 'none', 'creation: role none');
like($error, qr/Could not allocate and zero "[^"]+\/prepares\.wal": File too large/, 'creation: says which file');
like($error, qr/HINT:  Make room .*, or decrease ledger\.wal_size/, 'creation: hint');
ok(!-e $directory && !-e "$directory.new", 'creation: no directory is left behind');
ok(!-e $node->data_dir . '/ledger.identity', 'creation: no identity is left behind');
like(error_of($node, 'SELECT ledger.create_ledger()'), qr/ERROR:  53100: could not create a ledger/, 'creation: 53100');
ok(!-e $directory && !-e "$directory.new", 'creation: nothing is left behind again');
raise_limit(worker_pid($node));
like(value($node, 'SELECT ledger.create_ledger()'), qr/^[0-9a-f-]{36}$/, 'creation: with room, it is made');
wait_role($node, 'primary');
is(value($node, 'SELECT count(*) FROM ledger.accounts'), 0, 'creation: and is empty');
create_two_accounts($node);
$node->stop;

# ---- Growth ------------------------------------------------------------------------------------------

# All files may be as large as the grid is now; its next growth does not fit.
start_limited((-s "$directory/grid") / 1024);
wait_role($node, 'primary');

my $acknowledged = 0;
$error = '';
while ($error eq '' && $acknowledged < BATCHES_MAX) {
    $error = error_of($node, batch_sql(1 + $acknowledged * BATCH_EVENTS, BATCH_EVENTS, 3));
    $acknowledged += 1 if $error eq '';
}
cmp_ok($acknowledged, '>', 5, "growth: $acknowledged batches fit");
like($error, qr/ERROR:  53100: no space left for the ledger's files/, 'growth: then it is refused');
like($error, qr/DETAIL:  The request took no effect/, 'growth: what became of it');
like($error, qr/HINT:  Make room in the file system/, 'growth: hint');

my $worker = worker_pid($node);
my $transfers = $acknowledged * BATCH_EVENTS;
is(value($node, 'SELECT debits_posted FROM ledger.accounts WHERE id = ledger.id(1)'),
    3 * $transfers, 'full: balances can be read');
is(value($node, 'SELECT count(*), sum(amount) FROM ledger.transfers'),
    $transfers . '|' . 3 * $transfers, 'full: all that was acknowledged is there, and nothing else');
my $refused_sql = batch_sql(1 + $acknowledged * BATCH_EVENTS, BATCH_EVENTS, 3);
like(error_of($node, $refused_sql), qr/53100: /, 'full: refused again');
is(worker_pid($node), $worker, 'full: the worker goes on');

raise_limit($worker);
is(value($node, $refused_sql), 'created|' . BATCH_EVENTS, 'room again: the same batch is created');
is(worker_pid($node), $worker, 'room again: by the same worker');
$transfers += BATCH_EVENTS;
is(value($node, 'SELECT count(*), sum(amount) FROM ledger.transfers'),
    $transfers . '|' . 3 * $transfers, 'room again: nothing is lost');
wait_for('a checkpoint', sub { status_of($node, 'checkpoint_op') > 0 });
pass('room again: the checkpoint is made');
$node->stop;
$node->start;
wait_role($node, 'primary');
is(value($node, 'SELECT count(*), sum(amount) FROM ledger.transfers'),
    $transfers . '|' . 3 * $transfers, 'after a restart: nothing is lost');
is_balanced($node, 'after a restart: balances are those of the transfers');

$node->stop;
done_testing();
