#!/usr/bin/env bash
# Every test, from a clean clone, as root or not. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/.." || exit
tools/deps.sh test || exit 1
mkdir -p build
gcc -O2 -Wall -Wextra -Werror -o build/deny_io_uring test/tap/deny_io_uring.c || exit 1
gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o build/clock_ahead.so test/tap/clock_ahead.c || exit 1
gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o build/kill_at.so test/tap/kill_at.c || exit 1

passed=0
failed=0
# Runs a step; its last line "<name>: N passed, N failed" is added up. A step without that line counts as one failure.
step() {
    local name=$1 log line n
    shift
    echo "== $name"
    log=build/$name.log
    "$@" > >(tee "$log") 2>&1
    local status=$?
    wait
    line=$(grep -E '^[a-z-]+: [0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
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
}

step unit make -s -j2 unit
step sim tools/sim_seeds.sh
step fuzz make -s -j2 fuzz
step bench-engine make -s -j2 bench-engine-smoke
step regress make -s regress
step tap make -s tap
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
