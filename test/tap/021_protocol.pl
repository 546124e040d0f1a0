# SPDX-License-Identifier: PostgreSQL
#
# ledger.commit_mode = auto as clients speak the protocol: several statements in a message, pipelines, rows that are
# fetched in parts, function call messages; and that the setting is reported.
use strict;
use warnings FATAL => 'all';

use IO::Socket::UNIX;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ledger_node('main');
ledger_setup($node);
create_two_accounts($node);
value($node, 'CREATE TABLE notes (n integer); CREATE SEQUENCE numbers');

# ---- A client that speaks the protocol ---------------------------------------------------------------

sub message {
    my ($type, $body) = @_;
    return $type . pack('N', 4 + length $body) . $body;
}

sub read_exactly {
    my ($socket, $size) = @_;
    my $bytes = '';
    while (length $bytes < $size) {
        my $read = sysread $socket, $bytes, $size - length $bytes, length $bytes;
        die 'the connection ended' unless $read;
    }
    return $bytes;
}

# The messages until the server is ready for more, as "type body".
sub answers {
    my ($socket) = @_;
    my @answers;
    local $SIG{ALRM} = sub { die 'the server does not answer' };
    alarm 180;
    while (1) {
        my $type = read_exactly($socket, 1);
        my $size = unpack 'N', read_exactly($socket, 4);
        my $body = $size > 4 ? read_exactly($socket, $size - 4) : '';
        push @answers, "$type $body";
        last if $type eq 'Z';
    }
    alarm 0;
    return @answers;
}

sub send_all {
    my ($socket, @messages) = @_;
    my $bytes = join '', @messages;
    my $sent = syswrite $socket, $bytes;
    die 'not all was sent' unless $sent == length $bytes;
    return answers($socket);
}

sub connect_raw {
    my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die $!;
    my $user = value($node, 'SELECT current_user');
    my $startup = pack('N', 196608) . "user\0$user\0database\0postgres\0\0";
    my @answers = send_all($socket, pack('N', 4 + length $startup) . $startup);
    return ($socket, @answers);
}

sub query { return message('Q', "$_[0]\0") }

