# SPDX-License-Identifier: PostgreSQL
#
# Bits flipped in each file of a stopped ledger. What has a second copy is repaired; what has none is refused, named and
# left alone, and opens again when the bytes are put back. A block of data is found by the query that meets it, alone.
use strict;
use warnings FATAL => 'all';

use Digest::MD5;
use LedgerTest;
use PostgreSQL::Test::Utils;
use Test::More;

use constant {
    SECTOR_SIZE => 4096,
    BLOCK_SIZE => 16384,
    BLOCK_CONTENT => 256,
    BLOCK_VALUES => 4,
    COPY_STRIDE => 16384,
    COPIES => 4,
    BATCH_EVENTS => 8190,
    TAIL_OPS => 40,
};

my $node = ledger_node('main');
ledger_setup($node);
my $directory = ledger_directory($node);
my %path = map { $_ => "$directory/$_" } file_names();

sub digests {
    my %digests;
    for my $name (file_names()) {
        open my $file, '<:raw', $path{$name} or die $!;
        $digests{$name} = Digest::MD5->new->addfile($file)->hexdigest;
        close $file or die $!;
    }
    return \%digests;
}

# Starts and stops the server; returns what the engine wrote to the log.
sub log_of_open {
    my ($role, $while_running) = @_;
    my $position = log_position($node);
    $node->start;
    wait_role($node, $role);
    $while_running->();
    $node->stop;
    return log_since($node, $position);
}

my $balances;

sub check_balances {
    my ($name) = @_;
    return is(value($node, balances_sql()), $balances, "$name: all balances are there");
}

