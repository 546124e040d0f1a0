# SPDX-License-Identifier: PostgreSQL
#
# Upgraded and restored servers: none ever has an empty ledger without somebody having asked for one. What
# "Upgrading and restoring" in doc/operations.md says is followed here.
#
# LEDGER_OLD_BINDIR: the binaries of an older major, with this extension installed, to upgrade from.
use strict;
use warnings FATAL => 'all';

use File::Basename;
use File::Spec;
use LedgerTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $uuid = qr/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/;

# The folder of this server's binaries, and of those to upgrade from.
my ($bindir) = map { dirname($_) } grep { -x } map { "$_/pg_upgrade" } split /:/, $ENV{PATH};
my $old_bindir = $ENV{LEDGER_OLD_BINDIR} // $bindir;
my %old_options = defined $ENV{LEDGER_OLD_BINDIR} ? (install_path => dirname($old_bindir)) : ();

sub move_tree {
    my ($from, $to) = @_;
    return rename($from, $to) || die "$from: $!";
}

sub copy_tree {
    my ($from, $to) = @_;
    return system_or_bail('cp', '-a', $from, $to);
}

sub remove_tree {
    return system_or_bail('rm', '-rf', @_);
}

sub use_directory {
    my ($node, $directory) = @_;
    return $node->append_conf('postgresql.conf', "ledger.data_directory = '$directory'");
}

# A payment that was made before, sent again: on a server without its ledger it must not be made.
sub not_paid_again {
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $error = error_of($node, transfer_sql(10, 500));
    like($error, qr/ERROR:  57P03: /, "$name: the retry of a payment is refused");
    like(error_of($node, 'SELECT * FROM ledger.accounts'), qr/ERROR:  57P03: /, "$name: so are reads");
    return $error;
}

sub awaited_file {
    my ($node) = @_;
    return $node->data_dir . '/ledger.awaited';
}

# Who sets up a further database of a server that waits for its ledger must not make an empty one for all of them.
sub no_ledger_in_another_database {
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    value($node, 'DROP DATABASE IF EXISTS another');
    value($node, 'CREATE DATABASE another');
    my ($code, $out, $err) = $node->psql('another', 'CREATE EXTENSION ledger');
    is($code, 0, "$name: CREATE EXTENSION in another database");
    like($err, qr/WARNING:  no ledger was created: this server has no ledger/, "$name: makes no ledger there");
    like($err, qr/DETAIL:  The file "\S+\/ledger\.awaited" says that this server was upgraded/, "$name: says why");
    like($err, qr/HINT:  .*ledger\.adopt\(\).*ledger\.create_ledger\(\)/, "$name: says the ways on");
    return is(status_of($node, 'role'), 'none', "$name: the role is none");
}

# ---- pg_upgrade --------------------------------------------------------------------------------------

sub old_node {
    my ($name) = @_;
    my $old = ledger_node($name, %old_options);
    ledger_setup($old);
    create_two_accounts($old);
    is(value($old, transfer_sql(10, 500)), 'created', "$name: a payment");
    value($old, 'CREATE VIEW balances AS SELECT id, debits_posted FROM ledger.accounts');
    return $old;
}

sub upgrade {
    my ($old, $new, @options) = @_;
    my $folder = PostgreSQL::Test::Utils::tempdir();
    return command_ok(
        ['sh', '-c', 'cd "$0" && exec "$@"', $folder, 'pg_upgrade', '--no-sync',
            '-b', $old_bindir, '-B', $bindir,
            '-d', File::Spec->rel2abs($old->data_dir), '-D', File::Spec->rel2abs($new->data_dir),
            '-p', $old->port, '-P', $new->port, '-s', $new->host, @options],
        'pg_upgrade ' . $new->name);
}

