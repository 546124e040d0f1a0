# SPDX-License-Identifier: PostgreSQL
#
# PostgreSQL 18 and newer do asynchronous I/O of their own, with io_uring too, and have uuidv7(). Both beside ours: the
# server's rings and the worker's must not meet, and the ids of either function are as good as the other's.
use strict;
use warnings FATAL => 'all';

use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ledger_node('main', settings => "shared_buffers = 2MB\n");
plan skip_all => 'the server has no asynchronous I/O of its own' if $node->pg_version < 18;

my $sessions = 4;
my $calls = 50;
my $next = 1;

# The server's own method; says so and goes on with its workers where this build or kernel has no io_uring.
sub start_server {
    $node->append_conf('postgresql.conf', 'io_method = io_uring');
    if (!$node->start(fail_ok => 1)) {
        diag('the server itself cannot use io_uring here: io_method = worker');
        $node->append_conf('postgresql.conf', 'io_method = worker');
        $node->start;
    }
    $node->safe_psql('postgres', 'CREATE EXTENSION ledger');
    wait_role($node, 'primary');
    return;
}

# Each session reads a table far larger than the server's memory, and moves money, in turns.
sub begin_sessions {
    my @running;
    for (1 .. $sessions) {
        my $first = $next;
        my $scan = 'SELECT count(*), sum(length(pad)) FROM wide;';
        my $moves = join "\n", map { transfer_sql($first + $_, 1) } 0 .. $calls - 1;
        push @running, session($node, "$scan\n$moves\n$scan");
        $next += $calls;
    }
    return @running;
}

sub check_sessions {
    my ($name) = @_;
    my $created = 0;
    my $scans = 0;
    for my $session (begin_sessions()) {
        my ($out, $err) = session_finish($session);
        is($err, '', "$name: no error");
        $created += () = $out =~ /^created$/mg;
        $scans += () = $out =~ /^40000\|40000000$/mg;
    }
    is($created, $sessions * $calls, "$name: each transfer is made");
    return is($scans, 2 * $sessions, "$name: each scan reads all of the server's table");
}

start_server();
create_two_accounts($node);
value($node, q{CREATE TABLE wide AS SELECT i, repeat(chr(97 + i % 26), 1000) AS pad FROM generate_series(1, 40000) i});
value($node, 'CHECKPOINT');

for my $method (qw(io_uring sync)) {
    $node->append_conf('postgresql.conf', "ledger.io_method = $method");
    $node->restart;
    wait_role($node, 'primary');
    is(status_of($node, 'io_method'), $method, "ledger.io_method = $method beside the server's own");
    check_sessions($method);
    is_balanced($node, "$method: balanced");
}

# All of it ends at once, in the middle of both.
my @running = begin_sessions();
ok(
    wait_for('some transfers', sub { value($node, 'SELECT count(*) FROM ledger.transfers') > 2 * $sessions * $calls }),
    'sessions have begun');
my $seen = value($node, 'SELECT count(*) FROM ledger.transfers');
kill_postmaster($node);
eval { session_finish($_) } for @running;
$node->start;
wait_role($node, 'primary');
cmp_ok(value($node, 'SELECT count(*) FROM ledger.transfers'), '>=', $seen, 'killed: nothing that was seen is lost');
is_balanced($node, 'killed: balanced');
check_sessions('after the crash');

# ---- uuidv7() of the server --------------------------------------------------------------------------

my $pay = 'SELECT ledger.create_transfer(%s, ledger.id(1), ledger.id(2), 1, 1, 1)';
is(value($node, sprintf $pay, 'uuidv7()'), 'created', q{an id of the server's uuidv7()});
is(value($node, sprintf $pay, 'ledger.uuidv7()'), 'created', 'and one of ours');
is(
    value(
        $node,
        'SET search_path = ledger, public;'
            . ' SELECT uuid_extract_version(uuidv7()), uuid_extract_version(ledger.uuidv7())'),
    '7|7',
    'with ledger in search_path neither is ambiguous');
is(
    value(
        $node,
        'SELECT bool_and(abs(extract(epoch FROM uuid_extract_timestamp(u) - clock_timestamp())) < 60)'
            . ' FROM (VALUES (uuidv7()), (ledger.uuidv7())) ids (u)'),
    't',
    'both carry the time of now');
my @ids;
for (1 .. 5) {
    push @ids, value($node, 'SELECT ledger.id_numeric(uuidv7())'), value($node, 'SELECT ledger.id_numeric(ledger.uuidv7())');
}
is(
    value($node, 'SELECT bool_and(n > before) FROM (SELECT n, lag(n, 1, 0::numeric) OVER (ORDER BY i) AS before'
            . " FROM unnest(ARRAY[@{[join ',', @ids]}]) WITH ORDINALITY AS made (n, i)) steps"),
    't',
    'and made in turns they ascend');

$node->stop;
done_testing();
