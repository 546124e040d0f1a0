#!/usr/bin/env bash
# Every test, from a clean clone, as root or not. Ends with "N passed, N failed[, N skipped]".
#   tools/test.sh [MAJOR ...]    also with these majors of PostgreSQL (tools/majors.sh)
set -uo pipefail
cd "$(dirname "$0")/.." || exit
tools/deps.sh test || exit 1
mkdir -p build

passed=0
failed=0
skipped=0
failed_steps=
# What a log says of failures, with the lines before it; where it says nothing, its end.
failures_of() {
    grep -nE -B 4 '(^|[^a-z0-9])(FAIL(ED|URE)?|not ok|no result|exit status|ERROR: AddressSanitizer|runtime error)|, [1-9][0-9]* failed|assertion' "$1" | tail -n 60 || tail -n 30 "$1"
}
# Runs a step; its last line "<name>: N passed, N failed[, N skipped]" is added up. A step without that line, or one that
# ends badly although that line tells of no failure, counts as one failure.
step() {
    local name=$1 log line n begun=$SECONDS
    shift
    echo "== $name"
    log=build/$name.log
    "$@" > >(tee "$log") 2>&1
    local status=$?
    wait
    echo "$name took $((SECONDS - begun)) s"
    line=$(grep -E "^$name: [0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?\$" "$log" | tail -n 1)
    if [ -z "$line" ]; then
        echo "$name: no result (exit status $status)"
        failed=$((failed + 1))
        failed_steps="$failed_steps $name"
        return
    fi
    n=${line#*: }
    passed=$((passed + ${n%% passed*}))
    n=${line#*, }
    n=${n%% failed*}
    failed=$((failed + n))
    if [ "$status" != 0 ] && [ "$n" = 0 ]; then failed=$((failed + 1)); fi
    if [ "$status" != 0 ] || [ "$n" != 0 ]; then failed_steps="$failed_steps $name"; fi
    case $line in
    *skipped)
        n=${line##*, }
        skipped=$((skipped + ${n%% skipped*}))
        ;;
    esac
}

step unit make -s -j2 unit
step sim tools/sim_seeds.sh
step canaries make -s canaries
step fuzz make -s -j2 fuzz
step protocol make -s protocol
step bench-engine make -s -j2 bench-engine-smoke
step regress make -s regress
step tap make -s tap
# What may depend on how files are written. By default, `auto` chooses, which is io_uring for most where there is one.
step tap-sync env LEDGER_TEST_IO_METHOD=sync make -s tap TESTS=test/tap/001_crash.pl
step quickstart test/quickstart/test.sh
[ $# = 0 ] || step majors tools/majors.sh "$@"
echo
for name in $failed_steps; do
    echo "== $name failed; of build/$name.log:"
    failures_of "build/$name.log"
    echo
done
# Again and short, as often only the end of this is kept.
for name in $failed_steps; do tools/recap.sh "$name" "build/$name.log"; done | head -n 20
summary="$passed passed, $failed failed"
[ "$skipped" = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
