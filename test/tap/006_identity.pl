# SPDX-License-Identifier: PostgreSQL
#
# Whose ledger is it? Clones, other clusters' directories, and what is missing: refused, and never formatted over.
use strict;
use warnings FATAL => 'all';

use File::Copy;
use File::Spec;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = ledger_node('main', allows_streaming => 1);
ledger_setup($node);
create_two_accounts($node);
is(value($node, transfer_sql(1, 10)), 'created', 'a ledger with a transfer');
my $balances = value($node, balances_sql());
my $directory = ledger_directory($node);
my $identity = $node->data_dir . '/ledger.identity';
ok(-f $identity, 'PGDATA says whose ledger it is');
my $absolute = status_of($node, 'data_directory');

# Starts, and returns the error of a call.
sub refused_error {
    my ($of) = @_;
    $of->start;
    wait_role($of, 'refused');
    my $error = error_of($of, transfer_sql(999, 1));
    like($error, qr/57P03: ledger engine is not running/, $of->name . ': refused');
    return $error;
}

# A copy of the data directory of the stopped server, with a port of its own.
sub clone {
    my ($name) = @_;
    my $clone = PostgreSQL::Test::Cluster->new($name);
    system_or_bail('cp', '-r', $node->data_dir, $clone->data_dir);
    unlink $clone->data_dir . '/postmaster.pid';
    $clone->append_conf('postgresql.conf', 'port = ' . $clone->port . "\n");
    return $clone;
}

# ---- What is missing ---------------------------------------------------------------------------------

$node->stop;
rename $directory, "$directory-away" or die $!;
my $error = refused_error($node);
like($error, qr/ledger data directory "\Q$absolute\E" is missing/, 'directory removed: says so');
like($error, qr/An empty ledger is never put in its place/, 'directory removed: why');
like($error, qr/HINT:  Restore or mount the directory/, 'directory removed: hint');
ok(!-e $directory && !-e "$directory.new", 'directory removed: nothing is made');
rename "$directory-away", $directory or die $!;
$node->reload;
wait_role($node, 'primary');
is(value($node, balances_sql()), $balances, 'directory put back: a reload is enough');
$node->stop;