# Parse, Bind and Execute of the unnamed statement; at most so many rows, 0 is all.
sub execute {
    my ($sql, $rows) = @_;
    return message('P', "\0$sql\0" . pack('n', 0))
        . message('B', "\0\0" . pack('nnn', 0, 0, 0))
        . message('E', "\0" . pack('N', $rows // 0));
}

sub sync { return message('S', '') }

# What came back: completed commands, errors by SQLSTATE, portals that wait.
sub summary {
    my @parts;
    for my $answer (@_) {
        my ($type, $body) = (substr($answer, 0, 1), substr($answer, 2));
        if ($type eq 'C') {
            push @parts, $body =~ s/\0//r;
        } elsif ($type eq 'E') {
            push @parts, $body =~ /\0C(.....)\0/ ? $1 : 'error';
        } elsif ($type eq 's') {
            push @parts, 'suspended';
        }
    }
    return join ', ', @parts;
}

sub pay {
    my ($id) = @_;
    return "SELECT ledger.create_transfer(ledger.id($id), ledger.id(1), ledger.id(2), 1, 1, 1)";
}

sub paid {
    my ($id) = @_;
    return value($node, "SELECT count(*) FROM ledger.transfers WHERE id = ledger.id($id)");
}

# ---- Several statements in a message -----------------------------------------------------------------

my ($socket, @start) = connect_raw();
ok((grep { $_ eq "S ledger.commit_mode\0auto\0" } @start), 'the setting is reported at the start');
my @set = send_all($socket, query("SET ledger.commit_mode = 'immediate'"));
ok((grep { $_ eq "S ledger.commit_mode\0immediate\0" } @set), 'and when it changes');
send_all($socket, query('RESET ledger.commit_mode'));

is(summary(send_all($socket, query(pay(1)))), 'SELECT 1', 'alone in a message');
is(summary(send_all($socket, query('INSERT INTO notes VALUES (1); ' . pay(2)))), 'INSERT 0 1, 0A000',
    'after another one in the same message');
is(summary(send_all($socket, query(pay(3) . '; INSERT INTO notes VALUES (1)'))), '0A000', 'before another one');
is(paid(1), 1, 'it is there');
is(paid($_), 0, "refused: $_") for 2, 3;

# ---- Pipelines ---------------------------------------------------------------------------------------

is(summary(send_all($socket, execute(pay(10)), sync())), 'SELECT 1', 'extended protocol');
is(summary(send_all($socket, execute(pay(11)), execute('INSERT INTO notes VALUES (11)'), execute('SELECT 1 / 0'), sync())),
    'SELECT 1, INSERT 0 1, 22012', 'in a pipeline, first');
is(paid(11), 1, 'it is a transaction of its own');
is(value($node, 'SELECT count(*) FROM notes WHERE n = 11'), 0, 'what follows is another one');
is(summary(send_all($socket, execute('INSERT INTO notes VALUES (12)'), execute(pay(12)), sync())), 'INSERT 0 1, 0A000',
    'in a pipeline, behind a write: refused');
is(paid(12), 0, 'it is not there');
is(value($node, 'SELECT count(*) FROM notes WHERE n = 12'), 0, 'and so is what was before it');
is(summary(send_all($socket, execute(pay(13)), execute(pay(14)), execute('INSERT INTO notes VALUES (14)'), sync())),
    'SELECT 1, SELECT 1, INSERT 0 1', 'two, then a write');
is(value($node, 'SELECT count(*) FROM notes WHERE n = 14'), 1, 'which is not read-only');

# ---- Rows in parts -----------------------------------------------------------------------------------

my $many = 'SELECT ledger.create_transfer(ledger.id(i), ledger.id(1), ledger.id(2), 1, 1, 1) FROM generate_series(20, 29) i';
is(summary(send_all($socket, execute($many, 3), execute('INSERT INTO notes VALUES (20)'), sync())), 'suspended, 25006',
    'between parts of its rows nothing is written');
is(value($node, 'SELECT count(*) FROM notes WHERE n = 20'), 0, 'nothing');
is(summary(send_all($socket, execute($many, 3), execute('BEGIN'), execute('INSERT INTO notes VALUES (20)'), sync())),
    'suspended, BEGIN, 25006', 'also not in a transaction block that begins there');
send_all($socket, query('ROLLBACK'));
my $numbers = 'SELECT ledger.create_transfer(ledger.id(100 + nextval($$numbers$$)), ledger.id(1), ledger.id(2), 1, 1, 1)';
is(summary(send_all($socket, execute($numbers, 1), execute('INSERT INTO notes VALUES (21)'), sync())), '0A000',
    'with a sequence, in parts: refused');
is(summary(send_all($socket, execute($numbers), execute('INSERT INTO notes VALUES (22)'), sync())), 'SELECT 1, INSERT 0 1',
    'with a sequence, all rows');

# ---- Function call messages --------------------------------------------------------------------------

my $oid = value($node, q{SELECT 'ledger.void_pending_transfer'::regproc::oid});
my $flags = 'flags => $${pending}$$';
value($node, pay($_) =~ s/\)$/, $flags)/r) for 30, 31, 32;

sub call {
    my ($id, $pending_id) = @_;
    my @arguments = map { sprintf '00000000-0000-0000-0000-%012x', $_ } $id, $pending_id;
    return message('F', pack('NnnnNa*Na*NNN', $oid, 1, 0, 5, (map { (length, $_) } @arguments), (0xffffffff) x 3)
        . pack('n', 0));
}

is(summary(send_all($socket, call(40, 30))), '', 'a function call message');
is(paid(40), 1, 'it is there');
send_all($socket, query('BEGIN'));
is(summary(send_all($socket, call(41, 31))), '0A000', 'in a transaction block: refused');
send_all($socket, query('ROLLBACK'));
is(paid(41), 0, 'it is not there');
# The check of a domain runs while a parameter is read, before the statement runs that it is for.
value($node, 'CREATE DOMAIN paying AS integer CHECK (ledger.void_pending_transfer(ledger.id(42), ledger.id(32)) = $$created$$)');
is(summary(send_all($socket, message('P', "\0INSERT INTO notes VALUES (\$1::paying)\0" . pack('n', 0)),
    message('B', "\0\0" . pack('nnNa*n', 0, 1, 2, '42', 0)), message('E', "\0" . pack('N', 0)), sync())), '0A000',
    'in the check of a parameter: refused');
is(paid(42), 0, 'it is not there');

is(value($node, 'SELECT sum(debits_posted) = sum(credits_posted) FROM ledger.accounts'), 't', 'the books balance');
done_testing();
