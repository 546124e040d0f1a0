# SPDX-License-Identifier: PostgreSQL
#
# How a server comes by its ledger: only when somebody asks, and whole, wherever the server is killed meanwhile.
use strict;
use warnings FATAL => 'all';

use File::Spec;
use LedgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

my $uuid = qr/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

my $node = ledger_node('main', settings => 'ledger.io_method = sync');
my $directory = ledger_directory($node);
my $identity = $node->data_dir . '/ledger.identity';

sub nothing_made {
    my ($name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return ok(!-e $directory && !-e "$directory.new" && !-e $identity, "$name: no ledger is made");
}

sub forget_ledger {
    $node->stop;
    system_or_bail('rm', '-rf', $directory, "$directory.new", $identity);
    $node->start;
    return wait_role($node, 'none');
}

# ---- Nobody has asked --------------------------------------------------------------------------------

$node->start;
wait_for('the log', sub { log_since($node, 0) =~ /ledger engine does not start: this server has no ledger/ });
nothing_made('a start');
$node->reload;
$node->restart;
nothing_made('a reload and a restart');
like(
    error_of($node, 'CREATE EXTENSION ledger WITH SCHEMA pg_catalog'),
    qr/WARNING:.*no ledger was created: this server has no ledger/,
    'CREATE EXTENSION as a dump has it: a warning');
nothing_made('CREATE EXTENSION as a dump has it');
is(status_of($node, 'role'), 'none', 'role none');
is(
    status_of($node, 'message'), 'this server has no ledger', 'the status says so');
my ($code, $out, $err);
my $error = error_of($node, transfer_sql(1, 1));
like($error, qr/ERROR:  57P03: this server has no ledger/, 'and so does a call');
like($error, qr/DETAIL:  There is neither a directory "\Q$directory\E" nor a file ledger\.identity in PGDATA/, 'its detail');
like($error, qr/HINT:  .*ledger\.adopt\(\).*SELECT ledger\.create_ledger\(\)/, 'and its hint');
nothing_made('calls');
value($node, 'CREATE DATABASE copied TEMPLATE postgres');
nothing_made('CREATE DATABASE of one with the extension');
is($node->safe_psql('copied', 'SELECT role FROM ledger.status'), 'none', 'it has the extension');

($code, $out, $err) = $node->psql('template1', 'CREATE EXTENSION ledger');
like($err, qr/WARNING:  no ledger was created: .*\n.*ledger\.awaited/, 'after a dump, no CREATE EXTENSION makes one');
nothing_made('CREATE EXTENSION in another database than that of the dump');
$node->safe_psql('template1', 'DROP EXTENSION ledger');

# ---- Somebody asks -----------------------------------------------------------------------------------

value($node, 'CREATE ROLE app; GRANT USAGE ON SCHEMA ledger TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger TO app');
like(error_of($node, 'SET ROLE app; SELECT ledger.create_ledger()'), qr/ERROR:  42501: must be superuser/, 'only superusers');
like(error_of($node, 'BEGIN READ ONLY; SELECT ledger.create_ledger()'), qr/ERROR:  25006: /, 'not in a read-only transaction');
like(error_of($node, 'SELECT ledger.adopt(NULL)'), qr/ERROR:  22004: /, 'adopt of NULL');
nothing_made('what is refused');
mkdir $directory or die $!;
$node->restart;
wait_role($node, 'refused');
like(error_of($node, transfer_sql(1, 1)), qr/holds no ledger\. .*\n.*HINT:  .*must not exist yet/, 'an empty directory is not taken');
is_deeply([glob "$directory/*"], [], 'and stays empty');
rmdir $directory or die $!;
$node->reload;
wait_role($node, 'none');

my $ledger = value($node, 'SELECT ledger.create_ledger()');
like($ledger, qr/^$uuid$/, 'create_ledger() answers the uuid');
is(status_of($node, 'role, ledger'), "primary|$ledger", 'and the engine is open');
ok(!-e $node->data_dir . '/ledger.awaited', 'and nothing is awaited any more');
create_two_accounts($node);
like(error_of($node, 'SELECT ledger.create_ledger()'), qr/ERROR:  42710: this server has a ledger already/, 'there is one');
is(error_of($node, 'CREATE DATABASE second'), '', 'another database');
($code, $out, $err) = $node->psql('second', 'CREATE EXTENSION ledger');
is($err, '', 'CREATE EXTENSION in it says nothing: the ledger is there');
is($node->safe_psql('second', 'SELECT ledger FROM ledger.status'), $ledger, 'and is the same');
value($node, 'DROP EXTENSION ledger CASCADE');
is($node->safe_psql('second', 'SELECT count(*) FROM ledger.accounts'), 2, 'DROP EXTENSION drops no ledger');
is(error_of($node, 'CREATE EXTENSION ledger'), '', 'nor does CREATE EXTENSION make another');
is(status_of($node, 'accounts'), 2, 'it is as it was');

value($node, 'DROP EXTENSION ledger');
$node->stop;
system_or_bail('rm', '-rf', $directory, $identity);
$node->start;
$err = error_of($node, 'BEGIN; CREATE EXTENSION ledger; ROLLBACK');
like($err, qr/NOTICE:.*created an empty ledger in "\Q$directory\E"/, 'CREATE EXTENSION says where it makes the ledger');
like($err, qr/DETAIL:  It stays, also if the transaction is rolled back/, 'and that it stays');
ok(-d $directory && -f $identity, 'it does stay');
is(error_of($node, 'CREATE EXTENSION ledger'), '', 'the next CREATE EXTENSION has nothing to say');
is(status_of($node, 'role'), 'primary', 'and works with it');

# ---- Cancelled ---------------------------------------------------------------------------------------

forget_ledger();
my $worker = worker_pid($node);
kill 'STOP', $worker;
my $cancelled = session($node, 'SELECT ledger.create_ledger()');
value($node, "SELECT pg_cancel_backend($_)") for wait_waiting($node, 'create_ledger', 1);
like((session_finish($cancelled))[1], qr/ERROR:  57014: canceling statement due to user request/,
    'waiting for the worker can be cancelled');
kill 'CONT', $worker;
sleep 0.5;
nothing_made('a command that was cancelled before it began');
my @sessions = map { session($node, 'SELECT ledger.create_ledger()') } 1 .. 4;
my @results = map { [session_finish($_)] } @sessions;
is((grep { $_->[0] =~ /^$uuid$/ } @results), 1, 'of several sessions that ask at once, one makes it');
is((grep { $_->[1] =~ /42710: this server has a ledger already/ } @results), 3, 'and the others are told');
$node->stop;

# ---- Ended while it is made --------------------------------------------------------------------------

# Zeroing the log would take ten minutes here, so that what is slow for another reason isn't taken for it.
my $slow_library = "$ENV{LEDGER_TEST_BIN}/file_faults.so";
SKIP: {
    skip 'file_faults.so is not built', 1 unless -e $slow_library;
    my $faults = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir()) . '/faults';
    local $ENV{LD_PRELOAD} = $slow_library;
    local $ENV{FILE_FAULTS} = $faults;
    my $slow = ledger_node('slow', settings => "ledger.wal_size = 256MB\nledger.data_directory = '$directory'");
    my $slow_identity = $slow->data_dir . '/ledger.identity';
    system_or_bail('rm', '-rf', $directory, $identity);

    # A session that asks for a ledger, of which a part is made when this returns.
    my $ask = sub {
        append_to_file($faults, "zeros /prepares.wal slow 2500\n");
        my $asking = session($slow, 'SELECT ledger.create_ledger()');
        wait_for('a log that is being zeroed', sub { -e "$directory.new/prepares.wal" });
        sleep 0.5;
        return $asking;
    };
    my $undone = sub {
        my ($name, $begun) = @_;
        cmp_ok(time - $begun, '<', 120, "$name: it ends soon");
        ok(!-e $directory && !-e "$directory.new" && !-e $slow_identity, "$name: and nothing is left of it");
        unlink $faults;
    };

    $slow->start;
    value($slow, 'CREATE EXTENSION ledger WITH SCHEMA pg_catalog');
    my $asking = $ask->();
    my $slow_worker = worker_pid($slow);
    my $begun = time;
    kill 'TERM', $slow_worker;
    my ($out, $err) = session_finish($asking);
    wait_gone($slow_worker);
    $undone->('the worker is told to end', $begun);
    like($err, qr/ERROR:  57P03: could not create a ledger: /, 'who asked has an error');
    like($err, qr/DETAIL:  ".*prepares\.wal" was being made when the engine was told to stop/, 'which says why');

    wait_role($slow, 'none');
    $asking = $ask->();
    $begun = time;
    $slow->stop('fast');
    $undone->('a fast shutdown', $begun);
    session_finish($asking);

    $slow->start;
    wait_role($slow, 'none');
    $asking = $ask->();
    $begun = time;
    kill_postmaster($slow);
    $undone->('the postmaster is killed', $begun);
    session_finish($asking);

    $slow->start;
    wait_role($slow, 'none');
    $asking = $ask->();
    $begun = time;
    $slow->stop('immediate');
    cmp_ok(time - $begun, '<', 120, 'an immediate shutdown: it ends soon');
    session_finish($asking);
    unlink $faults;
    $slow->start;
    wait_role($slow, 'none');
    like(value($slow, 'SELECT ledger.create_ledger()'), qr/^$uuid$/, 'and after all that, a ledger is made');
    create_two_accounts($slow);
    is(value($slow, transfer_sql(1, 10)), 'created', 'which works');
    $slow->stop;
    system_or_bail('rm', '-rf', $directory);
}

