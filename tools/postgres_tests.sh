#!/usr/bin/env bash
# Tests that need a PostgreSQL server, against a private copy of it (tools/stage.sh), as a user that is not root.
#   tools/postgres_tests.sh regress
#   tools/postgres_tests.sh tap [TEST ...]        LEDGER_TEST_IO_METHOD: with this ledger.io_method
#   tools/postgres_tests.sh bench [ARGUMENT ...]
#   tools/postgres_tests.sh jepsen [ARGUMENT ...]
# TAP_JOBS=n   files of tap that run at the same time (3: they wait more than they compute)
# LEDGER_OLD_PG_CONFIG=/usr/lib/postgresql/15/bin/pg_config makes tap upgrade from that older major.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=$1
shift

# A folder on a real file system (direct I/O), which the user postgres can read even if this clone isn't.
stage=$(mktemp -d "${LEDGER_STAGE_PARENT:-/var/tmp}/ledger-stage.XXXXXX")
cleanup() {
    if [ -n "${KEEP_STAGE:-}" ]; then echo "kept: $stage"; else rm -rf "$stage"; fi
}
trap cleanup EXIT
chmod 755 "$stage"
bin=$(tools/stage.sh "$stage/install")
mkdir -p "$stage/work"
cp -r test sql expected "$stage/work/"
data=${LEDGER_TEST_DATA:-$(cd .. && pwd)/shared/data}
if [ -d "$data" ]; then cp -rL "$data" "$stage/work/data"; fi
if [ -d build ]; then mkdir -p "$stage/work/bin"; cp build/deny_io_uring build/*.so "$stage/work/bin/" 2>/dev/null || true; fi

# The extension for an older major is built in a copy: objects of two majors don't mix.
old_bin=
if [ "$kind" = tap ] && [ -n "${LEDGER_OLD_PG_CONFIG:-}" ]; then
    mkdir "$stage/old-source"
    tar -c --exclude=./.git --exclude=./build --exclude='*.o' --exclude='*.d' --exclude='*.so' --exclude='*.bc' . |
        tar -x -C "$stage/old-source" --no-same-owner
    old_bin=$(cd "$stage/old-source" && PG_CONFIG=$LEDGER_OLD_PG_CONFIG tools/stage.sh "$stage/old-install")
fi

as_user=()
if [ "$(id -u)" = 0 ]; then
    chown -R postgres: "$stage/work"
    as_user=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi
pgxs=$(dirname "$("${PG_CONFIG:-pg_config}" --pgxs)")
export HOME="$stage/work" LANG=C.UTF-8 LC_ALL=C.UTF-8
run() {
    (cd "$stage/work" && "${as_user[@]}" env \
        PATH="$bin:$PATH" \
        PG_REGRESS="$pgxs/../test/regress/pg_regress" \
        LEDGER_TEST_DATA="$stage/work/data" \
        LEDGER_TEST_BIN="$stage/work/bin" \
        ${old_bin:+"LEDGER_OLD_BINDIR=$old_bin"} \
        TESTDATADIR="$stage/work/tmp_check" TESTLOGDIR="$stage/work/tmp_check/log" \
        "$@")
}

case $kind in
regress)
    tests=$(cd sql && ls ./*.sql | sed 's|^\./||; s|\.sql$||' | sort)
    cat > "$stage/work/regress.conf" <<CONF
shared_preload_libraries = 'ledger'
ledger.memory = 256MB
ledger.wal_size = 32MB
ledger.commit_mode = immediate
CONF
    chmod 644 "$stage/work/regress.conf"
    status=0
    # shellcheck disable=SC2086
    run "$pgxs/../test/regress/pg_regress" --bindir="$bin" --inputdir=. --outputdir=. \
        --temp-instance=./regress_instance --temp-config=./regress.conf --no-locale \
        --encoding=UTF8 ${REGRESS_TESTS:-$tests} > "$stage/regress.log" 2>&1 || status=$?
    cat "$stage/regress.log"
    if [ "$status" != 0 ]; then
        cat "$stage/work/regression.diffs" 2>/dev/null | head -n 400 || true
        tail -n 30 "$stage/work/log/postmaster.log" 2>/dev/null || true
        if [ -n "${KEEP_RESULTS:-}" ]; then cp -r "$stage/work/results" build/ 2>/dev/null || true; fi
    fi
    passed=$(grep -cE '^(test .*|ok .*|     [a-z_0-9]+ +)\.\.\. ok|^ok ' "$stage/regress.log" || true)
    failed=$(grep -cE '\.\.\. FAILED|^not ok ' "$stage/regress.log" || true)
    if [ "$status" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    if [ "$status" != 0 ]; then tools/recap.sh regress "$stage/regress.log" "$stage/work"; fi
    echo "regress: $passed passed, $failed failed"
    exit "$status"
    ;;
tap)
    tests=("$@")
    # The longest ones first, so that no processor waits for them in the end.
    long=(test/tap/{016_growth,011_larger_than_memory,050_cluster,031_lifecycle}.pl)
    if [ ${#tests[@]} = 0 ]; then
        tests=("${long[@]}")
        for test in test/tap/*.pl; do
            [[ " ${long[*]} " == *" $test "* ]] || tests+=("$test")
        done
    fi
    status=0
    # Most of their time is waiting, for servers and disks.
    run prove --timer --jobs "${TAP_JOBS:-3}" -I "$pgxs/../test/perl" -I test/tap "${tests[@]}" > "$stage/tap.log" 2>&1 || status=$?
    cat "$stage/tap.log"
    if [ "$status" != 0 ]; then
        for log in "$stage/work/tmp_check/log/"*; do
            echo "--- $(basename "$log")"
            tail -n 40 "$log"
        done
    fi
    passed=$(grep -cE '^test/tap/.*ok$|^\[.*\] test/tap/.* ok|test/tap/[^ ]* \.+ ok' "$stage/tap.log" || true)
    failed=$(grep -cE '^test/tap/.*\(Wstat: ' "$stage/tap.log" || true)
    if [ "$status" != 0 ] && [ "$failed" = 0 ]; then failed=1; fi
    if [ "$status" != 0 ]; then tools/recap.sh tap "$stage/tap.log" "$stage/work/tmp_check/log"; fi
    echo "tap${LEDGER_TEST_IO_METHOD:+-$LEDGER_TEST_IO_METHOD}: $passed passed, $failed failed"
    exit "$status"
    ;;
bench)
    run test/bench/bench.sh "$@"
    ;;
jepsen)
    status=0
    run python3 -B test/jepsen/jepsen.py "$@" || status=$?
    # What it has left is needed to see what was wrong.
    if [ -d "$stage/work/jepsen" ]; then
        mkdir -p build/jepsen
        cp "$stage/work/jepsen/history" build/jepsen/
        for log in "$stage/work/jepsen/"?/log; do cp "$log" "build/jepsen/log-$(basename "$(dirname "$log")")"; done
        echo "copied to build/jepsen"
    fi
    exit "$status"
    ;;
*)
    echo "unknown kind of test: $kind" >&2
    exit 2
    ;;
esac
