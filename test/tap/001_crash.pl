# SPDX-License-Identifier: PostgreSQL
#
# kill -9 of the worker, of a backend and of the postmaster, under load: what was acknowledged is there, once; whether the
# answer waits for both writes of the log or for the first.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    ROUNDS => 20,
    ACCOUNTS => 10,
    SINGLE_WRITERS => 3,
    SINGLES => 400,        # transfers of a single writer
    BATCHES => 16,         # batches of the batch writer
    BATCH_EVENTS => 500,
    ACKNOWLEDGED_MIN => 100,    # of each writer, before the kill
};
my @VICTIMS = qw(worker backend postmaster);

my $node = ledger_node('main', settings => 'max_connections = 20');
ledger_setup($node);
my $folder = PostgreSQL::Test::Utils::tempdir();
value($node,
    'SELECT count(*) FROM ledger.create_accounts(ARRAY(SELECT ROW(ledger.id(i), NULL, 0, 0, 1, 1, NULL, NULL)'
        . '::ledger.account_input FROM generate_series(1, ' . ACCOUNTS . ') i))');

# All that a transfer is follows from its number, so that a retry is the same request.
sub parties {
    my ($number) = @_;
    my $debit = $number % ACCOUNTS + 1;
    my $credit = ($number + 1 + int($number / ACCOUNTS) % (ACCOUNTS - 1)) % ACCOUNTS + 1;
    return ($debit, $credit, $number % 97 + 1);
}

sub single_sql {
    my ($number) = @_;
    my ($debit, $credit, $amount) = parties($number);
    return "SELECT $number FROM ledger.create_transfer("
        . "ledger.id($number), ledger.id($debit), ledger.id($credit), $amount, 1, 1);\n";
}

sub events_sql {
    my ($first, $count) = @_;
    my $accounts = ACCOUNTS;
    return "ARRAY(SELECT ROW(ledger.id(i), ledger.id(i % $accounts + 1),"
        . " ledger.id((i + 1 + i / $accounts % ($accounts - 1)) % $accounts + 1), i % 97 + 1, NULL,"
        . " NULL, 0, 0, 0, 1, 1, NULL, NULL)::ledger.transfer_input"
        . " FROM generate_series($first, $first + $count - 1) i ORDER BY i)";
}

sub acknowledging_batch_sql {
    my ($first, $count) = @_;
    return "SELECT $first + index - 1 FROM ledger.create_transfers(" . events_sql($first, $count)
        . ") WHERE status = 'created';\n";
}

# Writes a script, and starts a session that prints the number of each transfer when it is acknowledged.
sub start_writer {
    my ($name, $sql) = @_;
    my $writer = {acknowledged => "$folder/$name.out"};
    open my $file, '>', "$folder/$name.sql" or die $!;
    print {$file} $sql or die $!;
    close $file or die $!;
    open $file, '>', $writer->{acknowledged} or die $!;
    close $file or die $!;
    $writer->{run} = IPC::Run::start(
        ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres') . ' application_name=writer',
            '-f', "$folder/$name.sql"],
        '>', $writer->{acknowledged}, '2>', "$folder/$name.err");
    return $writer;
}

# A line that a killed psql has not finished is no acknowledgement.
sub acknowledged {
    my ($writer) = @_;
    my @numbers = slurp_file($writer->{acknowledged}) =~ /^(\d+)\n/mg;
    return @numbers;
}

sub kill_victim {
    my ($victim) = @_;
    if ($victim eq 'postmaster') {
        kill_postmaster($node);
        return $node->start;
    }
    my @all = server_pids($node);
    # A session may have ended by itself, between being found and being killed.
    for my $attempt (1 .. 5) {
        my $pid =
            $victim eq 'worker'
            ? worker_pid($node)
            : value($node, "SELECT max(pid) FROM pg_stat_activity WHERE application_name = 'writer'");
        last if $pid && kill 'KILL', $pid;
        die "kill $pid: $!" if $attempt == 5;
    }
    return wait_gone(@all);
}

