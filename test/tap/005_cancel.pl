# SPDX-License-Identifier: PostgreSQL
#
# Calls that are cancelled, time out or are terminated while the engine does not answer: the error says that the outcome
# is unknown, a retry finds out, and slots come back.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

use constant {
    REPEATS => 60,
    BULK_SLOTS => 2,
    BULK_EVENTS => 1000,
    BULK_SESSIONS => 6,
    RUNNING_SESSIONS => 8,
    RUNNING_CALLS => 60,
    WOKEN_CALLS => 30,
};

my $node = ledger_node('main', settings => 'ledger.bulk_slots = ' . BULK_SLOTS);
ledger_setup($node);
create_two_accounts($node);
my $unknown = qr/DETAIL:  The outcome of the ledger request is unknown\.\nHINT:  Retry with the same ids/;
my $worker = worker_pid($node);
my $next = 1;
my @ids;

sub take_id {
    push @ids, $next++;
    return $ids[-1];
}

# While the worker stands still.
sub with_stopped_worker {
    my ($what) = @_;
    kill 'STOP', $worker or die $!;
    my $ok = eval { $what->(); 1 };
    my $error = $@;
    kill 'CONT', $worker or die $!;
    die $error unless $ok;
    return;
}

# Waits for a request of another session, and applies this function to its process.
sub signal_waiting {
    my ($function) = @_;
    value($node, "SELECT $function($_)") for wait_waiting($node, 'create_transfer', 1);
    return;
}

# Whatever became of it, it is there once after a retry.
sub check_retry {
    my ($name, $id) = @_;
    like(value($node, transfer_sql($id, 2)), qr/^(created|exists)$/, "$name: a retry answers");
    is(value($node, transfer_sql($id, 2)), 'exists', "$name: and then it exists");
    return is(value($node, "SELECT count(*) FROM ledger.transfers WHERE id = ledger.id($id)"), 1, "$name: once");
}

my $id = take_id();
with_stopped_worker(sub {
    my $error = error_of($node, "SET statement_timeout = '3s'; " . transfer_sql($id, 2));
    like($error, qr/57014: canceling statement due to statement timeout/, 'statement_timeout: its own error');
    like($error, $unknown, 'statement_timeout: the outcome is unknown');
});
check_retry('statement_timeout', $id);

for my $case (['pg_cancel_backend', qr/57014: canceling statement due to user request/],
    ['pg_terminate_backend', qr/57P01: terminating connection due to administrator command/]) {
    my ($function, $message) = @{$case};
    $id = take_id();
    with_stopped_worker(sub {
        my $session = session($node, transfer_sql($id, 2));
        signal_waiting($function);
        my ($out, $err) = session_finish($session);
        is($out, '', "$function: no answer");
        like($err, $message, "$function: its own error");
        like($err, $unknown, "$function: the outcome is unknown");
    });
    check_retry($function, $id);
}

# ---- Reads have no outcome to be unsure of -----------------------------------------------------------

with_stopped_worker(sub {
    my $error = error_of($node, "SET statement_timeout = '200ms'; SELECT * FROM ledger.accounts;");
    like($error, qr/57014: canceling statement due to statement timeout/, 'a read: cancelled');
    unlike($error, qr/outcome/, 'a read: no outcome');
});

# ---- Slots come back ---------------------------------------------------------------------------------

# One session, the worker still all the time: its own slot stays on the list and taken (K1), and then the large ones, so
# later calls wait for one and are cancelled there, where nothing was sent yet.
my @repeated = map { take_id() } 1 .. REPEATS;
with_stopped_worker(sub {
    my $session = session($node,
        "\\set ON_ERROR_STOP off\nSET statement_timeout = '20ms';\n"
            . join "\n", map { transfer_sql($_, 2) } @repeated);
    my ($out, $err) = session_finish($session);
    is($out, '', REPEATS . ' calls of one session: none was answered');
    my @cancelled = $err =~ /57014: canceling statement due to statement timeout/g;
    is(scalar @cancelled, REPEATS, REPEATS . ' calls of one session: all were cancelled');
    my @outcomes = $err =~ /outcome/g;
    ok(@outcomes >= 1 && @outcomes <= 1 + BULK_SLOTS,
        REPEATS . ' calls of one session: those that were sent say unknown');
});

# Many sessions, each with a slot of its own and gone before it is answered.
my @separate = map { take_id() } 1 .. REPEATS;
for my $each (@separate) {
    with_stopped_worker(sub { error_of($node, "SET statement_timeout = '10ms'; " . transfer_sql($each, 2)) });
}