mkdir "$directory-empty" or die $!;
rename $directory, "$directory-away" or die $!;
rename "$directory-empty", $directory or die $!;
$error = refused_error($node);
like($error, qr/holds none of the ledger's files/, 'directory empty (not mounted): says so');
$node->stop;
is_deeply([glob "$directory/*"], [], 'directory empty: nothing is made');
rmdir $directory or die $!;
rename "$directory-away", $directory or die $!;

# A link to a file system that is not mounted: neither is the ledger missing, nor can a new one be made.
rename $directory, "$directory-away" or die $!;
symlink "$directory-nowhere", $directory or die $!;
$error = refused_error($node);
like($error, qr/"\Q$absolute\E" is a symbolic link that leads nowhere/, 'link that leads nowhere: says so');
like($error, qr/HINT:  Mount or restore what it leads to/, 'link that leads nowhere: hint');
$node->stop;
move($identity, "$identity.away") or die $!;
$error = refused_error($node);
like($error, qr/is a symbolic link that leads nowhere/, 'link that leads nowhere, no identity: refused');
like(error_of($node, 'SELECT ledger.create_ledger()'), qr/ERROR:  58P01: could not create a ledger: .* leads nowhere/,
    'link that leads nowhere, no identity: no ledger can be made');
ok(!-e $identity && !-e "$directory.new", 'link that leads nowhere: and nothing is left behind');
$node->stop;
move("$identity.away", $identity) or die $!;
rename "$directory-away", "$directory-nowhere" or die $!;
$node->start;
wait_role($node, 'primary');
is(value($node, balances_sql()), $balances, 'link to the directory: works');
$node->stop;
unlink $directory or die $!;
rename "$directory-nowhere", $directory or die $!;

# An identity file of before: said to be that, and whatever the directory holds can be adopted.
copy($identity, "$identity.away") or die $!;
write_bytes($identity, length 'version: ', '1');
$error = refused_error($node);
like($error, qr/ledger\.identity" is of another version of ledger/, 'identity of another version: says so');
like($error, qr/HINT:  .*ledger\.adopt\('[0-9a-f-]{36}'\)/, 'identity of another version: the directory can be adopted');
$node->stop;
rename $directory, "$directory-away" or die $!;
$error = refused_error($node);
like($error, qr/is of another version of ledger.* This version reads and writes version 2/, 'and no directory: says which');
like($error, qr/HINT:  Install the version of ledger that wrote it, or restore/, 'and no directory: hint');
$node->stop;
rename "$directory-away", $directory or die $!;
move("$identity.away", $identity) or die $!;

move($identity, "$identity.away") or die $!;
$error = refused_error($node);
like($error, qr/belongs to another PostgreSQL cluster/, 'identity removed: not ours');
like($error, qr/There is no file "[^"]+\/ledger\.identity"/, 'identity removed: why');
ok(!-e $identity, 'identity removed: none is made');
$node->stop;

copy("$identity.away", $identity) or die $!;
flip_bit($identity, 30);
$error = refused_error($node);
like($error, qr/ledger\.identity" is damaged or was edited/, 'identity damaged: says so');
$node->stop;
move("$identity.away", $identity) or die $!;

# ---- Clones ------------------------------------------------------------------------------------------

my $clone = clone('clone');
$error = refused_error($clone);
like($error, qr/ledger data directory "\S+clone\S+" is missing/, 'clone: its own directory is missing');
like($error, qr/HINT:  .*If this PGDATA is a copy.*, remove ledger\.identity/, 'clone: hint');
ok(!-e ledger_directory($clone), 'clone: nothing is made');
$clone->stop;

$node->start;
wait_role($node, 'primary');
$clone->append_conf('postgresql.conf', "ledger.data_directory = '$absolute'");
$error = refused_error($clone);
like($error, qr/is in use by another process/, 'clone that takes a running ledger: locked out');
like($error, qr/HINT:  Is another server running/, 'clone that takes a running ledger: hint');
is(value($node, transfer_sql(2, 10)), 'created', 'and its owner works on');
$balances = value($node, balances_sql());
$node->stop;

# The clone has the same identity, so it is the same ledger to it: whoever comes first has it.
$clone->reload;
wait_role($clone, 'primary');
is(value($clone, balances_sql()), $balances, 'clone that takes a stopped ledger: it is the same ledger');
$error = refused_error($node);
like($error, qr/is in use by another process/, 'and its owner is locked out meanwhile');
like($error, qr/HINT:  .*tries again by itself/, 'and will try again');
my $position = log_position($node);
$clone->stop;
wait_role($node, 'primary');
unlike(log_since($node, $position), qr/parameter|reload|SIGHUP|is in use by another process/, 'and starts by itself when the files are free; why it did not is told once');
is(value($node, balances_sql()), $balances, 'and has it again, as it was');

unlink $clone->data_dir . '/ledger.identity' or die $!;
$clone->append_conf('postgresql.conf', "ledger.data_directory = '" . ledger_directory($clone) . "'");
$clone->start;
wait_role($clone, 'none');
like(error_of($clone, transfer_sql(3, 1)), qr/57P03: this server has no ledger/, 'clone without an identity: none');
ok(!-e ledger_directory($clone), 'clone without an identity: none is made');
value($clone, 'SELECT ledger.create_ledger()');
is(value($clone, 'SELECT count(*) FROM ledger.accounts'), 0, 'clone without an identity: an empty ledger of its own');
is(value($node, balances_sql()), $balances, 'and the first is untouched');
$clone->stop;

# ---- Another cluster ---------------------------------------------------------------------------------

my $other = ledger_node('other');
ledger_setup($other);
$other->stop;
$other->append_conf('postgresql.conf', "ledger.data_directory = '$absolute'");
$node->stop;
$error = refused_error($other);
like($error, qr/ledger data directory "\Q$absolute\E" belongs to another PostgreSQL cluster/,
    "another's directory: refused");
like($error, qr/The directory holds ledger [0-9a-f-]{36} of the PostgreSQL cluster with system identifier \d+/,
    "another's directory: whose it is");
$other->stop;
unlink $other->data_dir . '/ledger.identity' or die $!;
$error = refused_error($other);
like($error, qr/belongs to another PostgreSQL cluster/, "another's directory, no identity: refused");
$other->stop;
copy($identity, $other->data_dir . '/ledger.identity') or die $!;
$error = refused_error($other);
like($error, qr/is of a PostgreSQL cluster with system identifier \d+; this one has \d+/,
    "another's identity: refused");
$other->stop;

# ---- Where it must not be ----------------------------------------------------------------------------

for my $case (['inside', '/inside'], ['relative', undef]) {
    my ($name, $suffix) = @{$case};
    my $bad = ledger_node($name);
    my $value = defined $suffix ? File::Spec->rel2abs($bad->data_dir) . $suffix : 'some-folder';
    $bad->append_conf('postgresql.conf', "ledger.data_directory = '$value'");
    $bad->start;
    $bad->safe_psql('postgres', 'CREATE EXTENSION ledger');
    wait_role($bad, 'refused');
    like(
        error_of($bad, transfer_sql(1, 1)),
        $suffix ? qr/is inside the PostgreSQL data directory/ : qr/not a usable path: "some-folder"/,
        "directory $name: refused");
    ok(!-e $bad->data_dir . '/ledger.identity', "directory $name: nothing is made");
    $bad->stop;
}

# ---- A standby ---------------------------------------------------------------------------------------

$node->start;
wait_role($node, 'primary');
is(value($node, balances_sql()), $balances, 'after all of this, nothing is lost');
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
is(
    value($standby, 'SELECT role, message, hint FROM ledger.status'),
    'standby|ledger engine is not running on a standby|Connect to the primary.',
    'standby: the status says so');
for my $sql ('SELECT * FROM ledger.accounts',
    "SELECT * FROM ledger.lookup_accounts(ARRAY[ledger.id(1)])") {
    like(error_of($standby, "$sql;"), qr/57P03: ledger engine is not running on a standby/, "standby: $sql");
}
like(error_of($standby, transfer_sql(3, 1)), qr/25006: cannot execute \S+ during recovery/, 'standby: no writes');
ok(!-e ledger_directory($standby), 'standby: nothing is made');

# It has a copy of the identity, and no ledger: promoted, it says what is missing.
$node->stop;
$standby->promote;
wait_role($standby, 'refused');
like(error_of($standby, transfer_sql(3, 1)), qr/ledger data directory "\S+standby\S+" is missing/, 'promoted: refused');
ok(!-e ledger_directory($standby), 'promoted: nothing is made');
$standby->stop;

done_testing();