# ---- Two servers, one directory ----------------------------------------------------------------------

my $rival = ledger_node('rival', settings => "ledger.data_directory = '$directory'");
system_or_bail('rm', '-rf', $directory, $identity);
$node->start;
$rival->start;
for ($node, $rival) {
    $_->safe_psql('postgres', 'CREATE EXTENSION IF NOT EXISTS ledger WITH SCHEMA pg_catalog');
    wait_role($_, 'none');
}
@sessions = map { session($_, 'SELECT ledger.create_ledger()') } $node, $rival;
@results = map { [session_finish($_)] } @sessions;
my @winners = grep { $results[$_][0] =~ /^$uuid$/ } 0, 1;
is(scalar @winners, 1, 'two servers make a ledger in one directory: one does');
my ($winner, $loser) = $winners[0] == 0 ? ($node, $rival) : ($rival, $node);
like($results[1 - $winners[0]][1], qr/ERROR:  (42710|55006|55000): could not create a ledger/, 'and the other one is told');
create_two_accounts($winner);
is(value($winner, transfer_sql(1, 10)), 'created', 'whose it is works with it');
$loser->restart;
wait_role($loser, 'refused');
like(error_of($loser, transfer_sql(1, 1)), qr/is in use by another process/, 'and the other is locked out');
my $balances = value($winner, balances_sql());
$ledger = status_of($winner, 'ledger');
$winner->stop;
$loser->restart;
wait_role($loser, 'refused');
like(error_of($loser, transfer_sql(1, 1)), qr/belongs to another PostgreSQL cluster/, 'also when it is free');
value($loser, "SELECT ledger.adopt('$ledger')");
is(value($loser, balances_sql()), $balances, 'until it adopts it');
$winner->start;
wait_role($winner, 'refused');
like(error_of($winner, "SELECT ledger.adopt('$ledger')"), qr/ERROR:  55006: /, 'and then it is the other way round');
$winner->stop;
is(value($loser, transfer_sql(2, 10)), 'created', 'whose it is now works on');
$loser->stop;

