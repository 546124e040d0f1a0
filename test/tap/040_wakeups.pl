# SPDX-License-Identifier: PostgreSQL
#
# Sessions that sleep while they wait for their answer, and how they get up: woken together by the worker, cancelled,
# terminated, stopped, killed; and with the worker stopped or killed.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use constant {
    SESSIONS => 300,
    CALLS => 4,
    STOPPED_SESSIONS => 12,
    STOPPED_CALLS => 150,
    KILLS => 3,
    KILL_SESSIONS => 8,
    KILL_NUMBERS => 1_000_000,    # More than a session gets to.
};

# Nobody spins, so everybody sleeps.
my $node = ledger_node('main', settings => "max_connections = 350\nledger.spin = 0");
ledger_setup($node);
create_two_accounts($node);
my $next = 1;
my %acknowledged;

sub take_ids {
    my ($count) = @_;
    my $first = $next;
    $next += $count;
    return ($first .. $next - 1);
}

sub calls_sql {
    my (@ids) = @_;
    return join "\n", map { "SELECT $_, s FROM " . transfer_from($_) } @ids;
}

# The id beside the answer, so that what was acknowledged is known when a session ends early.
sub transfer_from {
    my ($id) = @_;
    my $call = transfer_sql($id, 2);
    $call =~ s/^SELECT (.*);$/$1/s or die $call;
    return "$call AS s;";
}

sub note_acknowledged {
    my ($out) = @_;
    my $count = 0;
    while ($out =~ /^(\d+)\|(?:created|exists)$/mg) {
        $acknowledged{$1} = 1;
        $count += 1;
    }
    return $count;
}

sub check_acknowledged {
    my ($name) = @_;
    my $list = join ',', map { "($_)" } keys %acknowledged;
    my $lost = value($node,
        "SELECT count(*) FROM (VALUES $list) AS a (n) WHERE ledger.id(a.n) NOT IN (SELECT id FROM ledger.transfers)");
    is($lost, 0, "$name: each acknowledged transfer is there (" . keys(%acknowledged) . ')');
    return is_balanced($node, "$name: balances are those of the transfers");
}

# Wake-ups until now: calls, sessions, in vain.
sub wakes {
    return split /\|/, value($node, 'SELECT wake_calls, sessions_woken, sessions_woken_in_vain FROM ledger.stats');
}

sub state_of {
    my ($pid) = @_;
    my $stat = eval { slurp_file("/proc/$pid/stat") } // '';
    return $stat =~ /\) (\S)/ ? $1 : '';
}

# ---- All at once, woken together (K5) ----------------------------------------------------------------

my $script = PostgreSQL::Test::Utils::tempdir() . '/transfer.sql';
append_to_file($script, "SELECT ledger.create_transfer(ledger.uuidv7(), ledger.id(1), ledger.id(2), 2, 1, 1);\n");

# Many sessions of one pgbench, which sleep while the worker stands still, so that one prepare answers all. What it says in
# the end, and by how much the numbers of wake-ups have grown.
sub many_at_once {
    my ($calls) = @_;
    my ($text, @before) = ('', wakes());
    kill 'STOP', worker_pid($node) or die $!;
    my $pgbench = IPC::Run::start(
        ['pgbench', '-n', '-c', SESSIONS, '-t', $calls, '-f', $script, $node->connstr('postgres')],
        '>&', \$text, IPC::Run::timeout(600));
    my @waiting = eval { wait_waiting($node, 'create_transfer', SESSIONS) };
    kill 'CONT', worker_pid($node) or die $!;
    $pgbench->finish;
    ok(@waiting >= SESSIONS, SESSIONS . ' sessions wait') or diag($text);
    my @after = wakes();
    return ($text, map { $after[$_] - $before[$_] } 0 .. 2);
}

my $worker = worker_pid($node);
my ($text, $calls, $woken, $in_vain) = many_at_once(CALLS);
my $count = SESSIONS * CALLS;
like($text, qr{actually processed: $count/$count}, SESSIONS . ' sessions at once: all are answered');
is(value($node, 'SELECT count(*) FROM ledger.transfers'), $count, SESSIONS . ' sessions at once: each transfer is there');
# How many sleep when their answer comes is up to how processes are scheduled; but some do.
ok($woken > 0 && $woken <= $count, "$woken sessions were woken");
ok($calls > 0 && $calls <= $woken, "by $calls calls of the kernel");
# Who lies down just when others of its row are woken gets up again (Q2): how often is up to how processes are scheduled, but a
# call has no more than a few sleeps. That nobody is woken for others is what the unit test of sleepers shows.
ok($in_vain <= $count, "$in_vain in vain");

