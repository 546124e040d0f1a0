#!/usr/bin/env bash
# The general linters over src/: clang-tidy, cppcheck, gcc -fanalyzer, shellcheck.
# Ends with "lint: N passed, N failed"; a file that one of them has something to say about failed.
# Usage: tools/lint.sh [file.c ...]
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
server=$(pg_config --includedir-server) || exit 1
out=build/lint/reports
rm -rf "$out"
mkdir -p "$out"
export server out

if [ $# -gt 0 ]; then files=("$@"); else mapfile -t files < <(find src -name '*.c' | sort); fi
world=()
for file in "${files[@]}"; do
    case $file in src/pg/*) ;; *) world+=("$file") ;; esac
done

# One file for one tool. What the tool says goes to a file, which stays empty when all is well.
one() {
    local tool=$1 file=$2 flags report
    report=$out/$tool-${file//\//-}
    flags=(-std=gnu11 -D_GNU_SOURCE -Isrc)
    case $file in src/pg/*) flags+=(-isystem "$server") ;; esac
    case $tool in
    clang-tidy)
        clang-tidy --quiet "$file" -- "${flags[@]}" 2>&1 | sed '/ warnings\? generated\.$/d' ;;
    analyzer)
        gcc -fanalyzer -Werror -O1 "${flags[@]}" -c "$file" -o /dev/null 2>&1 ;;
    cppcheck)
        cppcheck --quiet --enable=warning,performance,portability --std=c11 --inline-suppr \
            -Isrc --error-exitcode=1 "$file" 2>&1 ;;
    shellcheck)
        shellcheck --severity=warning --exclude= "$file" 2>&1 ;;
    esac > "$report" || [ -s "$report" ] || echo "$tool failed on $file" > "$report"
}
export -f one

{
    printf 'clang-tidy %s\n' "${files[@]}"
    [ ${#world[@]} = 0 ] || printf 'cppcheck %s\n' "${world[@]}"
    [ ${#world[@]} = 0 ] || printf 'analyzer %s\n' "${world[@]}"
    [ $# -gt 0 ] || printf 'shellcheck %s\n' tools/*.sh .ci/run
} | xargs -P 2 -L 1 bash -o pipefail -c 'one "$@"' _

passed=0
failed=0
for report in "$out"/*; do
    if [ -s "$report" ]; then
        echo "== ${report##*/}"
        cat "$report"
        failed=$((failed + 1))
    else
        passed=$((passed + 1))
    fi
done
for report in "$out"/*; do
    [ ! -s "$report" ] || echo "FAILED lint: ${report##*/}: $(grep -m 1 -E 'error|warning' "$report" || head -n 1 "$report")"
done | head -n 20 | cut -c 1-240
echo "lint: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
