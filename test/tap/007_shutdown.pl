# SPDX-License-Identifier: PostgreSQL
#
# Shutdowns under load, with a worker that stands still, and while a long log is replayed; a worker that ends answers
# those who wait; memory that is too small, or as small as possible.
use strict;
use warnings FATAL => 'all';

use File::Spec;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    SESSIONS => 4,
    WRITER_NUMBERS => 1_000_000,    # More than a session gets to.
    ACKNOWLEDGED_MIN => 50,
    BATCH_EVENTS => 8190,
    MEMORY_BATCHES => 60,
    REPLAY_BATCHES => 40,
};

my $node = ledger_node('main');
ledger_setup($node);
create_two_accounts($node);
my $next = 1;
# Signal 9 is what a server sends to processes that don't end in time.
my $crash = qr/PANIC|TRAP|terminated by signal (?!9\b)/;

# Writes until somebody ends it.
sub start_load {
    my @writers;
    for (1 .. SESSIONS) {
        push @writers, writer_start($node, transfer_sql('#', 1) =~ s/^SELECT /SELECT # FROM /r, $next);
        $next += WRITER_NUMBERS;
    }
    wait_acknowledged(ACKNOWLEDGED_MIN, @writers);
    return @writers;
}

sub finish_load {
    my (@writers) = @_;
    writer_stop(@writers);
    return map { acknowledged($_) } @writers;
}

sub check_acknowledged {
    my ($name, @acknowledged) = @_;
    my %there = map { $_ => 1 } split /\n/, value($node, 'SELECT ledger.id_numeric(id) FROM ledger.transfers');
    my @lost = grep { !$there{$_} } @acknowledged;
    cmp_ok(scalar @acknowledged, '>=', SESSIONS * ACKNOWLEDGED_MIN, "$name: transfers were acknowledged");
    is("@lost", '', "$name: all that was acknowledged is there");
    return is_balanced($node, "$name: balances are those of the transfers");
}

# ---- Shutdown under load -----------------------------------------------------------------------------

for my $mode ('fast', 'immediate') {
    my @writers = start_load();
    my $position = log_position($node);
    $node->stop($mode);
    my @acknowledged = finish_load(@writers);
    unlike(log_since($node, $position), $crash, "$mode: nothing crashed");
    $node->start;
    wait_role($node, 'primary');
    check_acknowledged($mode, @acknowledged);
}

# ---- Shutdown while the worker stands still ----------------------------------------------------------

# Fast: it has to wait for the worker, which does what it was asked once it goes on.
my $worker = worker_pid($node);
my $id = $next++;
kill 'STOP', $worker or die $!;
my $waiting = session($node, transfer_sql($id, 1));
wait_waiting($node, 'create_transfer', 1);
system_or_bail('pg_ctl', '-D', $node->data_dir, '-m', 'fast', '-W', 'stop');
my ($out, $err) = session_finish($waiting);
like($err, qr/57P01: terminating connection due to administrator command/,
    'fast, worker stopped: the session ends at once');
like($err, qr/The outcome of the ledger request is unknown/, 'fast, worker stopped: the outcome is unknown');
kill 'CONT', $worker or die $!;
wait_gone($worker);
wait_for('end of the server', sub { !-e $node->data_dir . '/postmaster.pid' });
$node->_update_pid(0);
$node->start;
wait_role($node, 'primary');
like(value($node, transfer_sql($id, 1)), qr/^(created|exists)$/, 'fast, worker stopped: a retry answers');

$worker = worker_pid($node);
kill 'STOP', $worker or die $!;
$node->stop('immediate');
wait_gone($worker);
pass('immediate, worker stopped: ends');
$node->start;
wait_role($node, 'primary');
is(value($node, transfer_sql($id, 1)), 'exists', 'immediate, worker stopped: nothing is lost');

# ---- The worker ends, and those who wait are told (K4) -----------------------------------------------

$worker = worker_pid($node);
my $server_started = value($node, 'SELECT pg_postmaster_start_time()');
kill 'STOP', $worker or die $!;
my @ids = ($next .. $next + SESSIONS - 1);
$next += SESSIONS;
my @waiting = map { session($node, transfer_sql($_, 1)) } @ids;
wait_waiting($node, 'create_transfer', SESSIONS);
kill 'TERM', $worker or die $!;
kill 'CONT', $worker or die $!;
for my $session (@waiting) {
    ($out, $err) = session_finish($session);
    ok(
        $out =~ /^(created|exists)$/
            || $err =~ /ERROR:  (57P03: ledger engine is not running|08007: the ledger engine stopped)/,
        'worker ends: who waited has an answer or an error')
        or diag("out: $out, err: $err");
}
wait_gone($worker);
wait_role($node, 'primary');
isnt(worker_pid($node), $worker, 'worker ends: there is a new one');
is(value($node, 'SELECT pg_postmaster_start_time()'), $server_started, 'worker ends: the server goes on');
like(value($node, transfer_sql($_, 1)), qr/^(created|exists)$/, 'worker ends: a retry answers') for @ids;
is_balanced($node, 'worker ends: balances are those of the transfers');

my @writers = start_load();
$worker = worker_pid($node);
kill 'TERM', $worker or die $!;
wait_gone($worker);
wait_role($node, 'primary');
my @acknowledged = finish_load(@writers);
check_acknowledged('worker ends under load', @acknowledged);
$node->stop;

# ---- Shutdown during replay --------------------------------------------------------------------------

# Each read of the log takes three seconds: to replay it all would take two minutes at least.
my $library = "$ENV{LEDGER_TEST_BIN}/file_faults.so";
SKIP: {
    skip 'file_faults.so is not built', 1 unless -e $library;
    my $faults = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir()) . '/faults';
    local $ENV{LD_PRELOAD} = $library;
    local $ENV{FILE_FAULTS} = $faults;
    $node = ledger_node('replay', settings => "ledger.io_method = sync\nledger.wal_size = 256MB");
    ledger_setup($node);
    create_two_accounts($node);
    value($node, batch_sql(1 + $_ * BATCH_EVENTS, BATCH_EVENTS, 3)) for 0 .. REPLAY_BATCHES - 1;
    my $balances = value($node, balances_sql());
    kill_postmaster($node);

    my %ends = (
        'a fast shutdown' => sub { $node->stop('fast') },
        'SIGTERM for the worker' => sub { kill 'TERM', $_[0] },
        'the postmaster is killed' => sub { kill_postmaster($node) },
    );
    for my $name (sort keys %ends) {
        append_to_file($faults, "read /prepares.wal slow 3000\n");
        my $position = log_position($node);
        $node->start;
        wait_for('a worker that opens', sub {
            my ($pid) = worker_pid($node);
            return $pid ne '' && status_of($node, 'role') eq 'opening';
        });
        $worker = worker_pid($node);
        sleep 2;
        my $begun = time;
        $ends{$name}->($worker);
        wait_gone($worker);
        cmp_ok(time - $begun, '<', 60, "replay, $name: it ends soon");
        unlike(log_since($node, $position), qr/engine opened/, "replay, $name: in the middle of it");
        unlike(log_since($node, $position), $crash, "replay, $name: nothing crashed");
        unlink $faults;
        $node->start if $name ne 'SIGTERM for the worker';
        wait_role($node, 'primary');
        is(value($node, balances_sql()), $balances, "replay, $name: the next start has it all");
        kill_postmaster($node);
    }
    $node->start;
    wait_role($node, 'primary');
    is(value($node, transfer_sql(1 + BATCH_EVENTS * REPLAY_BATCHES, 3)), 'created', 'replay: and works on');
    is_balanced($node, 'replay: balances are those of the transfers');
    $node->stop;
}

