# SPDX-License-Identifier: PostgreSQL
#
# Clients at three nodes of one ledger while anything happens to their servers, and whether one order explains what they saw
# (test/jepsen; `make jepsen` runs it for longer). And whether the checker of that notices what may be wrong.
use strict;
use warnings FATAL => 'all';

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

use constant TROUBLE_S => 120;

my ($out, $err);
my $good = IPC::Run::run([ 'python3', '-B', 'test/jepsen/test_checker.py' ], '>', \$out, '2>', \$err);
my @missed = $out =~ /^(not ok .*\n(?:# .*)?)/mg;
my @noticed = $out =~ /^ok /mg;
ok($good, 'the checker notices what is wrong, and nothing else: ' . @noticed . ' histories') or diag "@missed $err";
cmp_ok(scalar @noticed, '>', 100, 'made-up histories');

$good = IPC::Run::run(
    [ 'python3', '-B', 'test/jepsen/jepsen.py', '--seconds', TROUBLE_S, '--folder', PostgreSQL::Test::Utils::tempdir() . '/j' ],
    '>', \$out, '2>&1');
note $out;
my ($seed) = $out =~ /^seed (\d+)/;
ok($good && $out =~ /^jepsen: passed$/m, "one order explains the history of seed $seed") or diag $out;

done_testing();
