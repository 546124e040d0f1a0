#!/usr/bin/env bash
# The quickstart as a newcomer runs it, then README's tour in the server that it leaves. Ends with
# "quickstart: N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
folder=$(mktemp -d "${LEDGER_STAGE_PARENT:-/var/tmp}/ledger-try.XXXXXX")
chmod 755 "$folder"
export LEDGER_QUICKSTART_DIR=$folder/quickstart
export LEDGER_QUICKSTART_CLUSTER_DIR=$folder/cluster
trap 'tools/quickstart.sh stop > /dev/null 2>&1; tools/quickstart_cluster.sh stop > /dev/null 2>&1; rm -rf "$folder"' EXIT
mkdir -p build
log=build/quickstart-run.log
installed=$("${PG_CONFIG:-pg_config}" --pkglibdir)/ledger.so
passed=0
failed=0

check() {
    local what=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what"
    fi
}
says() { grep -qE "$1" "$log"; }
fails() { ! "$@"; }
sum() { { cksum < "$installed"; } 2>/dev/null || echo none; }
# Whether a program in this folder runs.
runs_in() {
    local file program
    for file in /proc/[0-9]*/cmdline; do
        IFS= read -r -d '' program 2>/dev/null < "$file" || continue
        case $program in "$1"/*) return 0 ;; esac
    done
    return 1
}
quickstart() { tools/quickstart.sh "$@" > "$log" 2>&1 < /dev/null; }
quickstart_cluster() { tools/quickstart_cluster.sh "$@" > "$log" 2>&1 < /dev/null; }

before=$(sum)
check 'the quickstart succeeds' quickstart
check 'its tour creates' says '^ created$'
check 'its tour repeats' says '^ exists$'
check 'its tour overdraws' says '^ERROR:  could not create transfer: exceeds_credits$'
check 'its tour fails nowhere else' test "$(grep -c '^ERROR' "$log")" = 1
check 'its balances are there before and after kill -9' test "$(grep -cE '^ 8400010 \| +5500 \| +0$' "$log")" = 2
check 'its server runs' runs_in "$LEDGER_QUICKSTART_DIR"
check 'it says how to connect' says '^The ledger runs\. Connect:   psql -h 127\.0\.0\.1 -p [0-9]+ -U postgres$'
[ "$failed" = 0 ] || cat "$log"
port=$(sed -n 's/.*Connect: .* -p \([0-9]*\) .*/\1/p' "$log")
bin=$(cat "$LEDGER_QUICKSTART_DIR/bin")
readme=$(python3 test/quickstart/readme_tour.py README.md "$bin/psql" -h 127.0.0.1 -p "${port:-0}" -U postgres)
echo "$readme"
line=$(tail -n 1 <<< "$readme")
n=${line#readme: }
passed=$((passed + ${n%% passed*}))
n=${line#*, }
failed=$((failed + ${n%% failed*}))
check 'README has a tour' test "${line#readme: 0 }" = "$line"

check 'it may be run again' quickstart
check 'and starts afresh' fails says '^ERROR:  .*exists'
check 'the installed extension is untouched' test "$(sum)" = "$before"
check 'it is stopped and removed' quickstart stop
check 'its folder is gone' test ! -e "$LEDGER_QUICKSTART_DIR"
check 'its server is gone' fails runs_in "$LEDGER_QUICKSTART_DIR"

mkdir "$folder/mine"
touch "$folder/mine/file"
check 'a folder that is not its own is refused' fails env LEDGER_QUICKSTART_DIR="$folder/mine" \
    tools/quickstart.sh stop > /dev/null 2>&1
check 'and left as it is' test -e "$folder/mine/file"

# Its path is too long for a socket.
LEDGER_QUICKSTART_DIR=$folder/$(printf 'long%.0s' $(seq 30))
check 'a server that does not start is a failure' fails quickstart
check 'which is said' says '^quickstart failed while starting the server$'
check 'and leaves no server' fails runs_in "$LEDGER_QUICKSTART_DIR"

for run in first second; do
    check "the cluster's $run quickstart succeeds" quickstart_cluster
    check "its $run run has made both transfers" test "$(grep -c '^ created$' "$log")" = 2
    check "its $run run fails nowhere" fails says '^ERROR'
    # At c before and after a is lost, and at a when it is back.
    check "its $run run has the balances" test "$(grep -cE '^       2 \| +[12]00$' "$log")" = 3
    check "its $run run loses a" says '^ a    \| voter \| unreachable '
done
check 'the servers of the cluster run' runs_in "$LEDGER_QUICKSTART_CLUSTER_DIR"
check 'the cluster is stopped and removed' quickstart_cluster stop
check 'its folder is gone' test ! -e "$LEDGER_QUICKSTART_CLUSTER_DIR"
check 'its servers are gone' fails runs_in "$LEDGER_QUICKSTART_CLUSTER_DIR"

echo "quickstart: $passed passed, $failed failed"
[ "$failed" = 0 ]