# ---- Memory ------------------------------------------------------------------------------------------

$node = ledger_node('memory', settings => 'ledger.memory = 64MB');
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION ledger');
wait_role($node, 'refused');
my $error = error_of($node, transfer_sql(1, 1));
like($error, qr/57P03: ledger engine is not running/, 'memory too small: refused');
my ($needed) = $error =~ /ledger\.memory is too small for this ledger\. It is 64 MB; at least (\d+) MB are needed/;
cmp_ok($needed, '>', 64, "memory too small: says how much is needed: $needed MB");
like($error, qr/HINT:  Increase ledger\.memory and restart the server\. Nothing is lost/, 'memory too small: hint');
$node->stop;

# One less is refused with the same number.
$node->append_conf('postgresql.conf', 'ledger.memory = ' . ($needed - 1) . 'MB');
$node->start;
wait_role($node, 'refused');
like(error_of($node, transfer_sql(1, 1)), qr/at least $needed MB are needed/, 'memory too small by one: the same number');
$node->stop;

# Exactly what it asks for is enough, also for more data than that.
$node->append_conf('postgresql.conf', "ledger.memory = ${needed}MB");
$node->start;
wait_role($node, 'primary');
create_two_accounts($node);
my $transfers = MEMORY_BATCHES * BATCH_EVENTS;
for my $batch (0 .. MEMORY_BATCHES - 1) {
    my $created = value($node, batch_sql(1 + $batch * BATCH_EVENTS, BATCH_EVENTS, 3));
    is($created, 'created|' . BATCH_EVENTS, "least memory: batch $batch") if $created ne 'created|' . BATCH_EVENTS;
}
is(value($node, 'SELECT debits_posted FROM ledger.accounts WHERE id = ledger.id(1)'),
    3 * $transfers, "least memory: $transfers transfers");
$node->stop;
$node->start;
wait_role($node, 'primary');
is(value($node, 'SELECT count(*), sum(amount) FROM ledger.transfers'),
    $transfers . '|' . 3 * $transfers, 'least memory: it starts again with it, and nothing is lost');
is_balanced($node, 'least memory: balances are those of the transfers');
$node->stop;

# Memory is what an engine works with, no property of the ledger: any other amount will do, but for too little.
$node->append_conf('postgresql.conf', 'ledger.memory = 64MB');
$node->start;
wait_role($node, 'refused');
like(error_of($node, transfer_sql(1, 1)), qr/ledger\.memory is too small for this ledger/, 'too small again: refused');
$node->stop;
$node->append_conf('postgresql.conf', 'ledger.memory = ' . ($needed + 256) . 'MB');
$node->start;
wait_role($node, 'primary');
is(value($node, 'SELECT count(*) FROM ledger.transfers'), $transfers, 'and large enough again: nothing is lost');
is(value($node, batch_sql(1 + $transfers, BATCH_EVENTS, 3)), 'created|' . BATCH_EVENTS, 'and writes go on');
$node->stop;

done_testing();