# Both in the middle: the directory has its name, and is locked by nobody yet, while its parent is synced. The first one
# finds that gone when it goes on, and must leave alone what the second one has made there.
SKIP: {
    skip 'file_faults.so is not built', 1 unless -e $slow_library;
    my $faults = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir()) . '/faults';
    my ($parent) = $directory =~ m{(/[^/]+)/[^/]+$};
    for ([$node, 3000], [$rival, 6000]) {
        my ($server, $ms) = @{$_};
        local $ENV{LD_PRELOAD} = $slow_library;
        local $ENV{FILE_FAULTS} = $faults . '-' . $server->name;
        append_to_file($ENV{FILE_FAULTS}, "sync $parent slow $ms\n");
        unlink $server->data_dir . '/ledger.identity';
        system_or_bail('rm', '-rf', $directory);
        $server->start;
        wait_role($server, 'none');
    }
    my $first = session($node, 'SELECT ledger.create_ledger()');
    wait_for('its directory', sub { -d "$directory.new" });
    my $second = session($rival, 'SELECT ledger.create_ledger()');
    @results = map { [session_finish($_)] } $first, $second;
    is((grep { $_->[0] =~ /^$uuid$/ } @results), 1, 'two servers make a directory at once: one makes a ledger');
    is((grep { $_->[1] =~ /ERROR:  (?:42710|55006|55000): could not create a ledger/ } @results), 1, 'and the other one is told');
    ok(!-e "$directory.new", 'and nothing else is left');
    ($winner, $loser) = $results[0][0] =~ /^$uuid$/ ? ($node, $rival) : ($rival, $node);
    is(value($winner, 'SELECT count(*) FROM ledger.accounts'), 0, 'the ledger works');
    is_deeply([sort map { s{.*/}{}r } glob "$directory/*"], [sort qw(lock), file_names()], 'and has all of its files');
    $_->stop for $node, $rival;
}

# ---- No place for the worker -------------------------------------------------------------------------

my $crowded = ledger_node('crowded', settings => 'max_worker_processes = 0');
$crowded->start;
like($crowded->psql('postgres', 'CREATE EXTENSION ledger') . '', qr/^0$/, 'without a place for the worker, the extension is made');
is(value($crowded, 'SELECT role, message FROM ledger.status'), 'stopped|ledger engine has not been started', 'role stopped');
like(status_of($crowded, 'hint'), qr/max_worker_processes \(it is 0\)/, 'with the hint of the error');
like(error_of($crowded, transfer_sql(1, 1)), qr/ERROR:  57P03: ledger engine has not been started/, 'which calls get');
cmp_ok(fastest(4, sub { error_of($crowded, transfer_sql(1, 1)) }), '<', 4, 'at once');
$crowded->stop;

