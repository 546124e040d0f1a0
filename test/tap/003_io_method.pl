# SPDX-License-Identifier: PostgreSQL
#
# How files are read and written: io_uring, sync where it is refused, with and without direct I/O.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $deny = "$ENV{LEDGER_TEST_BIN}/deny_io_uring";
plan skip_all => 'deny_io_uring is not built' unless -x $deny;
plan skip_all => 'seccomp filters cannot be installed here' if system_log($deny, 'true') != 0;

my $node = ledger_node('main');
ledger_setup($node);
create_two_accounts($node);
my $next = 1;
my $amount = 0;

# pg_ctl starts the server through the wrapper; Cluster.pm has no way to say so, and then only looks at the pid file.
sub start_denied {
    my $wrapper = PostgreSQL::Test::Utils::tempdir() . '/postgres';
    my $postgres = $node->installed_command('postgres');
    ($postgres) = grep { -x } map { "$_/postgres" } split /:/, $ENV{PATH} unless $postgres =~ m{/};
    open my $file, '>', $wrapper or die $!;
    print {$file} "#!/bin/sh\nexec '$deny' '$postgres' \"\$@\"\n" or die $!;
    close $file or die $!;
    chmod 0755, $wrapper or die $!;
    system_or_bail('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-p', $wrapper, 'start');
    $node->_update_pid(1);
    return;
}

# Starts with these settings; returns the log since.
sub start_with {
    my ($start, $role, %settings) = @_;
    $node->stop;
    $node->append_conf('postgresql.conf', "ledger.$_ = $settings{$_}") for sort keys %settings;
    my $position = log_position($node);
    $start->();
    wait_role($node, $role);
    return log_since($node, $position);
}

sub check_works {
    my ($name, $method, $direct) = @_;
    is(status_of($node, 'io_method, io_direct'), "$method|$direct", "$name: the status says so");
    is(value($node, transfer_sql($next, 5)), 'created', "$name: writes");
    $next += 1;
    $amount += 5;
    return is(value($node, 'SELECT debits_posted FROM ledger.accounts WHERE id = ledger.id(1)'),
        $amount, "$name: reads, and nothing of before is lost");
}

# Single calls, one after the other: their prepares are solo writes, where nothing else is written or read just then. So
# until there have been enough; the views are renewed a little later.
sub check_solo_writes {
    my ($name, $enough, $nothing_else) = @_;
    my $calls = 200;
    wait_for("$name: $enough", sub {
        my @statuses = split /\n/, value($node, join "\n", map { transfer_sql($next + $_, 1) } 0 .. $calls - 1);
        is(scalar(grep { $_ eq 'created' } @statuses), $calls, "$name: single calls");
        $next += $calls;
        $amount += $calls;
        return value($node, "SELECT $enough FROM ledger.stats") eq 't';
    });
    return is(value($node, "SELECT $nothing_else FROM ledger.stats"), 't',
        "$name: ledger.stats says how solo writes were done");
}

my @only_sync = ("solo_write_method = 'sync' AND solo_writes_sync > 100 AND solo_write_us_sync > 0",
    'solo_writes_io_uring = 0 AND solo_write_us_io_uring IS NULL');
my @only_io_uring = ("solo_write_method = 'io_uring' AND solo_writes_io_uring > 100 AND solo_write_us_io_uring > 0",
    'solo_writes_sync = 0 AND solo_write_us_sync IS NULL');
my @both = ('solo_writes_sync > 30 AND solo_write_us_sync > 0 AND solo_writes_io_uring > 30 AND solo_write_us_io_uring > 0',
    "solo_write_method IN ('sync', 'io_uring')");

my $start = sub { $node->start };
my $start_denied = \&start_denied;
my ($log, $error);

$log = start_with($start_denied, 'primary', io_method => 'auto');
check_works('auto, denied', 'sync', 't');
check_solo_writes('auto, denied', @only_sync);
my @lines = grep { /uses ledger\.io_method "sync": io_uring is refused/ } split /\n/, $log;
is(scalar @lines, 1, 'auto, denied: one log line');
like($log, qr/DETAIL:  \S*io_uring\S*.*: Operation not permitted; refused by: \S+/, 'auto, denied: says by whom');