sub numbers_there {
    my ($first, $count) = @_;
    return split /\n/, value($node,
        "SELECT ledger.id_numeric(id) FROM ledger.lookup_transfers(ARRAY("
            . "SELECT ledger.id(i) FROM generate_series($first, $first + $count - 1) i))");
}

# Sends all transfers of the round again: how many had which status.
sub retry_round {
    my ($first, $count) = @_;
    my %statuses = split /[|\n]/, value($node,
        "SELECT status, count(*) FROM ledger.create_transfers(" . events_sql($first, $count) . ") GROUP BY 1");
    $statuses{$_} //= 0 for 'created', 'exists';
    return join ' ', map { "$_=$statuses{$_}" } sort keys %statuses;
}

my %everything;
my $round_events = SINGLE_WRITERS * SINGLES + BATCHES * BATCH_EVENTS;
my $next = 1000;
for my $round (1 .. ROUNDS) {
    if ($round == ROUNDS / 2 + 1) {
        is(value($node, 'SHOW ledger.wal_sync'), 'both', 'the first half waits for both writes');
        $node->append_conf('postgresql.conf', 'ledger.wal_sync = first');
        $node->restart;
        wait_role($node, 'primary');
        is(value($node, 'SHOW ledger.wal_sync'), 'first', 'the second half for the first one');
    }
    my $victim = $VICTIMS[ $round % @VICTIMS ];
    my $first = $next;
    my @writers;
    for my $writer (1 .. SINGLE_WRITERS) {
        push @writers, start_writer("single$writer", join '', map { single_sql($next + $_) } 0 .. SINGLES - 1);
        $next += SINGLES;
    }
    push @writers,
        start_writer('batch', join '',
            map { acknowledging_batch_sql($next + $_ * BATCH_EVENTS, BATCH_EVENTS) } 0 .. BATCHES - 1);
    $next += BATCHES * BATCH_EVENTS;

    wait_for('acknowledgements', sub { !grep { acknowledged($_) < ACKNOWLEDGED_MIN } @writers });
    kill_victim($victim);
    $_->{run}->finish for @writers;
    my @acknowledged = map { acknowledged($_) } @writers;
    wait_role($node, 'primary');

    my @there = numbers_there($first, $round_events);
    my %there = map { $_ => 1 } @there;
    my @lost = grep { !$there{$_} } @acknowledged;
    is(scalar @lost, 0, "round $round, $victim: all " . @acknowledged . ' acknowledged transfers are there');
    is(scalar @there, scalar keys %there, "round $round: once");
    cmp_ok(scalar @acknowledged, '<', $round_events, "round $round: it was killed under load");
    is(value($node, 'SELECT sum(debits_posted) = sum(credits_posted) FROM ledger.accounts'),
        't', "round $round: debits are credits");
    is(
        retry_round($first, $round_events),
        'created=' . ($round_events - @there) . ' exists=' . @there,
        "round $round: a retry creates what is missing and nothing else");
    $everything{$_} = 1 for $first .. $next - 1;
}

is_balanced($node, 'in the end, balances are those of the transfers');
my @there = split /\n/, value($node, 'SELECT ledger.id_numeric(id) FROM ledger.transfers');
is(scalar @there, scalar keys %everything, 'all transfers are there once');
is(scalar(grep { !$everything{$_} } @there), 0, 'and no others');

my %expected;
for my $number (keys %everything) {
    my ($debit, $credit, $amount) = parties($number);
    $expected{$debit}[0] += $amount;
    $expected{$credit}[1] += $amount;
}
is(
    value($node, 'SELECT ledger.id_numeric(id), debits_posted, credits_posted FROM ledger.accounts ORDER BY id'),
    join("\n", map { join '|', $_, @{ $expected{$_} } } sort { $a <=> $b } keys %expected),
    'each balance is what was sent');
cmp_ok(status_of($node, 'checkpoint_op'), '>', 0, 'there were checkpoints');

$node->stop;
done_testing();