# ---- The extension before the library ----------------------------------------------------------------

my $late = ledger_node('late', settings => "shared_preload_libraries = ''");
$late->start;
is(error_of($late, 'CREATE EXTENSION ledger'), '', 'CREATE EXTENSION without the library being preloaded');
is(status_of($late, 'role, message'), 'stopped|the ledger library is not preloaded', 'the status says so');
like(error_of($late, 'SELECT ledger.create_ledger()'), qr/ERROR:  55000: the ledger library is not preloaded/, 'calls, too');
$late->append_conf('postgresql.conf', "shared_preload_libraries = 'ledger'");
$late->restart;
wait_role($late, 'none');
($code, $out, $err) = $late->psql('template1', 'CREATE EXTENSION ledger');
like($err, qr/WARNING:  no ledger was created: .*\n.*ledger\.awaited/, 'it may have been a dump: none is made by a further database');
like(value($late, 'SELECT ledger.create_ledger()'), qr/^$uuid$/, 'it is made when somebody asks for it');
ok(!-e $late->data_dir . '/ledger.awaited', 'and nothing is awaited any more');
$late->stop;

# ---- Killed at each step -----------------------------------------------------------------------------

my $library = "$ENV{LEDGER_TEST_BIN}/kill_at.so";
SKIP: {
    skip 'kill_at.so is not built', 1 unless -e $library;
    my $control = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir()) . '/at';
    local $ENV{LD_PRELOAD} = $library;
    local $ENV{KILL_AT} = $control;
    $node->append_conf('postgresql.conf', "ledger.data_directory = '$directory'");

    # Calls it, and has the worker killed at its n-th change of files. True if it came to its end without.
    my $killed_at = sub {
        my ($n, $sql) = @_;
        append_to_file($control, $n);
        asked($node, $sql);
        my $survived = -e $control;
        unlink $control;
        wait_for('a role', sub {
            my ($rc, $role) = asked($node, 'SELECT role FROM ledger.status');
            return $rc == 0 && $role =~ /^(none|refused|primary)$/;
        });
        return $survived;
    };

    $node->start;
    my $n = 0;
    for (;;) {
        $n += 1;
        forget_ledger();
        last if $killed_at->($n, 'SELECT ledger.create_ledger()');
        my $role = status_of($node, 'role');
        ok($role eq 'none' || $role eq 'primary', "creation, killed at change $n: role $role");
        ok(($role eq 'none') == (!-e $identity), "creation, killed at change $n: as the identity file says");
        value($node, 'SELECT ledger.create_ledger()') if $role eq 'none';
        create_two_accounts($node);
        is(value($node, transfer_sql(1, 10)), 'created', "creation, killed at change $n: works after that");
    }
    cmp_ok($n, '>', 8, "creation: $n steps");
    is(status_of($node, 'role'), 'primary', 'creation: in the end not killed');

    create_two_accounts($node);
    value($node, transfer_sql(1, 10));
    $ledger = status_of($node, 'ledger');
    $balances = value($node, balances_sql());
    $node->stop;
    system_or_bail('mv', $directory, "$directory-first");
    my $first_incarnation = read_bytes("$directory-first/superblock", 64, 16);
    unlink $identity or die $!;
    $n = 0;
    for (;;) {
        $n += 1;
        system_or_bail('rm', '-rf', $directory, $identity);
        system_or_bail('cp', '-a', "$directory-first", $directory);
        $node->start;
        wait_role($node, 'refused');
        my $survived = $killed_at->($n, "SELECT ledger.adopt('$ledger')");
        last if $survived;
        my $role = status_of($node, 'role');
        ok($role eq 'refused' || $role eq 'primary', "adoption, killed at change $n: role $role");
        if ($role eq 'refused') {
            is(status_of($node, 'ledger'), $ledger, "adoption, killed at change $n: it can be adopted");
            value($node, "SELECT ledger.adopt('$ledger')");
        }
        is(value($node, balances_sql()), $balances, "adoption, killed at change $n: then all is there");
        is(value($node, transfer_sql(1, 10)), 'exists', "adoption, killed at change $n: a retry is one");
        $node->stop;
        isnt(read_bytes("$directory/superblock", 64, 16), $first_incarnation, "adoption, killed at change $n: a new life");
    }
    cmp_ok($n, '>', 5, "adoption: $n steps");
    is(value($node, balances_sql()), $balances, 'adoption: in the end not killed');
    $node->stop;
}

done_testing();
