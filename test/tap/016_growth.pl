# SPDX-License-Identifier: PostgreSQL
#
# The grid file grows by a thread beside everything else: killed at each of its steps, refused, failing, slow, and while
# the server is stopped. Whatever becomes of it, all that was acknowledged is there, and the next growth is made.
use strict;
use warnings FATAL => 'all';

use File::Spec;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use constant {
    BATCH_EVENTS => 8190,
    BATCHES_MAX => 100,    # A growth comes after some sixteen of them.
    SLOW_MS => 4000,
    BLOCK_SIZE => 16384,
};

my $library = "$ENV{LEDGER_TEST_BIN}/file_faults.so";
plan skip_all => 'file_faults.so is not built' unless -e $library;

my $faults = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir()) . '/faults';
local $ENV{LD_PRELOAD} = $library;
local $ENV{FILE_FAULTS} = $faults;

my ($node, $grid);
my $transfers = 0;    # Acknowledged, with ids from 1 on.

sub write_batch {
    my $error = error_of($node, batch_sql(1 + $transfers, BATCH_EVENTS, 3));
    $transfers += BATCH_EVENTS if $error eq '';
    return $error;
}

# Writes until something happens to a batch, or to the grid; answers the error.
sub write_until {
    my ($condition) = @_;
    my $error = '';
    for (1 .. BATCHES_MAX) {
        return $error if $condition->($error);
        $error = write_batch();
    }
    die 'nothing has happened' unless $condition->($error);
    return $error;
}

# The batch whose outcome is unknown is sent again: then it is there once.
sub check_all_there {
    my ($name) = @_;
    wait_role($node, 'primary');
    is(error_of($node, batch_sql(1 + $transfers, BATCH_EVENTS, 3)), '', "$name: the next batch is written");
    $transfers += BATCH_EVENTS;
    is(value($node, 'SELECT count(*), sum(amount) FROM ledger.transfers'),
        $transfers . '|' . 3 * $transfers, "$name: all is there, and once");
    return;
}

for my $method ('sync', 'io_uring') {
    $node = ledger_node($method, settings => "ledger.io_method = $method\nledger.wal_size = 64MB");
    $grid = ledger_directory($node) . '/grid';
    $transfers = 0;
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION ledger');
    if ($method eq 'io_uring' && status_of($node, 'role') ne 'primary') {
        diag('io_uring is refused on this machine');
        $node->stop;
        next;
    }
    create_two_accounts($node);

    # ---- Refused -------------------------------------------------------------------------------------

    # First, for what has grown ahead lasts long. If the space is known to be short, it isn't even tried to get it.
    my $short = $method eq 'sync' ? "space /grid is 100\nallocate /grid kill_before\n" : "allocate /grid fail 28\n";
    append_to_file($faults, $short);
    my $refused = write_until(sub { $_[0] ne '' });
    like($refused, qr/ERROR:  53100: no space left for the ledger's files/, "$method, no space: refused");
    is(value($node, 'SELECT count(*), coalesce(sum(amount), 0) FROM ledger.transfers'),
        $transfers . '|' . 3 * $transfers, "$method, no space: reads go on");
    $node->restart;
    wait_role($node, 'primary');
    like(write_batch(), qr/ERROR:  53100: /, "$method, no space: refused after a restart too");
    ok(-e $faults, "$method, no space: nobody was killed");
    my $worker = worker_pid($node);
    unlink $faults or die $!;
    check_all_there("$method, then space");
    is(worker_pid($node), $worker, "$method, then space: the worker goes on");

    # ---- Killed --------------------------------------------------------------------------------------

    for my $step ('space /grid kill_before', 'allocate /grid kill_before', 'allocate /grid kill_after',
        'sync /grid kill_before', 'sync /grid kill_after') {
        my $size = -s $grid;
        append_to_file($faults, "$step\n");
        my $error = write_until(sub { !-e $faults });
        check_all_there("$method, $step");
        cmp_ok(-s $grid, '>=', $size, "$method, $step: the file is no smaller");
    }

    # Killed in the middle: the file is longer by something that is no block.
    kill_postmaster($node);
    open my $file, '>>:raw', $grid or die $!;
    print {$file} "\0" x (BLOCK_SIZE + 5000);
    close $file or die $!;
    $node->start;
    check_all_there("$method, an odd size");

    # ---- Failing ahead of need -----------------------------------------------------------------------

    # There is room for all that was promised: the log says so, nobody is refused, and it is tried again.
    for my $fault ('allocate /grid fail 5', 'sync /grid fail 5') {
        my $position = log_position($node);
        my $pid = worker_pid($node);
        append_to_file($faults, "$fault\n");
        my $error = write_until(sub { $_[0] ne '' || log_since($node, $position) =~ /could not grow/ });
        unlink $faults or die $!;
        is($error, '', "$method, ahead, $fault: the batch is written");
        like(
            log_since($node, $position),
            qr/WARNING:  could not grow file "grid" at offset \d+: Input\/output error/,
            "$method, ahead, $fault: the log says so");
        my $known = -s $grid;
        my $warned = log_position($node);
        is(write_until(sub { $_[0] ne '' || -s $grid > $known }), '', "$method, ahead, $fault: it is tried again");
        is(worker_pid($node), $pid, "$method, ahead, $fault: the engine goes on");
        unlike(log_since($node, $warned), qr/could not grow/, "$method, ahead, $fault: nothing fails then");
    }

    # ---- Failing where it is waited for --------------------------------------------------------------

    for my $fault ('allocate /grid fail 5', 'sync /grid fail 5') {
        my $position = log_position($node);
        append_to_file($faults, "$fault\n");
        write_until(sub { $_[0] ne '' || log_since($node, $position) =~ /ledger engine stops/ });
        wait_for('the end', sub { log_since($node, $position) =~ /ledger engine stops/ });
        unlink $faults or die $!;
        like(
            log_since($node, $position),
            qr/ledger engine stops: could not grow file "grid" at offset \d+: Input\/output error/,
            "$method, $fault: the log says so");
        unlike(log_since($node, $position), qr/PANIC|TRAP|terminated by signal (?!9\b)/, "$method, $fault: nothing crashed");
        check_all_there("$method, $fault, then a whole disk");
    }

    # ---- Slow ----------------------------------------------------------------------------------------

    # What has room goes on meanwhile; what has none waits, and then is written.
    append_to_file($faults, 'allocate /grid slow ' . SLOW_MS . "\n");
    my $size = -s $grid;
    my $error = write_until(sub { $_[0] ne '' || -s $grid > $size });
    is($error, '', "$method, slow: nothing is refused");
    # Again, and the server is stopped meanwhile.
    $size = -s $grid;
    my $position = log_position($node);
    my $growing = sub {
        # A thread may end at any time.
        my $threads = join ' ', map { eval { slurp_file($_) } // '' } glob '/proc/' . worker_pid($node) . '/task/*/comm';
        return $threads =~ /ledger grower/;
    };
    write_until($growing);
    my $begun = time;
    $node->stop('fast');
    cmp_ok(time - $begun, '<', SLOW_MS / 1000 + 120, "$method, slow: a shutdown waits no longer than the growth");
    unlike(log_since($node, $position), qr/PANIC|TRAP|terminated by signal (?!9\b)/, "$method, slow: nothing crashed");
    unlink $faults or die $!;
    $node->start;
    check_all_there("$method, slow, and a shutdown");

    my $findings = value($node, 'SELECT count(*) FROM ledger.verify()');
    is($findings, 0, "$method: all is well with the files");
    is_balanced($node, "$method: balances are those of the transfers");
    $node->stop;
}

done_testing();
