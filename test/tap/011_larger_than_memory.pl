# SPDX-License-Identifier: PostgreSQL
#
# Ten times as much data as memory: loaded in large batches with a kill -9 of the postmaster in the middle, then counted
# account by account, and verified. A restart takes as long as the log is, not as the data; and the worker's memory is
# what it was told to take.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

use constant {
    TRANSFERS => $ENV{LEDGER_TEST_TRANSFERS} // 5_000_000,
    ACCOUNTS => 10_000,
    CHUNK => 4 * 8190,    # Transfers of a call: cut into four.
    SESSIONS => 2,
    MEMORY_MB => 128,
    POSTGRES_MB => 32,    # A server process's own: code, libraries, caches.
    # What takes much longer than its half a minute at most isn't held up, but does too much.
    RESTART_S_MAX => 120,
    LOAD_S_MAX => 900,
    TIMEOUT_S => 900,
    ACCOUNTS_CHECKED => 20,
    TRANSFERS_CHECKED => 2000,
};

my $node = ledger_node('main', settings => 'ledger.memory = ' . MEMORY_MB . "MB\nledger.wal_size = 256MB");
ledger_setup($node);

# What transfer number i is, by its number alone. An id has the number's bytes in reverse: scattered, as random ids are.
value($node, <<'SQL' =~ s/ACCOUNTS/ACCOUNTS/ger);
CREATE FUNCTION debit_of(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS 'SELECT 1 + (i * 2654435761 / 65536) % ACCOUNTS';
CREATE FUNCTION credit_of(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS 'SELECT 1 + (debit_of(i) + i / 10 % (ACCOUNTS - 1)) % ACCOUNTS';
CREATE FUNCTION amount_of(i bigint) RETURNS bigint LANGUAGE sql IMMUTABLE
    AS 'SELECT 256 * (i % 97 + 1)';
CREATE FUNCTION uuid_of(i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (repeat('0', 16) || string_agg(lpad(to_hex(get_byte(int8send(i), k)), 2, '0'), '' ORDER BY k DESC))::uuid
    FROM generate_series(0, 7) k
$$;
CREATE TABLE checked_accounts AS SELECT DISTINCT 1 + floor(random() * ACCOUNTS)::bigint AS account
    FROM generate_series(1, 20);
SQL

# Records as the packed functions take them; numbers that are constant, little-endian, are the tail.
my $zeros8 = sprintf "'\\x%s'::bytea", '0' x 16;
my $tail = sprintf "'\\x%s'::bytea", '01000000' . '0100' . '0' x 20;
my $accounts_sql = "SELECT length(ledger.create_accounts_packed((SELECT string_agg(int8send(i) || "
    . sprintf("'\\x%s'::bytea", '0' x 208) . " || $tail, '') FROM generate_series(1, %d) i)))";
is(value($node, sprintf $accounts_sql, ACCOUNTS), 16 * ACCOUNTS, 'accounts');

# Prints the chunk's number when it is acknowledged.
sub chunk_sql {
    my ($chunk) = @_;
    my $first = 1 + $chunk * CHUNK;
    my $last = $first + CHUNK - 1 < TRANSFERS ? $first + CHUNK - 1 : TRANSFERS;
    return "SELECT $chunk WHERE length(ledger.create_transfers_packed((SELECT string_agg("
        . "int8send(i) || $zeros8 || int8send(debit_of(i)) || $zeros8 || int8send(credit_of(i)) || $zeros8"
        . " || int2send((i % 97 + 1)::int2) || " . sprintf("'\\x%s'::bytea", '0' x 124) . " || $tail, '')"
        . " FROM generate_series($first\::bigint, $last) i))) > 0;\n";
}

# The memory of the worker that isn't shared with sessions; call it when the engine has worked.
sub is_memory_bounded {
    my ($when) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $status = slurp_file('/proc/' . worker_pid($node) . '/status');
    my ($anon_kb) = $status =~ /^RssAnon:\s+(\d+) kB$/m;
    my ($file_kb) = $status =~ /^RssFile:\s+(\d+) kB$/m;
    my $mb = ($anon_kb + $file_kb) / 1024;
    diag(sprintf 'memory %s: %.0f MB, %.0f MB of it anonymous', $when, $mb, $anon_kb / 1024);
    cmp_ok($mb, '<', MEMORY_MB + POSTGRES_MB, "memory $when");
    return;
}

my $folder = PostgreSQL::Test::Utils::tempdir();
my $scripts = 0;

sub start_load {
    my ($chunks) = @_;
    my @sessions;
    for my $number (0 .. SESSIONS - 1) {
        my $script = $folder . '/' . $scripts++ . '.sql';
        my @own = @{$chunks}[grep { $_ % SESSIONS == $number } 0 .. $#{$chunks}];
        append_to_file($script, join '', map { chunk_sql($_) } @own);
        my $session = {out => '', err => ''};
        $session->{run} = IPC::Run::start(
            ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script],
            '>', \$session->{out}, '2>', \$session->{err}, IPC::Run::timeout(TIMEOUT_S));
        push @sessions, $session;
    }
    return @sessions;
}

# The chunks that were acknowledged.
sub finish_load {
    my (@sessions) = @_;
    $_->{run}->finish for @sessions;
    return map { split /\n/, $_->{out} } @sessions;
}

# ---- Load, and a kill in the middle ------------------------------------------------------------------

my @chunks = 0 .. int((TRANSFERS + CHUNK - 1) / CHUNK) - 1;
my $load_start = time;
my @sessions = start_load(\@chunks);
my $half = int(TRANSFERS / 2);
my $end = time + TIMEOUT_S;
until (status_of($node, 'transfers') >= $half) {
    die 'timed out: half of the load' if time > $end;
    $_->{run}->pump_nb for @sessions;
    select undef, undef, undef, 0.2;
}
is_memory_bounded('in the middle of the load');
kill_postmaster($node);
my %acknowledged = map { $_ => 1 } finish_load(@sessions);
my $load_s = time - $load_start;
cmp_ok(scalar keys %acknowledged, '>', 0, 'the kill came after ' . (scalar keys %acknowledged) . ' of ' . @chunks . ' chunks');

my $restart_start = time;
$node->start;
wait_role($node, 'primary');
my $restart_s = time - $restart_start;
my $there = status_of($node, 'transfers');
diag(sprintf 'restart with %d transfers: %.1f s, %s ops replayed', $there, $restart_s, status_of($node, 'ops_replayed'));
cmp_ok($restart_s, '<', RESTART_S_MAX, 'the restart is short');
my ($op, $replayed, $held) = split /\|/,
    status_of($node, 'op, ops_replayed, wal_size / (8190 * 128)');
cmp_ok($replayed, '<=', $held, "no more is replayed than the log can hold: $replayed of $op ops");
cmp_ok($there, '>=', CHUNK * (keys(%acknowledged) - 1), 'after the restart: what was acknowledged is there');

# What was not acknowledged is sent again.
$load_start = time;
finish_load(start_load([grep { !$acknowledged{$_} } @chunks]));
$load_s += time - $load_start;
diag(sprintf '%d transfers in %.1f s, which includes making them', TRANSFERS, $load_s);
cmp_ok($load_s, '<', LOAD_S_MAX, 'the load is not slow');

is_memory_bounded('after the load');

# ---- All of it is there, once ------------------------------------------------------------------------

is(status_of($node, 'transfers'), TRANSFERS, 'number of transfers');
cmp_ok(value($node, 'SELECT grid_used FROM ledger.storage'),
    '>', TRANSFERS * 200 > MEMORY_MB * 2**20 ? MEMORY_MB * 2**20 : TRANSFERS * 200, 'more data than memory');
is(value($node, 'SELECT sum(debits_posted) = sum(credits_posted), sum(debits_posted) FROM ledger.accounts'),
    't|' . value($node, 'SELECT sum(amount_of(i)) FROM generate_series(1::bigint, ' . TRANSFERS . ') i'),
    'the books balance');

value($node, <<'SQL' =~ s/TRANSFERS/TRANSFERS/ger);
CREATE TABLE kept AS
    SELECT account, count(*) FILTER (WHERE debit_of(i) = account) AS debits,
        count(*) FILTER (WHERE credit_of(i) = account) AS credits,
        sum(amount_of(i)) FILTER (WHERE debit_of(i) = account) AS debit_sum,
        sum(amount_of(i)) FILTER (WHERE credit_of(i) = account) AS credit_sum
    FROM generate_series(1::bigint, TRANSFERS) i
    JOIN checked_accounts ON account IN (debit_of(i), credit_of(i))
    GROUP BY account;
SQL
my $checked = value($node, 'SELECT count(*) FROM kept');
is($checked, value($node, 'SELECT count(*) FROM checked_accounts'), "$checked accounts have transfers");
is(value($node, <<'SQL'), $checked, 'their balances are those of their transfers');
SELECT count(*) FROM kept JOIN ledger.accounts a ON a.id = uuid_of(account)
WHERE a.debits_posted = debit_sum AND a.credits_posted = credit_sum
SQL
is(value($node, <<'SQL'), $checked, 'their histories are complete');
SELECT count(*) FROM kept CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE debit_account_id = uuid_of(account)) AS debits,
        count(*) FILTER (WHERE credit_account_id = uuid_of(account)) AS credits,
        count(DISTINCT id) AS ids,
        sum(amount) AS amounts
    FROM ledger.get_account_transfers(uuid_of(account), "limit" => 8190)) AS history
WHERE (history.debits, history.credits, ids, amounts)
    = (kept.debits, kept.credits, kept.debits + kept.credits, debit_sum + credit_sum)
SQL
my $lookup_sql = 'WITH wanted AS MATERIALIZED (SELECT DISTINCT 1 + floor(random() * %d)::bigint AS i'
    . ' FROM generate_series(1, %d))'
    . ' SELECT count(*) = (SELECT count(*) FROM wanted) FROM wanted JOIN ledger.lookup_transfers('
    . ' (SELECT array_agg(uuid_of(i)) FROM wanted)) t ON t.id = uuid_of(i)'
    . ' AND t.amount = amount_of(i) AND t.debit_account_id = uuid_of(debit_of(i))'
    . ' AND t.credit_account_id = uuid_of(credit_of(i))';
is(value($node, sprintf $lookup_sql, TRANSFERS, TRANSFERS_CHECKED), 't', 'transfers are found by their ids');
is(value($node, 'SELECT count(*) FROM ledger.lookup_transfers(ARRAY(SELECT uuid_of(i) FROM generate_series('
    . (TRANSFERS + 1) . '::bigint, ' . (TRANSFERS + 1000) . ') i))'), 0, 'and none that were never made');
diag(value($node, "SELECT format('grid %s MB, %s bytes written for each transfer, cache hits %s %%, %s tables of %s',"
    . " grid_used / 1048576, round(bytes_per_transfer), round(100 * cache_hit_ratio), tables, tables_max)"
    . ' FROM ledger.storage'));

my $verify_start = time;
is(value($node, 'SELECT count(*) FROM ledger.verify()'), 0, 'verify finds nothing');
diag(sprintf 'verified in %.1f s', time - $verify_start);
is_memory_bounded('after all of it was read');

$node->stop;
done_testing();