# How many calls it takes to wake so many who sleep: one for each row of 32 places. On a busy machine few sleep, as each
# looks for its answer now and then and waits for a processor: then once more.
for my $round (1 .. 5) {
    ($text, $calls, $woken, $in_vain) = many_at_once(1);
    like($text, qr{actually processed: (\d+)/\1\b}, "together, round $round: all are answered");
    last if $woken >= SESSIONS / 3;
}
SKIP: {
    skip 'too few of the sessions were asleep', 1 if $woken < SESSIONS / 3;
    ok($calls <= $woken / 4, "together: $woken were woken by $calls calls of the kernel");
}

# One after another sleeps.
my @alone = take_ids(50);
my ($out) = session_finish(session($node, calls_sql(@alone)));
is(note_acknowledged($out), 50, 'one session: all are answered');
check_acknowledged('one session');

# ---- Cancelled and terminated while they sleep -------------------------------------------------------

for my $case (['pg_cancel_backend', qr/57014/], ['pg_terminate_backend', qr/57P01/]) {
    my ($function, $message) = @{$case};
    my @ids = take_ids(20);
    kill 'STOP', $worker or die $!;
    my @sessions = map { session($node, calls_sql($_)) } @ids;
    value($node, "SELECT $function($_)") for wait_waiting($node, 'create_transfer', 20);
    for my $session (@sessions) {
        my ($answer, $err) = session_finish($session);
        like($err, $message, "$function: its own error") if $err !~ $message || $answer ne '';
    }
    pass("$function: all 20 ended while the worker stood still");
    kill 'CONT', $worker or die $!;
    my $found = 0;
    for my $id (@ids) {
        $found += 1 if value($node, transfer_sql($id, 2)) =~ /^(?:created|exists)$/;
        $acknowledged{$id} = 1;
    }
    is($found, 20, "$function: a retry answers for each");
}
my $slept = error_of($node, "SET statement_timeout = '100ms'; SELECT pg_sleep(10);");
like($slept, qr/57014/, 'statement_timeout works here');
kill 'STOP', $worker or die $!;
my $error = error_of($node, "SET statement_timeout = '100ms'; " . transfer_sql((take_ids(1))[0], 2));
kill 'CONT', $worker or die $!;
like($error, qr/57014/, 'statement_timeout of a sleeper, while the worker stood still');

# ---- Stopped, both ---------------------------------------------------------------------------------

my @sessions = map { session($node, calls_sql(take_ids(STOPPED_CALLS))) } 1 .. STOPPED_SESSIONS;
for my $round (1 .. 60) {
    my @pids = ($worker, waiting_pids($node, 'create_transfer'));
    my @some = @pids[map { int rand @pids } 1 .. 3];
    kill 'STOP', @some;
    usleep(int rand 15_000);
    kill 'CONT', @some;
}
my $answers = 0;
for my $session (@sessions) {
    my ($answer, $err) = session_finish($session);
    is($err, '', 'stopped: no error') if $err ne '';
    $answers += note_acknowledged($answer);
}
is($answers, STOPPED_SESSIONS * STOPPED_CALLS, 'stopped and continued: all are answered');
check_acknowledged('stopped and continued');
is(worker_pid($node), $worker, 'the worker is the same');

# ---- Killed: a sleeping session, and the worker ------------------------------------------------------

# Either makes the postmaster start all over, with new shared memory.
sub check_kill {
    my ($name, $victim) = @_;
    for my $round (1 .. KILLS) {
        my @writers;
        for (1 .. KILL_SESSIONS) {
            push @writers, writer_start($node, transfer_sql('#', 2) =~ s/^SELECT /SELECT # FROM /r, $next);
            $next += KILL_NUMBERS;
        }
        wait_acknowledged(1, @writers);
        my $starts = postmaster_pid($node);
        my $before = worker_pid($node);
        wait_for("a victim: $name", sub {
            my @victims = $victim->();
            return @victims > 0 && kill 'KILL', $victims[0];
        });
        $_->{run}->finish for @writers;
        $acknowledged{$_} = 1 for map { acknowledged($_) } @writers;
        wait_for('the worker is gone', sub { return !kill 0, $before });
        wait_role($node, 'primary');
        is(postmaster_pid($node), $starts, "$name, round $round: the server has restarted itself");
        isnt(worker_pid($node), $before, "$name, round $round: another worker");
        check_acknowledged("$name, round $round");
        is(value($node, transfer_sql((take_ids(1))[0], 2)), 'created', "$name, round $round: it works on");
    }
    return;
}

check_kill('kill -9 of a sleeping session', sub {
    return grep { state_of($_) eq 'S' } waiting_pids($node, 'create_transfer');
});
check_kill('kill -9 of the worker', sub { return worker_pid($node) });

$node->stop;
done_testing();
