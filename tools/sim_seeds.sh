#!/usr/bin/env bash
# The simulator over the regression seeds and a range of fresh ones; then one seed twice, which must give the same trace.
set -uo pipefail
cd "$(dirname "$0")/.." || exit
make -s -j2 build/sim || exit 1
count=${SIM_SEEDS:-1000}
start=${SIM_SEED_START:-1}
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
passed=0
failed=0
run() {
    if build/sim "$1" "$2" > build/sim-$3.out 2>&1; then
        passed=$((passed + $2))
    else
        tail -n 40 build/sim-$3.out
        failed=$((failed + 1))
    fi
}
while read -r seed _; do
    case $seed in ''|\#*) ;; *) run "$seed" 1 kept ;; esac
done < tools/seeds.txt
half=$((count / 2))
build/sim "$start" "$half" > build/sim-a.out 2>&1 &
first=$!
build/sim $((start + half)) $((count - half)) > build/sim-b.out 2>&1 &
second=$!
for job in "$first a $half" "$second b $((count - half))"; do
    read -r pid name n <<< "$job"
    if wait "$pid"; then
        passed=$((passed + n))
    else
        tail -n 40 "build/sim-$name.out"
        failed=$((failed + 1))
    fi
done
build/sim "$start" 3 > build/sim-c.out 2>&1
build/sim "$start" 3 > build/sim-d.out 2>&1
if cmp -s build/sim-c.out build/sim-d.out; then
    passed=$((passed + 1))
else
    echo "the same seed gave two traces"
    failed=$((failed + 1))
fi
if build/sim --canary > build/sim-canary.out 2>&1; then
    passed=$((passed + 1))
else
    echo "the simulator did not notice a broken promise"
    tail -n 20 build/sim-canary.out
    failed=$((failed + 1))
fi
tail -n 3 build/sim-a.out
echo "sim: $passed passed, $failed failed"
[ "$failed" = 0 ]
