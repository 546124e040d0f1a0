#!/usr/bin/env bash
# The simulator over the kept seeds (tools/seeds.txt), over a fixed range, and over new ones that are drawn from the clock
# and printed: what fails is repeated by build/sim SEED. Then some seeds twice, which must give the same trace.
#   SIM_SEEDS=n SIM_SEED_START=n         the fixed range: 300 from 1 on
#   SIM_NEW_SEEDS=n SIM_NEW_START=n      the new ones: 200 from the clock on
# Clusters likewise: 40 from 1 on, and 160 new ones; what fails is repeated by build/sim --cluster SEED. And clusters whose
# members come and go: 20 and 80, build/sim --growing SEED.
#   SIM_CLUSTER_SEEDS=n SIM_CLUSTER_NEW_SEEDS=n SIM_GROWING_SEEDS=n SIM_GROWING_NEW_SEEDS=n
set -uo pipefail
cd "$(dirname "$0")/.." || exit
make -s -j2 build/sim || exit 1
count=${SIM_SEEDS:-300}
start=${SIM_SEED_START:-1}
new_count=${SIM_NEW_SEEDS:-200}
# Nanoseconds, so that neighbouring runs have no seed in common; far above the fixed range.
new_start=${SIM_NEW_START:-$(date +%s%N)}
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
passed=0
failed=0
recap=
# Shows the end of what the run of this name has printed.
note_failure() {
    failed=$((failed + 1))
    tail -n 40 "build/sim-$1.out"
    recap+=$(RECAP_LINES=4 tools/recap.sh "$1" "build/sim-$1.out")$'\n'
}
run() {
    local from=$1 many=$2 name=$3
    shift 3
    if build/sim "$@" "$from" "$many" > "build/sim-$name.out" 2>&1; then
        passed=$((passed + many))
    else
        note_failure "$name"
    fi
}
while read -r seed _; do
    case $seed in ''|\#*) ;; *) run "$seed" 1 kept ;; esac
done < tools/seeds.txt
# A range in two halves, one for each of two processors. What follows the name, start and count are options.
run_range() {
    local name=$1 from=$2 many=$3 half pid part n job jobs=()
    shift 3
    half=$((many / 2))
    build/sim "$@" "$from" "$half" > "build/sim-$name-a.out" 2>&1 &
    jobs+=("$! a $half")
    build/sim "$@" $((from + half)) $((many - half)) > "build/sim-$name-b.out" 2>&1 &
    jobs+=("$! b $((many - half))")
    for job in "${jobs[@]}"; do
        read -r pid part n <<< "$job"
        if wait "$pid"; then
            passed=$((passed + n))
        else
            note_failure "$name-$part"
        fi
    done
}
run_range fixed "$start" "$count"
echo "new seeds: $new_count from $new_start on (repeat: SIM_NEW_START=$new_start tools/sim_seeds.sh, or build/sim SEED)"
run_range new "$new_start" "$new_count"
build/sim "$start" 3 > build/sim-c.out 2>&1
build/sim "$start" 3 > build/sim-d.out 2>&1
if cmp -s build/sim-c.out build/sim-d.out; then
    passed=$((passed + 1))
else
    recap+="FAILED sim: the same seed gave two traces"$'\n'
    failed=$((failed + 1))
fi
# One fault of the newest prepare and a crash: what each value of ledger.wal_sync loses, and nothing else.
if build/sim --window 1 100 > build/sim-window.out 2>&1; then
    passed=$((passed + 1))
    tail -n 2 build/sim-window.out
else
    note_failure window
fi
while read -r seed _; do
    case $seed in ''|\#*) ;; *) run "$seed" 1 cluster-kept --cluster ;; esac
done < tools/cluster_seeds.txt
while read -r seed _; do
    case $seed in ''|\#*) ;; *) run "$seed" 1 growing-kept --growing ;; esac
done < tools/growing_seeds.txt
run_range cluster-fixed 1 "${SIM_CLUSTER_SEEDS:-40}" --cluster
run_range cluster-new "$new_start" "${SIM_CLUSTER_NEW_SEEDS:-160}" --cluster
run_range growing-fixed 1 "${SIM_GROWING_SEEDS:-20}" --growing
run_range growing-new "$new_start" "${SIM_GROWING_NEW_SEEDS:-80}" --growing
tail -qn 1 build/sim-cluster-new-a.out build/sim-cluster-new-b.out
for canary in --canary --cluster-canary; do
    if build/sim "$canary" > build/sim-canary.out 2>&1; then
        passed=$((passed + 1))
    else
        echo "the simulator did not notice a broken promise ($canary)"
        note_failure canary
    fi
done
tail -n 3 build/sim-fixed-a.out
head -n 20 <<< "$recap" | grep . || true
echo "sim: $passed passed, $failed failed"
[ "$failed" = 0 ]
