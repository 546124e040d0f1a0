#!/usr/bin/env bash
# Runs unit test binaries, two at a time; prints their lines, and "N passed, N failed" over all of them.
set -uo pipefail
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0}
# shellcheck disable=SC2016
printf '%s\n' "$@" | LOGS=$logs xargs -P 2 -I {} bash -c '
    name=$(basename "{}")
    timeout 900 "{}" > "$LOGS/$name.log" 2>&1 || echo "$?" > "$LOGS/$name.status"'
passed=0
failed=0
recap=
for binary in "$@"; do
    name=$(basename "$binary")
    log=$logs/$name.log
    line=$(grep -E '^[a-z0-9_]+: [0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
    if [ -z "$line" ] || [ -e "$logs/$name.status" ]; then
        cat "$log"
        echo "$name: exit status $(cat "$logs/$name.status" 2>/dev/null || echo 0)" | tee -a "$log"
        recap+=$(RECAP_LINES=5 tools/recap.sh "$name" "$log")$'\n'
        failed=$((failed + 1))
    fi
    if [ -n "$line" ]; then
        echo "$line"
        p=${line#*: }
        passed=$((passed + ${p%% passed*}))
        f=${line#*, }
        failed=$((failed + ${f%% failed*}))
    fi
done
head -n 20 <<< "$recap" | grep . || true
echo "unit: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
