# SPDX-License-Identifier: PostgreSQL
#
# A cluster over TCP, with TLS and a shared secret: a node with a wrong secret, or without one, and strangers get nothing;
# a secret is replaced while the nodes run.
use strict;
use warnings FATAL => 'all';

use ClusterTest;
use File::Spec;
use IO::Socket::INET;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $folder = File::Spec->rel2abs(PostgreSQL::Test::Utils::tempdir());
my $old = 'old:' . '1f' x 32;
my $new = 'new:' . '2e' x 32;

# The file's mode is a part of what is checked.
sub write_secrets {
    my ($name, $mode, @lines) = @_;
    my $path = "$folder/$name.secret";
    unlink $path;
    append_to_file($path, join('', map { "$_\n" } @lines));
    chmod $mode, $path or die $!;
    return $path;
}

# A loopback address that nobody else uses, so that ports are free, and stay so while a node is restarted.
my $host = join '.', 127, map { 1 + int rand 254 } 1 .. 3;
my %port = (a => 15_440, b => 15_441, c => 15_442);
my @nodes = cluster_nodes(3, address => sub { "$host:$port{$_[0]}" });
for my $node (@nodes) {
    my $path = write_secrets($node->name, oct('600'), $old);
    $node->append_conf('postgresql.conf', "ledger.secret_file = '$path'");
}
my ($node_a, $node_b, $node_c) = @nodes;

cluster_form(@nodes);
create_two_accounts($node_a);
is(value($node_b, transfer_sql(1, 10)), 'created', 'a cluster over TLS works');
is(value($node_c, 'SELECT credits_posted FROM ledger.accounts WHERE id = ledger.id(2)'), 10, 'at each node');
is(value($node_a, q{SELECT address FROM ledger.cluster WHERE name = 'b'}), "$host:$port{b}", 'the address is shown');

# ---- Strangers ---------------------------------------------------------------------------------------

# Garbage, and half a message that is held open, one after the other and many at a time.
my @strangers;
for my $number (1 .. 50) {
    my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port{a}, Timeout => 60) or next;
    print {$socket} $number % 2 ? "GET / HTTP/1.0\r\n\r\n" : "\x16\x03\x01";
    push @strangers, $socket;
}
cmp_ok(scalar @strangers, '>', 0, 'strangers connect');
is(value($node_a, transfer_sql(2, 10)), 'created', 'and hold nothing up');
my $got = 0;
for my $socket (@strangers) {
    $socket->blocking(0);
    my $read = sysread $socket, my $bytes, 4096;
    $got += 1 if $read && $bytes =~ /\x16\x03.{3}\x02/s;
}
is($got, 0, 'none of them is greeted');
close $_ for @strangers;
wait_for('a line of the log', sub { slurp_file($node_a->logfile) =~ /ledger network: / });

# ---- Wrong secrets -----------------------------------------------------------------------------------

# c is started with another secret: it reaches nobody, and nobody reaches it.
write_secrets('c', oct('600'), 'old:' . '3d' x 32);
$node_c->restart;
like(error_of($node_c, q{SET ledger.quorum_wait = '1s'; } . transfer_sql(3, 1)), qr/57P03: no ledger primary: 1 of 3 nodes can be reached/, 'a node with a wrong secret reaches nobody');
is(value($node_b, transfer_sql(4, 1)), 'created', 'the others go on');
ok(wait_for('c is gone', sub { value($node_b, q{SELECT state FROM ledger.cluster WHERE name = 'c'}) eq 'unreachable' }), 'and don\'t reach it');
write_secrets('c', oct('600'), $old);
$node_c->reload;
wait_formed(@nodes);
is(value($node_c, transfer_sql(4, 1)), 'exists', 'with the right secret it is back, after a reload');

