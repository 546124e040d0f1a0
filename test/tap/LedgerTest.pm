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
  value asked error_of status_of wait_for wait_role wait_gone worker_pid kill_postmaster postmaster_pid server_pids
  session session_finish waiting_pids wait_waiting fastest
  writer_start writer_stop acknowledged wait_acknowledged
  log_position log_since
  balances_sql balanced_sql create_two_accounts transfer_sql batch_sql is_balanced
  read_bytes write_bytes flip_bit blank_bytes file_names prepare_headers prepare_at
);

use constant {
    SECTOR_SIZE => 4096,
    HEADER_SIZE => 256,
};

# How long anything is waited for. It is generous, for it costs nothing but where a test fails: machines are slow, busy, or both.
my $TIMEOUT_S = 180;
$ENV{PGCTLTIMEOUT} //= $TIMEOUT_S;

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

# The exit code, the answer and the error. For servers that may be restarting: they refuse connections, and then psql may end
# before it has read its input, of which IPC::Run dies.
sub asked {
    my ($node, $sql) = @_;
    my ($code, $out, $err) = eval { $node->psql('postgres', $sql) };
    return defined $code ? ($code, $out, $err) : (2, '', "no connection: $@");
}

# The error in full, "ERROR:  SQLSTATE: message", detail and hint; empty if there was none.
sub error_of {
    my ($node, $sql) = @_;
    my ($code, $out, $err) = asked($node, "\\set VERBOSITY verbose\n$sql");
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

# Also while the server restarts itself.
sub wait_role {
    my ($node, $role) = @_;
    my $seen = '';
    return 1 if eval {
        wait_for(
            "role $role",
            sub {
                my ($code, $out, $err) = asked($node, 'SELECT role, message, detail FROM ledger.status');
                $seen = $code == 0 ? $out : $err;
                return $code == 0 && $out =~ /^\Q$role\E\|/;
            });
    };
    die "$@ It is: $seen";
}

# The least time of several tries, in seconds; no more tries than it takes to be below the limit. A single one may have met
# a busy machine; what is slow by itself is slow each time.
sub fastest {
    my ($limit_s, $what) = @_;
    my $least;
    for (1 .. 10) {
        my $begun = Time::HiRes::time();
        $what->();
        my $taken = Time::HiRes::time() - $begun;
        $least = $taken if !defined $least || $taken < $least;
        last if $least < $limit_s;
    }
    return $least;
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

# Ends with it and all of its children gone: only then can a new one take the same directory. It stands still first, so that
# it makes no children that nobody knows of.
sub kill_postmaster {
    my ($node) = @_;
    my $postmaster = postmaster_pid($node);
    kill 'STOP', $postmaster or die "$postmaster: $!";
    my @pids = ($postmaster, server_pids($node));
    $node->kill9;
    return wait_gone(@pids);
}

# ---- Sessions in the background ----------------------------------------------------------------------

my $script_folder;
my $script_count = 0;

sub script_folder {
    $script_folder //= PostgreSQL::Test::Utils::tempdir();
    return $script_folder;
}

# A psql that runs this text; session_finish waits for its end.
sub session {
    my ($node, $sql) = @_;
    $script_count += 1;
    my $script = script_folder() . "/$script_count.sql";
    append_to_file($script, "\\set VERBOSITY verbose\n$sql\n");
    my $session = {out => '', err => '', timer => IPC::Run::timeout($TIMEOUT_S)};
    $session->{run} = IPC::Run::start(
        ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $script],
        '>', \$session->{out}, '2>', \$session->{err}, $session->{timer});
    $session->{run}->pump_nb;
    return $session;
}

# The time that it is given begins here, not when it was started.
sub session_finish {
    my ($session) = @_;
    $session->{timer}->start($TIMEOUT_S);
    $session->{run}->finish;
    chomp $session->{out};
    return ($session->{out}, $session->{err});
}

# The processes of other sessions that wait for the engine in a query with this text. Each looks up now and then, and doesn't
# wait at that moment: so this is not everybody.
sub waiting_pids {
    my ($node, $text) = @_;
    return split /\n/, value($node,
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Extension'"
        . " AND query LIKE '%$text%' AND pid <> pg_backend_pid()");
}

# Until so many have been seen waiting, of which nobody goes on meanwhile, as when the worker stands still.
sub wait_waiting {
    my ($node, $text, $count) = @_;
    my %seen;
    wait_for("$count sessions wait", sub {
        $seen{$_} = 1 for waiting_pids($node, $text);
        return keys %seen >= $count;
    });
    my @pids = sort { $a <=> $b } keys %seen;
    return @pids;
}

# ---- Sessions that write without an end --------------------------------------------------------------

# The text of a statement, with the next number in each place of a #, again and again.
my $ENDLESS = 'my ($n, $step, $sql) = @ARGV; for (;; $n += $step) { print $sql =~ s/#/$n/gr, qq{\n} or exit }';

# A session that runs this statement with the numbers $first, $first + $step …, until it is stopped or fails, so that it never
# depends on anybody's speed whether it still runs. The statement answers the numbers of what was acknowledged.
sub writer_start {
    my ($node, $sql, $first, %options) = @_;
    $script_count += 1;
    my $writer = {node => $node, map { $_ => script_folder() . "/$script_count.$_" } qw(out err)};
    append_to_file($writer->{$_}, '') for qw(out err);
    $writer->{run} = IPC::Run::start(
        [$^X, '-e', $ENDLESS, $first, $options{step} // 1, $sql], '|',
        ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=' . ($options{on_error_stop} // 1), '-d',
            $node->connstr('postgres') . ' application_name=writer'],
        '>', $writer->{out}, '2>', $writer->{err});
    return $writer;
}

# Kills those of their processes that are left. What a session asked for last may still be carried out.
sub writer_stop {
    my (@writers) = @_;
    for my $writer (@writers) {
        $writer->{run}->signal('KILL');
        eval { $writer->{run}->finish };
    }
    return;
}

# A line that a killed psql has not finished is no acknowledgement.
sub acknowledged {
    my ($writer) = @_;
    return slurp_file($writer->{out}) =~ /^(\d+)\n/mg;
}

# Until each of them has got so many more.
sub wait_acknowledged {
    my ($more, @writers) = @_;
    my @wanted = map { my @numbers = acknowledged($_); $more + @numbers } @writers;
    for my $i (0 .. $#writers) {
        my $writer = $writers[$i];
        next if eval { wait_for('acknowledgements', sub { my $now = () = acknowledged($writer); $now >= $wanted[$i] }) };
        die "timed out: $more acknowledgements at " . $writer->{node}->name . ': ' . slurp_file($writer->{err});
    }
    return;
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

# Debits are credits, and the balances are those of the transfers: 't|t|t'.
sub balanced_sql {
    return 'SELECT sum(debits_posted) = sum(credits_posted),'
        . ' sum(debits_posted) = (SELECT sum(amount) FROM ledger.transfers),'
        . ' (SELECT count(*) = count(DISTINCT id) FROM ledger.transfers)'
        . ' FROM ledger.accounts';
}

sub is_balanced {
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    return is(value($node, balanced_sql()), 't|t|t', $name);
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
