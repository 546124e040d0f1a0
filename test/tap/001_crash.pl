# SPDX-License-Identifier: PostgreSQL
#
# kill -9 of the worker, of a backend and of the postmaster, under load: what was acknowledged is there, once; whether the
# answer waits for both writes of the log or for the first.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    ROUNDS => 20,
    ACCOUNTS => 10,
    SINGLE_WRITERS => 3,
    BATCH_EVENTS => 500,
    WRITER_NUMBERS => 10_000_000,    # More than a writer ever uses.
    ACKNOWLEDGED_MIN => 100,    # of each writer, before the kill
};
my @VICTIMS = qw(worker backend postmaster);

my $node = ledger_node('main', settings => 'max_connections = 20');
ledger_setup($node);
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

# The number of each transfer is answered when it is acknowledged.
sub single_sql {
    my $accounts = ACCOUNTS;
    return "SELECT # FROM ledger.create_transfer(ledger.id(#), ledger.id(# % $accounts + 1),"
        . " ledger.id((# + 1 + # / $accounts % ($accounts - 1)) % $accounts + 1), # % 97 + 1, 1, 1);";
}

sub events_sql {
    my ($ranges) = @_;
    my $accounts = ACCOUNTS;
    return "ARRAY(SELECT ROW(ledger.id(i), ledger.id(i % $accounts + 1),"
        . " ledger.id((i + 1 + i / $accounts % ($accounts - 1)) % $accounts + 1), i % 97 + 1, NULL,"
        . " NULL, 0, 0, 0, 1, 1, NULL, NULL)::ledger.transfer_input FROM ($ranges) r (i) ORDER BY i)";
}

sub range_sql {
    my ($first, $last) = @_;
    return "SELECT generate_series($first, $last)";
}

sub acknowledging_batch_sql {
    return 'SELECT # + index - 1 FROM ledger.create_transfers('
        . events_sql(range_sql('#', '# + ' . (BATCH_EVENTS - 1))) . ") WHERE status = 'created';";
}

# The numbers that a writer may have asked for: those that were acknowledged, and one statement more.
sub asked_range {
    my ($writer) = @_;
    my @acknowledged = acknowledged($writer);
    return ($writer->{first}, (@acknowledged ? $acknowledged[-1] : $writer->{first} - 1) + $writer->{step});
}

sub kill_victim {
    my ($victim) = @_;
    if ($victim eq 'postmaster') {
        kill_postmaster($node);
        return $node->start;
    }
    my @all = server_pids($node);
    # A session that waits for nothing right now isn't in the middle of anything.
    wait_for("a victim: $victim", sub {
        my $pid =
            $victim eq 'worker'
            ? worker_pid($node)
            : value($node, "SELECT max(pid) FROM pg_stat_activity WHERE application_name = 'writer' AND state = 'active'");
        return $pid && kill 'KILL', $pid;
    });
    return wait_gone(@all);
}

# Of the numbers of these ranges, and of all that were not asked for until $next.
sub numbers_there {
    my ($first, $next) = @_;
    return split /\n/, value($node,
        'SELECT n FROM (SELECT ledger.id_numeric(id) FROM ledger.transfers) t (n)'
            . " WHERE n >= $first AND n < $next");
}

# Sends all transfers of the round again: how many had which status.
sub retry_round {
    my ($ranges) = @_;
    my %statuses = split /[|\n]/, value($node,
        'SELECT status, count(*) FROM ledger.create_transfers(' . events_sql($ranges) . ') GROUP BY 1');
    $statuses{$_} //= 0 for 'created', 'exists';
    return join ' ', map { "$_=$statuses{$_}" } sort keys %statuses;
}

my %everything;
my $next = WRITER_NUMBERS;
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
    for my $statement ((single_sql()) x SINGLE_WRITERS, acknowledging_batch_sql()) {
        my $step = @writers < SINGLE_WRITERS ? 1 : BATCH_EVENTS;
        # The batches come last, as they would be too many by the time that the others have got on.
        wait_acknowledged(ACKNOWLEDGED_MIN, @writers) if $step > 1;
        push @writers, writer_start($node, $statement, $next, step => $step);
        $writers[-1]{first} = $next;
        $writers[-1]{step} = $step;
        $next += WRITER_NUMBERS;
    }

    wait_acknowledged(ACKNOWLEDGED_MIN, $writers[-1]);
    kill_victim($victim);
    $_->{run}->finish for @writers;
    my @acknowledged = map { acknowledged($_) } @writers;
    wait_role($node, 'primary');

    my @asked = map { [asked_range($_)] } @writers;
    my $ranges = join ' UNION ALL ', map { range_sql(@{$_}) } @asked;
    my %asked = map { $_ => 1 } map { $_->[0] .. $_->[1] } @asked;
    my @there = numbers_there($first, $next);
    my %there = map { $_ => 1 } @there;
    my @lost = grep { !$there{$_} } @acknowledged;
    is(scalar @lost, 0, "round $round, $victim: all " . @acknowledged . ' acknowledged transfers are there');
    is(scalar @there, scalar keys %there, "round $round: once");
    is(scalar(grep { !$asked{$_} } @there), 0, "round $round: and none that nobody asked for");
    is(value($node, 'SELECT sum(debits_posted) = sum(credits_posted) FROM ledger.accounts'),
        't', "round $round: debits are credits");
    is(
        retry_round($ranges),
        'created=' . (keys(%asked) - @there) . ' exists=' . @there,
        "round $round: a retry creates what is missing and nothing else");
    $everything{$_} = 1 for keys %asked;
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