my $copied;
for my $mode ('copy', 'link') {
    my $old = old_node("old-$mode");
    my $balances = value($old, balances_sql());
    $old->stop;
    my $new = ledger_node("new-$mode");
    upgrade($old, $new, $mode eq 'link' ? "--link" : ());
    ok(!-e ledger_directory($new), "$mode: pg_upgrade makes no ledger");

    $new->start;
    wait_role($new, 'none');
    my $error = not_paid_again($new, $mode);
    like($error, qr/57P03: this server has no ledger/, "$mode: says so");
    like($error, qr/HINT:  .*ledger\.adopt\(\).*ledger\.create_ledger\(\)/, "$mode: says the ways on");
    like(error_of($new, 'SELECT * FROM balances'), qr/57P03/, "$mode: views don't show an empty ledger");
    ok(!-e ledger_directory($new), "$mode: nor does a start or a call make one");
    no_ledger_in_another_database($new, $mode);
    like(
        error_of($new, "SELECT ledger.adopt('00000000-0000-0000-0000-000000000001')"),
        qr/ERROR:  58P01: could not adopt the ledger: there is no ledger in/,
        "$mode: nothing there to adopt");
    $new->stop;

    # By moving the directory, and by naming it.
    my $directory = ledger_directory($old);
    if ($mode eq 'copy') {
        use_directory($new, $directory);
        $old->start;
        wait_role($old, 'primary');
        my $ledger = status_of($old, 'ledger');
        $new->start;
        wait_role($new, 'refused');
        like(
            error_of($new, "SELECT ledger.adopt('$ledger')"),
            qr/ERROR:  55006: could not adopt the ledger: .*\n.*DETAIL:  .*in use by another process/,
            'copy: not while another server has it open');
        is(value($old, transfer_sql(11, 5)), 'created', 'copy: which works on');
        $balances = value($old, balances_sql());
        $old->stop;
        $new->stop;
    }
    $directory = ledger_directory($new);
    move_tree(ledger_directory($old), $directory);
    $new->append_conf('postgresql.conf', "ledger.data_directory = '$directory'") if $mode eq 'copy';
    $new->start;
    wait_role($new, 'refused');
    $error = not_paid_again($new, $mode);
    like($error, qr/belongs to another PostgreSQL cluster/, "$mode: moved, and not adopted: refused");
    my ($ledger) = $error =~ /HINT:  .*SELECT ledger\.adopt\('($uuid)'\)/;
    ok(defined $ledger, "$mode: the hint says what to call");
    is(status_of($new, 'ledger'), $ledger, "$mode: ledger.status shows the ledger");
    like(
        error_of($new, "SELECT ledger.adopt('00000000-0000-0000-0000-000000000001')"),
        qr/ERROR:  22023: .*does not hold ledger 00000000-.*\n.*DETAIL:  It holds ledger \Q$ledger\E/,
        "$mode: another ledger's name is refused");
    is(status_of($new, 'role'), 'refused', "$mode: and changes nothing");
    like(error_of($new, 'SELECT ledger.create_ledger()'), qr/ERROR:  55000: could not create a ledger: /,
        "$mode: no new ledger beside it");
    value($new, 'CREATE ROLE app; GRANT USAGE ON SCHEMA ledger TO app; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA ledger TO app');
    like(error_of($new, "SET ROLE app; SELECT ledger.adopt('$ledger')"), qr/ERROR:  42501: must be superuser/,
        "$mode: only superusers");

    like(error_of($new, "SELECT ledger.adopt('$ledger')"), qr/NOTICE: .*adopted the ledger in/, "$mode: adopted");
    is(status_of($new, 'role'), 'primary', "$mode: and open when the call returns");
    ok(!-e awaited_file($new), "$mode: and nothing is awaited any more");
    is(value($new, balances_sql()), $balances, "$mode: with all that was there");
    is(value($new, transfer_sql(10, 500)), 'exists', "$mode: the retry of the payment is one");
    like(error_of($new, "SELECT ledger.adopt('$ledger')"), qr/NOTICE: .*is this server's already/, "$mode: again: nothing");
    like(
        error_of($new, "SELECT ledger.adopt('00000000-0000-0000-0000-000000000001')"),
        qr/ERROR:  55000: this server has another ledger/,
        "$mode: another one: refused");
    $balances = value($new, balances_sql());
    $new->stop;

    if ($mode eq 'copy') {
        use_directory($old, $directory);
        $old->start;
        wait_role($old, 'refused');
        like(not_paid_again($old, 'the old server'), qr/That is not what "ledger\.identity" in PGDATA names/,
            'the old server cannot open it any more');
        $old->stop;
    }
    $new->start;
    wait_role($new, 'primary');
    is(value($new, balances_sql()), $balances, "$mode: after a restart, too");
    $copied = [$new, $balances, $ledger];
    $new->stop;
}

# ---- Dump and restore into a new cluster -------------------------------------------------------------

my ($node, $balances, $ledger) = @{$copied};
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->start;
wait_role($node, 'primary');
$node->command_ok(['pg_dumpall', '-f', $dump], 'pg_dumpall');
like(slurp_file($dump), qr/^CREATE EXTENSION IF NOT EXISTS ledger WITH SCHEMA pg_catalog;/m,
    'a dump has a SCHEMA clause: that is what tells it from a person');
$node->stop;
my $restored = ledger_node('restored');
$restored->start;
my ($code, $out, $err) = $restored->psql('postgres', undef, on_error_stop => 0, extra_params => ['-f', $dump]);
like($err, qr/WARNING:  no ledger was created: this server has no ledger/, 'restoring a dump makes no ledger, and says so');
like($err, qr/DETAIL:  CREATE EXTENSION with a SCHEMA clause is what pg_dump writes/, 'and why');
wait_role($restored, 'none');
not_paid_again($restored, 'a restored dump');
no_ledger_in_another_database($restored, 'a restored dump');
$restored->stop;
move_tree(ledger_directory($node), ledger_directory($restored));
$restored->start;
wait_role($restored, 'refused');
value($restored, "SELECT ledger.adopt('$ledger')");
is(value($restored, balances_sql()), $balances, 'its ledger is adopted as after pg_upgrade');
is(value($restored, transfer_sql(10, 500)), 'exists', 'the retry of the payment is one');

# ---- An older PGDATA ---------------------------------------------------------------------------------

my $pgdata = $restored->data_dir;
my $directory = ledger_directory($restored);
$restored->stop;
copy_tree($pgdata, "$pgdata-backup");
copy_tree($directory, "$directory-backup");
for my $id (20, 21) {
    $restored->start;
    wait_role($restored, 'primary');
    is(value($restored, transfer_sql($id, 7)), 'created', "transfer $id after the backup");
    $restored->stop;
}
my $newest = PostgreSQL::Test::Utils::slurp_file("$pgdata/ledger.identity");
like($newest, qr/^view: \d+\nop: \d+\n/m, 'the identity file notes how far the ledger has come');
move_tree($pgdata, "$pgdata-newest");
copy_tree("$pgdata-backup", $pgdata);
my $position = log_position($restored);
$restored->start;
wait_role($restored, 'primary');
my $log = log_since($restored, $position);
like($log, qr/WARNING:  this PGDATA is older than the ledger in/, 'a PGDATA that was restored alone: a warning');
like($log, qr/It has noted op \d+; the ledger is at op \d+/, 'with how far');
is(value($restored, transfer_sql(20, 7)), 'exists', 'the ledger has lost nothing');
$restored->stop;
$position = log_position($restored);
$restored->start;
wait_role($restored, 'primary');
unlike(log_since($restored, $position), qr/older than the ledger/, 'once');
kill_postmaster($restored);
$restored->start;
wait_role($restored, 'primary');
unlike(log_since($restored, $position), qr/older than/, 'a crash is no restore');
$restored->stop;

# ---- An older ledger directory -----------------------------------------------------------------------

move_tree($directory, "$directory-newest");
copy_tree("$directory-backup", $directory);
$restored->start;
wait_role($restored, 'refused');
my $error = error_of($restored, transfer_sql(21, 7));
like($error, qr/ledger data directory "\S+" is older than this PGDATA/, 'an older directory is refused');
my ($ends, $lost_first, $lost_last) =
  $error =~ /It ends at op (\d+), .*Ops (\d+) to (\d+) at least would be lost/;
is($lost_first, $ends + 1, 'and says which ops are missing');
cmp_ok($lost_last, '>', $lost_first, 'to the newest that was noted');
like($error, qr/HINT:  Restore the newest copy.*SELECT ledger\.adopt\('\Q$ledger\E'\)/, 'and the ways on');
is(status_of($restored, 'ledger'), $ledger, 'the status shows which ledger it is');
$restored->stop;
remove_tree($directory);
move_tree("$directory-newest", $directory);
$restored->start;
wait_role($restored, 'primary');
is(value($restored, transfer_sql(21, 7)), 'exists', 'with the newest directory, nothing is lost');

# One that was copied before the newest start, although nothing was noted of what was done since.
$restored->stop;
copy_tree($directory, "$directory-older");
$restored->start;
wait_role($restored, 'primary');
is(value($restored, transfer_sql(22, 7)), 'created', 'a transfer, and a crash before it is noted');
kill_postmaster($restored);
move_tree($directory, "$directory-newest");
move_tree("$directory-older", $directory);
$restored->start;
wait_role($restored, 'refused');
like(error_of($restored, transfer_sql(22, 7)), qr/is older than this PGDATA/, 'an older directory, by its openings');

# Adopted all the same, what is missing is missing; and the newer directory is another life's.
value($restored, "SELECT ledger.adopt('$ledger')");
is(value($restored, transfer_sql(22, 7)), 'created', 'adopted: what was done since is lost, as was said');
my $after = value($restored, balances_sql());
$restored->stop;
move_tree($directory, "$directory-adopted");
move_tree("$directory-newest", $directory);
$restored->start;
wait_role($restored, 'refused');
like(error_of($restored, transfer_sql(22, 7)), qr/belongs to another PostgreSQL cluster/, 'the directory that was given up is refused');
$restored->stop;
remove_tree($directory);
move_tree("$directory-adopted", $directory);
$restored->start;
wait_role($restored, 'primary');
is(value($restored, balances_sql()), $after, 'and the adopted one goes on');
is_balanced($restored, 'balances are those of the transfers');
$restored->stop;

done_testing();