my @bulk = map { 1_000_000 + $_ * BULK_EVENTS } 1 .. BULK_SESSIONS;
for my $each (@bulk) {
    with_stopped_worker(sub {
        my $error = error_of($node, "SET statement_timeout = '100ms'; " . batch_sql($each, BULK_EVENTS, 2));
        like($error, qr/57014/, "a large request is cancelled: $each");
    });
}
# More sessions than large slots: each takes one over from others, and meets neither their input (K2) nor their
# answers (K3).
my @sessions = map { session($node, batch_sql($_, BULK_EVENTS, 2)) } @bulk;
for my $session (@sessions) {
    my ($out, $err) = session_finish($session);
    is($err, '', 'large requests at the same time: no error');
    my %statuses = split /[|\n]/, $out;
    is(($statuses{created} // 0) + ($statuses{exists} // 0), BULK_EVENTS, 'large requests at the same time: answered');
}
# ---- Left while they run (K3) ------------------------------------------------------------------------

# The worker is halted again and again under load, so that it often has requests whose owners leave: soon, later, and one of
# them never. Some have left before it begins.
my @running = map { [map { take_id() } 1 .. RUNNING_CALLS] } 1 .. RUNNING_SESSIONS;
kill 'STOP', $worker or die $!;
my @leaving = map {
    session($node,
        "\\set ON_ERROR_STOP off\nSET statement_timeout = '"
            . ($_ == 0 ? 0 : $_ < RUNNING_SESSIONS / 2 ? 5 : 50) . "ms';\n"
            . join "\n", map { transfer_sql($_, 2) } @{ $running[$_] })
} 0 .. RUNNING_SESSIONS - 1;
wait_for('one that leaves', sub {
    $_->{run}->pump_nb for @leaving;
    return grep { $_->{err} =~ /57014/ } @leaving;
});
kill 'CONT', $worker or die $!;
for (1 .. 100) {
    kill 'STOP', $worker or die $!;
    usleep(12_000);
    kill 'CONT', $worker or die $!;
    usleep(8_000);
}
my ($answered, $left) = (0, 0);
for my $session (@leaving) {
    my ($out, $err) = session_finish($session);
    $answered += () = $out =~ /^created$/mg;
    # A timeout that comes just when its statement ends is told of the next one, and then as a user's request.
    $left += () = $err =~ /57014: canceling statement due to (?:statement timeout|user request)/g;
    unlike($err, qr/ERROR:  (?!57014)/, 'left while they run: no other error');
}
is($answered + $left, RUNNING_CALLS * RUNNING_SESSIONS, 'left while they run: answered, or cancelled');
ok($answered > 0 && $left > 0, "left while they run: $answered answered, $left cancelled");

# ---- Nobody sleeps until the time is up ---------------------------------------------------------------

# A session that isn't woken finds its answer after 50 ms all the same, so only the time tells, beside that of a session that
# looks for its answer all the time: the disk is the same. The least difference of some rounds, as anybody may be held up.
sub seconds_with {
    my ($spin) = @_;
    my @calls = map { take_id() } 1 .. WOKEN_CALLS;
    $node->append_conf('postgresql.conf', "ledger.spin = $spin");
    $node->reload;
    wait_for('the reload', sub { return value($node, q{SHOW ledger.spin}) eq $spin });
    my $start = time;
    my ($out) = session_finish(session($node, join "\n", map { transfer_sql($_, 2) } @calls));
    my $seconds = time - $start;
    is(scalar(() = $out =~ /^created$/mg), WOKEN_CALLS, "spin $spin: answered");
    return $seconds;
}

my $late;
for my $round (1 .. 10) {
    my ($spinning, $sleeping) = (seconds_with(100), seconds_with(0));
    $late = $sleeping - $spinning if !defined $late || $sleeping - $spinning < $late;
    last if $late < WOKEN_CALLS * 0.01;
}
cmp_ok($late, '<', WOKEN_CALLS * 0.01, 'without spinning: sessions are woken');

value($node, join "\n", map { transfer_sql($_, 2) } @repeated, @separate, map { @{$_} } @running);
is(worker_pid($node), $worker, 'the worker is the same');
my $total = @ids + BULK_SESSIONS * BULK_EVENTS;
is(
    value($node, 'SELECT count(*), count(DISTINCT id), sum(amount) FROM ledger.transfers'),
    join('|', $total, $total, 2 * $total),
    'each transfer is there once');
is_balanced($node, 'balances are those of the transfers');

$node->stop;
done_testing();