start_with($start_denied, 'refused', io_method => 'io_uring');
is(status_of($node, 'io_method IS NULL AND io_direct IS NULL'), 't', 'io_uring, denied: no method in effect');
$error = error_of($node, transfer_sql(1000, 1));
like($error, qr/57P03: ledger engine is not running/, 'io_uring, denied: refused');
like($error, qr/DETAIL:  .*Operation not permitted; refused by: /, 'io_uring, denied: says by whom');
like($error, qr/HINT:  Allow io_uring, or set ledger\.io_method to auto or sync/, 'io_uring, denied: hint');

$log = start_with($start_denied, 'primary', io_method => 'sync');
check_works('sync, denied', 'sync', 't');
unlike($log, qr/io_uring is refused/, 'sync, denied: nothing to say');

start_with($start, 'primary', io_method => 'sync', io_direct => 'off');
check_works('sync, not direct', 'sync', 'f');
check_solo_writes('sync, not direct', @only_sync);

$log = start_with($start, 'primary', io_method => 'auto');
my $method = $log =~ /io_uring is refused/ ? 'sync' : 'io_uring';
check_works('auto, not direct', $method, 'f');
check_solo_writes('auto, not direct', $method eq 'sync' ? @only_sync : @both);

SKIP: {
    skip 'this machine refuses io_uring', 1 if $method eq 'sync';
    start_with($start, 'primary', io_method => 'io_uring');
    check_works('io_uring, not direct', 'io_uring', 'f');
    start_with($start, 'primary', io_direct => 'on');
    check_works('io_uring', 'io_uring', 't');
    check_solo_writes('io_uring', @only_io_uring);
    start_with($start, 'primary', io_method => 'auto');
    check_works('auto', 'io_uring', 't');
    check_solo_writes('auto', @both);
}

start_with($start, 'primary', io_method => 'sync', io_direct => 'on');
check_works('sync', 'sync', 't');
is(value($node, 'SELECT count(*) FROM ledger.transfers'), $next - 1, 'all methods wrote the same files');
$node->stop;

# ---- A file system without direct I/O ----------------------------------------------------------------

SKIP: {
    my $parent = '/dev/shm';
    skip "no $parent", 6 unless -d $parent && -w $parent;
    my $directory = "$parent/ledger-test-$$";
    my $memory_node = ledger_node('memory', settings => "ledger.data_directory = '$directory'");
    $memory_node->start;
    my $refused = error_of($memory_node, 'CREATE EXTENSION ledger');
    if (status_of($memory_node, 'role') eq 'primary') {
        $memory_node->stop;
        system_or_bail('rm', '-rf', $directory);
        skip 'tmpfs takes O_DIRECT here', 6;
    }
    like($refused, qr/WARNING:.*no ledger was created/, 'no O_DIRECT: refused');
    like($refused, qr/DETAIL:  .*does not support direct I\/O \(O_DIRECT\)/, 'no O_DIRECT: why');
    like($refused, qr/HINT:  .*ledger\.io_direct = off/, 'no O_DIRECT: hint');
    ok(!-e $directory && !-e "$directory.new", 'no O_DIRECT: nothing is left behind');
    $memory_node->stop;
    $memory_node->append_conf('postgresql.conf', 'ledger.io_direct = off');
    $memory_node->start;
    like(
        error_of($memory_node, 'SELECT ledger.create_ledger()'),
        qr/WARNING:.*the ledger's data directory and PGDATA are on different file systems/,
        'no O_DIRECT: works without, and another file system is warned of');
    wait_role($memory_node, 'primary');
    is(status_of($memory_node, 'io_direct'), 'f', 'no O_DIRECT: works without');
    $memory_node->stop;
    system_or_bail('rm', '-rf', $directory);
}

done_testing();