# Damage that a lone node cannot repair: refused, nothing changed, and fine when it is undone.
sub check_refused {
    my ($name, $places, $message) = @_;
    my @undo = map { [$_->[0], $_->[1], read_bytes(@{$_}[0, 1, 2])] } @{$places};
    flip_bit($_->[0], $_->[1] + ($_->[3] // 0)) for @{$places};
    my $before = digests();
    my $log = log_of_open(
        'refused',
        sub {
            my $error = error_of($node, transfer_sql(999_999_999, 1));
            like($error, qr/57P03: ledger engine is not running/, "$name: calls are refused");
            like($error, $message, "$name: the error says why");
            like($error, qr/HINT:  .*[Rr]estore/, "$name: and what to do");
        });
    like($log, qr/LOG:  ledger engine does not start: /, "$name: logged");
    like($log, $message, "$name: the log says why");
    is_deeply(digests(), $before, "$name: nothing was changed");
    write_bytes(@{$_}) for @undo;
    return log_of_open('primary', sub { check_balances("$name, undone") });
}

# ---- A ledger with a checkpoint, and a log after it --------------------------------------------------

create_two_accounts($node);
my $next = 1;
until (status_of($node, 'coalesce(checkpoint_op, 0)') > 0) {
    value($node, batch_sql($next, BATCH_EVENTS, 3));
    $next += BATCH_EVENTS;
}
for (1 .. TAIL_OPS) {
    value($node, transfer_sql($next, 7));
    $next += 1;
}
$balances = value($node, balances_sql());
my $checkpoint = status_of($node, 'checkpoint_op');
$node->stop;
my $headers = prepare_headers($directory);
my ($head) = sort { $b <=> $a } keys %{$headers};

# ---- superblock --------------------------------------------------------------------------------------

for my $copy (0 .. COPIES - 1) {
    flip_bit($path{superblock}, $copy * COPY_STRIDE + 100 + 1000 * $copy);
    my $log = log_of_open('primary', sub { check_balances("superblock copy $copy") });
    like($log, qr/ 1 superblock copies repaired/, "superblock copy $copy: repaired, and logged");
    my %states = map { read_bytes($path{superblock}, $_ * COPY_STRIDE + 18, SECTOR_SIZE - 18) => 1 } 0 .. COPIES - 1;
    is(scalar keys %states, 1, "superblock copy $copy: all copies are the same again");
}
check_refused(
    'three superblock copies',
    [map { [$path{superblock}, $_ * COPY_STRIDE, SECTOR_SIZE, 100] } 0 .. 2],
    qr/ledger superblock cannot be used: quorum lost/);
check_refused(
    'all superblock copies',
    [map { [$path{superblock}, $_ * COPY_STRIDE, SECTOR_SIZE, 3000] } 0 .. 3],
    qr/ledger superblock cannot be used: quorum lost/);

# ---- prepares.wal ------------------------------------------------------------------------------------

for my $case (['middle', $head - int(TAIL_OPS / 2), 'rotten_below'], ['head', $head, 'rotten_head']) {
    my ($name, $op, $rule) = @{$case};
    my $place = $headers->{$op};
    my $log = check_refused(
        "prepare, $name",
        [[$path{'prepares.wal'}, $place->{offset}, SECTOR_SIZE, 300]],
        qr/log is damaged at op $op\b.*prepares\.wal", at offset $place->{offset}, size $place->{sectors_size}:.*"$rule"/s
    );
    unlike($log, qr/[1-9]\d* headers repaired/, "prepare, $name, undone: nothing to repair");
}

# ---- headers.wal -------------------------------------------------------------------------------------

my $sector = $headers->{$head}{slot_offset} - $headers->{$head}{slot_offset} % SECTOR_SIZE;
# Those up to the checkpoint are of no use any more, and not written again.
my @in_sector = grep { int($_->{slot_offset} / SECTOR_SIZE) * SECTOR_SIZE == $sector && $_->{op} > $checkpoint }
  values %{$headers};
cmp_ok(scalar @in_sector, '>', 1, 'the sector names several ops');
my $intact = read_bytes($path{'headers.wal'}, $sector, SECTOR_SIZE);
write_bytes($path{'headers.wal'}, $sector, "\xa5" x SECTOR_SIZE);
my $log = log_of_open('primary', sub { check_balances('headers sector') });
like($log, qr/ [1-9]\d* headers repaired/, 'headers sector: repaired, and logged');
is_deeply(
    [map { read_bytes($path{'headers.wal'}, $_->{slot_offset}, 256) } @in_sector],
    [map { substr $intact, $_->{slot_offset} - $sector, 256 } @in_sector],
    'headers sector: the entries are as they were');

# ---- A torn tail -------------------------------------------------------------------------------------

# What a crash in the middle of an append leaves: a prepare without its end, or none, and no header of it. PGDATA has not
# noted that op then; here it has, as the server was stopped in good order, so its older note is brought back.
my $identity_file = $node->data_dir . '/ledger.identity';
my @torn = (
    ['blank prepare', sub { my ($place) = @_; blank_bytes($path{'prepares.wal'}, $place->{offset}, SECTOR_SIZE) }],
    ['prepare cut', sub { my ($place) = @_; blank_bytes($path{'prepares.wal'}, $place->{offset} + 300, 100) }],
);
for my $case (@torn) {
    my ($name, $tear) = @{$case};
    my $before;
    my $id = $next++;
    my $noted = slurp_file($identity_file);
    $node->start;
    wait_role($node, 'primary');
    $before = value($node, balances_sql());
    value($node, transfer_sql($id, 11));
    my $op = status_of($node, 'op');
    $node->stop;
    my $place = prepare_at($directory, $op);
    $tear->($place);
    blank_bytes($path{'headers.wal'}, $place->{slot_offset}, 256);
    open my $identity, '>', $identity_file or die "$identity_file: $!";
    print {$identity} $noted;
    close $identity or die "$identity_file: $!";
    $log = log_of_open(
        'primary',
        sub {
            is(value($node, balances_sql()), $before, "torn tail, $name: as before the append");
            is(status_of($node, 'op'), $op - 1, "torn tail, $name: the op is free again");
            is(value($node, transfer_sql($id, 11)), 'created', "torn tail, $name: a retry creates it");
            is(value($node, transfer_sql($id, 11)), 'exists', "torn tail, $name: once");
            $balances = value($node, balances_sql());
        });
    like($log, qr/LOG:  ledger engine opened .* at op @{[$op - 1]}\b/, "torn tail, $name: cut");
    log_of_open('primary', sub { check_balances("torn tail, $name") });
}

# ---- grid --------------------------------------------------------------------------------------------

sub block_offset {
    my ($address) = @_;
    return ($address - 1) * BLOCK_SIZE;
}

# What a start reads: the root, and the blocks that it names.
my $root = unpack 'Q<', read_bytes($path{superblock}, 384 + 16, 8);
cmp_ok($root, '>', 0, 'the checkpoint has a root');
my ($manifest, $free_set) =
    map { unpack 'Q<', read_bytes($path{grid}, block_offset($root) + BLOCK_CONTENT + $_, 8) } 16, 32 + 16;
for my $case (['root', $root], ['manifest', $manifest], ['free set', $free_set]) {
    my ($name, $address) = @{$case};
    cmp_ok($address, '<=', (-s $path{grid}) / BLOCK_SIZE, "$name block: has an address");
    check_refused(
        "$name block",
        [[$path{grid}, block_offset($address), SECTOR_SIZE, 270]],
        qr/ledger block $address is damaged.*grid", tree "$name"/s);
}

# The block with the record of transfer 1, from account 1 to account 2: a start reads it only if the log needs it.
my $record = pack 'Q<6', 1, 0, 1, 0, 2, 0;
my ($values) = grep {
    my $block = read_bytes($path{grid}, block_offset($_), BLOCK_SIZE);
    substr($block, 52, 1) eq chr(BLOCK_VALUES) && index($block, $record) >= 0
} 1 .. (-s $path{grid}) / BLOCK_SIZE;
cmp_ok($values, '>', 0, 'transfer 1 is in a block');
my $lost = qr/ledger block $values of tree "transfer" is damaged/;
my $intact_values = read_bytes($path{grid}, block_offset($values), SECTOR_SIZE);
flip_bit($path{grid}, block_offset($values) + 300);
$log = log_of_open(
    'primary',
    sub {
        for my $query (
            'SELECT * FROM ledger.transfers WHERE id = ledger.id(1)',
            'SELECT * FROM ledger.lookup_transfers(ARRAY[ledger.id(5000), ledger.id(1)])',
            'SELECT * FROM ledger.get_account_transfers(ledger.id(1))',
            'SELECT count(*) FROM ledger.transfers')
        {
            my $error = error_of($node, "$query;");
            like($error, qr/ERROR:  XX001: $lost/, "block of transfers: $query");
            like($error, qr/HINT:  Check the disk.*restore/, 'block of transfers: hint');
        }
        is(value($node, 'SELECT amount FROM ledger.transfers WHERE id = ledger.id(5000)'),
            3, 'block of transfers: others can be read');
        is(value($node, 'SELECT sum(debits_posted) = sum(credits_posted) FROM ledger.accounts'),
            't', 'block of transfers: accounts can be read');
        is(value($node, transfer_sql($next, 7)), 'created', 'block of transfers: writes go on');
        $next += 1;
        is(status_of($node, 'role'), 'primary', 'block of transfers: the engine goes on');
    });
like($log, qr/LOG:  ledger read met damage: $lost/, 'block of transfers: logged');

# A write that needs it can't be left out: the engine stops, and can't start until the block is back.
$log = log_of_open(
    'primary',
    sub {
        my $error = error_of($node, transfer_sql(1, 3));
        like($error, qr/ERROR:  08007: the ledger engine failed/, 'a write needs the block: the outcome is unknown');
        wait_role($node, 'refused');
        $error = error_of($node, transfer_sql($next, 7));
        like($error, qr/ledger block $values is damaged.*grid", tree "transfer"/s, 'a write needs the block: says which');
        like($error, qr/HINT:  Restore /, 'a write needs the block: and what to do');
    });
like($log, qr/LOG:  ledger engine stops: $lost/, 'a write needs the block: logged');
write_bytes($path{grid}, block_offset($values), $intact_values);
log_of_open(
    'primary',
    sub {
        is(value($node, transfer_sql(1, 3)), 'exists', 'the block is back: so is the transfer');
        is_balanced($node, 'the block is back: nothing is lost');
        $balances = value($node, balances_sql());
    });

# ---- Files that were cut or taken away ---------------------------------------------------------------

for my $name ('prepares.wal', 'headers.wal') {
    my $size = -s $path{$name};
    my $end = read_bytes($path{$name}, $size - SECTOR_SIZE, SECTOR_SIZE);
    truncate $path{$name}, $size - SECTOR_SIZE or die $!;
    log_of_open(
        'refused',
        sub {
            like(error_of($node, transfer_sql(999_999_999, 1)),
                qr/write-ahead log is not as large as it was made/, "$name, cut: refused");
        });
    is(-s $path{$name}, $size - SECTOR_SIZE, "$name, cut: left alone");
    write_bytes($path{$name}, $size - SECTOR_SIZE, $end);
    log_of_open('primary', sub { check_balances("$name, cut, undone") });
}
for my $name (file_names()) {
    rename $path{$name}, "$directory-$name" or die $!;
    log_of_open(
        'refused',
        sub {
            like(error_of($node, transfer_sql(999_999_999, 1)),
                qr/\/\Q$name\E" is missing, while other files/, "$name, removed: refused");
        });
    ok(!-e $path{$name}, "$name, removed: not made anew");
    rename "$directory-$name", $path{$name} or die $!;
    log_of_open('primary', sub { check_balances("$name, removed, undone") });
}

done_testing();
