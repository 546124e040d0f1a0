# SPDX-License-Identifier: PostgreSQL
#
# What the tests share: nodes with a ledger, calls and their errors, sessions in the background, and reading the
# ledger's files as doc/disk_format.md describes them.
package LedgerTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use Fcntl qw(SEEK_SET);
use File::Spec;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

our @EXPORT = qw(
  ledger_node ledger_setup ledger_directory
  value error_of status_of wait_for wait_role wait_gone worker_pid kill_postmaster postmaster_pid server_pids
  session session_finish log_position log_since
  balances_sql create_two_accounts transfer_sql batch_sql is_balanced
  read_bytes write_bytes flip_bit blank_bytes file_names prepare_headers prepare_at
);

use constant {
    SECTOR_SIZE => 4096,
    HEADER_SIZE => 256,
};

my $TIMEOUT_S = 60;

# ---- Nodes -------------------------------------------------------------------------------------------

# A cluster that is initialized and not started. Settings are lines of postgresql.conf; the last one counts. All tests can be
# run with another method of I/O: LEDGER_TEST_IO_METHOD=sync make tap
sub ledger_node {
    my ($name, %options) = @_;
    my $settings = delete $options{settings} // '';
    my $install_path = delete $options{install_path};
    my $io_method = $ENV{LEDGER_TEST_IO_METHOD} // 'auto';
    my $node = PostgreSQL::Test::Cluster->new($name, defined $install_path ? (install_path => $install_path) : ());
    $node->init(%options);
    $node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'ledger'
ledger.memory = 256MB
ledger.wal_size = 32MB
ledger.io_method = $io_method
restart_after_crash = on
log_statement = none
autovacuum = off
$settings
CONF
    return $node;
}

# Starts it, makes the extension, and waits until the engine works.
sub ledger_setup {
    my ($node) = @_;
    $node->start;
    $node->safe_psql('postgres', 'CREATE EXTENSION ledger');
    wait_role($node, 'primary');
    return;
}

sub ledger_directory {
    my ($node) = @_;
    return File::Spec->rel2abs($node->data_dir) . '-ledger';
}

# ---- Calls -------------------------------------------------------------------------------------------

# The answer; dies of an error.
sub value {
    my ($node, $sql) = @_;
    return $node->safe_psql('postgres', $sql);
}

# The error in full, "ERROR:  SQLSTATE: message", detail and hint; empty if there was none.
sub error_of {
    my ($node, $sql) = @_;
    my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
    return $err;
}

sub status_of {
    my ($node, $column) = @_;
    return value($node, "SELECT $column FROM ledger.status");
}

sub wait_for {
    my ($what, $condition) = @_;
    my $end = time + $TIMEOUT_S;
    until ($condition->()) {
        die "timed out: $what" if time > $end;
        sleep 0.02;
    }
    return 1;
}

# Also while the server restarts itself and refuses connections: then psql may end before it has read its input, of which
# IPC::Run dies.
sub wait_role {
    my ($node, $role) = @_;
    return wait_for(
        "role $role",
        sub {
            my ($code, $out, $err) = eval { $node->psql('postgres', 'SELECT role FROM ledger.status') };
            return defined $code && $code == 0 && $out eq $role;
        });
}

sub wait_gone {
    my (@pids) = @_;
    return wait_for("end of @pids", sub { !grep { kill 0, $_ } @pids });
}

sub worker_pid {
    my ($node) = @_;
    return status_of($node, 'worker_pid');
}

sub postmaster_pid {
    my ($node) = @_;
    return (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
}

# The postmaster's children, by their parent in /proc.
sub server_pids {
    my ($node) = @_;
    my $postmaster = postmaster_pid($node);
    my @children;
    for my $stat (glob '/proc/[0-9]*/stat') {
        open my $file, '<', $stat or next;
        my $line = <$file> // '';
        close $file;
        push @children, $1 if $line =~ /^(\d+) \(.*\) \S (\d+) / && $2 == $postmaster;
    }
    return @children;
}

# Ends with it and all of its children gone: only then can a new one take the same directory.
sub kill_postmaster {
    my ($node) = @_;
    my @pids = (postmaster_pid($node), server_pids($node));
    $node->kill9;
    return wait_gone(@pids);
}

# ---- Sessions in the background ----------------------------------------------------------------------

my $script_folder;
my $script_count = 0;

# A psql that runs this text; session_finish waits for its end.
sub session {
    my ($node, $sql) = @_;
    $script_folder //= PostgreSQL::Test::Utils::tempdir();
    $script_count += 1;
    my $script = "$script_folder/$script_count.sql";
    append_to_file($script, "\\set VERBOSITY verbose\n$sql\n");
    my $session = {out => '', err => ''};
    $session->{run} = IPC::Run::start(
        ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script],
        '>', \$session->{out}, '2>', \$session->{err}, IPC::Run::timeout($TIMEOUT_S));
    $session->{run}->pump_nb;
    return $session;
}

