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
        return
    fi
    n=${line#*: }
    passed=$((passed + ${n%% passed*}))
    n=${line#*, }
    n=${n%% failed*}
    failed=$((failed + n))
    if [ "$status" != 0 ] && [ "$n" = 0 ]; then failed=$((failed + 1)); fi
    case $line in
    *skipped)
        n=${line##*, }
        skipped=$((skipped + ${n%% skipped*}))
        ;;
    esac
}

step unit make -s -j2 unit
step sim tools/sim_seeds.sh
step fuzz make -s -j2 fuzz
step bench-engine make -s -j2 bench-engine-smoke
step regress make -s regress
step tap make -s tap
step quickstart test/quickstart/test.sh
[ $# = 0 ] || step majors tools/majors.sh "$@"
echo
summary="$passed passed, $failed failed"
[ "$skipped" = 0 ] || summary="$summary, $skipped skipped"
echo "$summary"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
