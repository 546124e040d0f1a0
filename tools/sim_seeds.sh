#!/usr/bin/env bash
# The simulator over the kept seeds (tools/seeds.txt), over a fixed range, and over new ones that are drawn from the clock
# and printed: what fails is repeated by build/sim SEED. Clusters likewise (build/sim --cluster SEED), and clusters whose
# members come and go (build/sim --growing SEED).
#
# build/sim has sanitizers, build/sim_fast has none and is several times as fast. Kept seeds, the fixed range and some of the
# new ones run with them; the fixed range without, too, which must give the same trace; most of the new ones only without.
#   SIM_SEEDS=n SIM_SEED_START=n             the fixed range: 300 from 1 on
#   SIM_NEW_SEEDS=n SIM_NEW_START=n          the new ones: 300 from the clock on, of which a sixth has sanitizers
#   SIM_CLUSTER_SEEDS=n SIM_CLUSTER_NEW_SEEDS=n SIM_GROWING_SEEDS=n SIM_GROWING_NEW_SEEDS=n      40, 140, 20, 60
#   SIM_STORM_NEW_SEEDS=n SIM_GROWING_STORM_NEW_SEEDS=n      120, 60
set -uo pipefail
cd "$(dirname "$0")/.." || exit
make -s -j2 build/sim build/sim_fast || exit 1
count=${SIM_SEEDS:-300}
start=${SIM_SEED_START:-1}
new_count=${SIM_NEW_SEEDS:-300}
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
# The kept seeds of a list. What follows the list and a name are options.
run_kept() {
    local list=$1 name=$2 seed
    shift 2
    while read -r seed _; do
        case $seed in ''|\#*) ;; *) run "$seed" 1 "$name" "$@" ;; esac
    done < "$list"
}
# A range in two halves, one for each of two processors. What follows the binary, name, start and count are options.
run_range() {
    local binary=$1 name=$2 from=$3 many=$4 half pid part n job jobs=()
    shift 4
    half=$((many / 2))
    "build/$binary" "$@" "$from" "$half" > "build/sim-$name-a.out" 2>&1 &
    jobs+=("$! a $half")
    "build/$binary" "$@" $((from + half)) $((many - half)) > "build/sim-$name-b.out" 2>&1 &
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
# With sanitizers and without: the lines of all seeds, which have their traces, are the same.
run_fixed() {
    local name=$1 from=$2 many=$3
    shift 3
    run_range sim "$name" "$from" "$many" "$@"
    run_range sim_fast "$name-fast" "$from" "$many" "$@"
    if cmp -s <(grep -h trace "build/sim-$name-"[ab].out) <(grep -h trace "build/sim-$name-fast-"[ab].out); then
        passed=$((passed + 1))
    else
        recap+="FAILED sim: the same seed gave two traces, with sanitizers and without ($name)"$'\n'
        failed=$((failed + 1))
    fi
}
run_new() {
    local name=$1 many=$2 sanitized=$(($2 / 6))
    shift 2
    run_range sim "$name-new" "$new_start" "$sanitized" "$@"
    run_range sim_fast "$name-new-fast" $((new_start + sanitized)) $((many - sanitized)) "$@"
}
echo "new seeds from $new_start on (repeat: SIM_NEW_START=$new_start tools/sim_seeds.sh, or build/sim SEED)"
run_kept tools/seeds.txt kept
run_fixed fixed "$start" "$count"
run_new lone "$new_count"
# One fault of the newest prepare and a crash: what each value of ledger.wal_sync loses, and nothing else.
if build/sim --window 1 100 > build/sim-window.out 2>&1; then
    passed=$((passed + 1))
    tail -n 2 build/sim-window.out
else
    note_failure window
fi
run_kept tools/cluster_seeds.txt cluster-kept --cluster
run_kept tools/growing_seeds.txt growing-kept --growing
run_fixed cluster 1 "${SIM_CLUSTER_SEEDS:-40}" --cluster
run_fixed growing 1 "${SIM_GROWING_SEEDS:-20}" --growing
run_new cluster "${SIM_CLUSTER_NEW_SEEDS:-140}" --cluster
run_new growing "${SIM_GROWING_NEW_SEEDS:-60}" --growing
run_new storm "${SIM_STORM_NEW_SEEDS:-120}" --cluster-storm
run_new growing-storm "${SIM_GROWING_STORM_NEW_SEEDS:-60}" --growing-storm
run_range sim_fast directed 1 20 --directed
tail -qn 1 build/sim-cluster-fast-[ab].out build/sim-growing-fast-[ab].out
for canary in --canary --cluster-canary; do
    if build/sim "$canary" > build/sim-canary.out 2>&1; then
        passed=$((passed + 1))
    else
        echo "the simulator did not notice a broken promise ($canary)"
        note_failure canary
    fi
done
head -n 20 <<< "$recap" | grep . || true
echo "sim: $passed passed, $failed failed"
[ "$failed" = 0 ]