sub session_finish {
    my ($session) = @_;
    $session->{run}->finish;
    chomp $session->{out};
    return ($session->{out}, $session->{err});
}

# ---- The log -----------------------------------------------------------------------------------------

sub log_position {
    my ($node) = @_;
    return -s $node->logfile // 0;
}

sub log_since {
    my ($node, $position) = @_;
    return slurp_file($node->logfile, $position);
}

# ---- Accounts and transfers --------------------------------------------------------------------------

sub create_two_accounts {
    my ($node) = @_;
    value($node, "SELECT ledger.create_account(ledger.id($_), 1, 1)") for 1, 2;
    return;
}

# From account 1 to account 2.
sub transfer_sql {
    my ($id, $amount) = @_;
    return
        "SELECT ledger.create_transfer(ledger.id($id), ledger.id(1), ledger.id(2), $amount, 1, 1);";
}

# Many of them, with ids from $first on; answers how many had which status.
sub batch_sql {
    my ($first, $count, $amount) = @_;
    return 'SELECT status, count(*) FROM ledger.create_transfers(ARRAY(SELECT ROW(ledger.id(i), ledger.id(1),'
        . " ledger.id(2), $amount, NULL, NULL, 0, 0, 0, 1, 1, NULL, NULL)::ledger.transfer_input"
        . " FROM generate_series($first, $first + $count - 1) i)) GROUP BY 1;";
}

# All that is there, in a form that can be compared.
sub balances_sql {
    return 'SELECT a.id, a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted'
        . ' FROM ledger.accounts a ORDER BY a.id;'
        . ' SELECT count(*), count(DISTINCT t.id), sum(t.amount) FROM ledger.transfers t';
}

# Debits are credits, and the balances are those of the transfers.
sub is_balanced {
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(
        value(
            $node,
            'SELECT sum(debits_posted) = sum(credits_posted),'
                . ' sum(debits_posted) = (SELECT sum(amount) FROM ledger.transfers),'
                . ' (SELECT count(*) = count(DISTINCT id) FROM ledger.transfers)'
                . ' FROM ledger.accounts'),
        't|t|t',
        $name);
}

# ---- Files -------------------------------------------------------------------------------------------

sub file_names {
    return qw(superblock prepares.wal headers.wal grid);
}

sub read_bytes {
    my ($path, $offset, $size) = @_;
    open my $file, '<:raw', $path or die "$path: $!";
    seek $file, $offset, SEEK_SET or die "$path: $!";
    my $bytes;
    my $read = read $file, $bytes, $size;
    die "$path: short read at $offset" unless defined $read && $read == $size;
    close $file or die "$path: $!";
    return $bytes;
}

sub write_bytes {
    my ($path, $offset, $bytes) = @_;
    open my $file, '+<:raw', $path or die "$path: $!";
    seek $file, $offset, SEEK_SET or die "$path: $!";
    print {$file} $bytes or die "$path: $!";
    close $file or die "$path: $!";
    return;
}

sub flip_bit {
    my ($path, $offset) = @_;
    return write_bytes($path, $offset, chr(ord(read_bytes($path, $offset, 1)) ^ 0x10));
}

sub blank_bytes {
    my ($path, $offset, $size) = @_;
    return write_bytes($path, $offset, "\0" x $size);
}

# What headers.wal names, by op: where the prepare is in prepares.wal, its size in sectors, its slot.
sub prepare_headers {
    my ($directory) = @_;
    my $ring_size = -s "$directory/prepares.wal";
    my $size = -s "$directory/headers.wal";
    my $bytes = read_bytes("$directory/headers.wal", 0, $size);
    my %headers;
    for my $slot (0 .. $size / HEADER_SIZE - 1) {
        my $header = substr $bytes, $slot * HEADER_SIZE, HEADER_SIZE;
        my $op = unpack 'Q<', substr $header, 80, 8;
        next if $op == 0;
        my $prepare_size = unpack 'L<', substr $header, 120, 4;
        $headers{$op} = {
            op => $op,
            slot_offset => $slot * HEADER_SIZE,
            offset => unpack('Q<', substr $header, 104, 8) % $ring_size,
            size => $prepare_size,
            sectors_size => int(($prepare_size + SECTOR_SIZE - 1) / SECTOR_SIZE) * SECTOR_SIZE,
        };
    }
    return \%headers;
}

sub prepare_at {
    my ($directory, $op) = @_;
    return prepare_headers($directory)->{$op} // die "no header of op $op";
}

1;