# Files that can't be used are refused, and said.
sub refusal_with_secrets {
    my ($mode, @lines) = @_;
    write_secrets('c', $mode, @lines);
    $node_c->restart;
    wait_role($node_c, 'refused');
    return status_of($node_c, q{message || ' / ' || detail});
}
like(refusal_with_secrets(oct('644'), $old), qr{ledger node "c" cannot use its network / Secret file ".*": .*}, 'others may read it');
like(refusal_with_secrets(oct('600'), 'old:12'), qr{ledger node "c" cannot use its network / Secret file ".*": .*}, 'a secret that is too short');
$node_c->append_conf('postgresql.conf', "ledger.secret_file = ''");
$node_c->restart;
wait_role($node_c, 'refused');
is(status_of($node_c, 'detail'), 'A TCP address needs a secret file.', 'no secret');
$node_c->append_conf('postgresql.conf', "ledger.secret_file = '$folder/none'");
$node_c->restart;
wait_role($node_c, 'refused');
is(status_of($node_c, 'detail'), qq{Secret file "$folder/none": could not be opened: No such file or directory.}, 'a secret file that is not there');
$node_c->append_conf('postgresql.conf', "ledger.secret_file = '$folder/c.secret'");
write_secrets('c', oct('600'), $old);
$node_c->restart;
wait_formed(@nodes);

# ---- A secret is replaced ----------------------------------------------------------------------------

# As doc/operations.md says. Connections stay: nobody who calls notices, and the primary stays. A node that is restarted
# between two nodes' turns meets those that have had theirs, and those that haven't.
sub reload_secrets {
    my ($node, @lines) = @_;
    my $position = log_position($node);
    my $ids = join ', ', map { '"' . s/:.*//r . '"' } @lines;
    write_secrets($node->name, oct('600'), @lines);
    $node->reload;
    return wait_for("secrets $ids of " . $node->name,
        sub { log_since($node, $position) =~ /LOG:  ledger\.secret_file was read again: its secrets are \Q$ids\E\n/ });
}
# How often it has seen a new view.
sub views_of {
    my ($node) = @_;
    my @views = slurp_file($node->logfile) =~ /ledger cluster is in view \d+/g;
    return scalar @views;
}
my $primary = wait_primary(@nodes);
my ($backup, $last) = others_of($primary, @nodes);
my $views = views_of($primary);
for my $lines ([$old, $new], [$new, $old], [$new]) {
    my $ids = join ' ', map { s/:.*//r } @$lines;
    my @writers = start_writers($primary, $last);
    reload_secrets($_, @$lines) for $primary, $backup;
    $backup->restart;
    wait_formed(@nodes);
    reload_secrets($last, @$lines);
    wait_acknowledged(10, @writers);
    writers_ok("nobody notices the step to $ids", @writers);
    writer_stop(@writers);
    is(views_of($primary), $views, "step to $ids: the primary stays");
}
$backup->restart;
wait_formed(@nodes);
is(value($backup, transfer_sql(5, 1)), 'created', 'with the new secret alone');

# Who has only the old one is refused.
write_secrets($backup->name, oct('600'), $old);
$backup->restart;
like(error_of($backup, q{SET ledger.quorum_wait = '1s'; } . transfer_sql(6, 1)), qr/57P03: no ledger primary: 1 of 3 nodes can be reached/, 'with the old secret alone a node reaches nobody');
is(value($last, transfer_sql(6, 1)), 'created', 'and the others go on');
my $position = log_position($backup);
write_secrets($backup->name, oct('644'), $new);
$backup->reload;
wait_for('a line of the log', sub { log_since($backup, $position) =~ /LOG:  ledger\.secret_file was not read again: secret file ".*": has permissions 0644: .*\n.*DETAIL:  The secrets of before hold\./ });
reload_secrets($backup, $new);
wait_formed(@nodes);
is(value($backup, transfer_sql(6, 1)), 'exists', 'until it has the new one');
is_same_everywhere('at the end', @nodes);

$_->stop for @nodes;
done_testing();
