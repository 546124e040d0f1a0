#!/usr/bin/env bash
# Says in a few lines what has failed, for the end of a run's output: often only that is kept.
#   tools/recap.sh LABEL LOG [FOLDER]
# Prints at most RECAP_LINES (20) lines, each "FAILED LABEL: …". What the log has of such lines already, from a run inside
# this one, is all that is needed. FOLDER: where `tap` has the logs of its tests, and `regress` its differences.
set -uo pipefail
label=$1
log=$2
folder=${3:-}
lines=${RECAP_LINES:-20}

# Of a test that has failed: what is not ok, and what is said of it; else how it died. With the test's name.
of_tap_test() {
    local name=$1 most=$2 file=$folder/regress_log_$1
    [ -r "$file" ] || { echo "$name: no log"; return; }
    {
        sed -E 's/^\[[0-9:.]+\]\([0-9.]+s\) ?//' "$file" | awk '
            /^not ok / { print; told = 6; next }
            /^#? *$/ || /^#   Failed test/ || /^#   at / { next }
            /^#/ && told > 0 { print "  " $0; told--; next }
            { told = 0 }' | head -n $((most - 1))
        grep -E 'timed out|Bail out|^died|^IPC::Run|^psql error|^(connection )?error running| at [^ ]+\.p[lm] line [0-9]+' "$file" |
            grep -v '^#\|Use of uninit\|^\[[0-9:.]*\]' | tail -n 1
    } | sed "s|^|$name: |"
}

of_tap() {
    local names name each
    names=$(sed -nE 's|^test/tap/([^ ]+)\.pl +\(Wstat: .*|\1|p' "$log")
    each=$(wc -w <<< "$names")
    [ "$each" -gt 0 ] || return 1
    each=$((lines / each))
    for name in $names; do of_tap_test "$name" "$((each > 3 ? each : 3))" || true; done
}

# The first lines of each test's differences.
of_regress() {
    [ -s "$folder/regression.diffs" ] || return 1
    awk '
        /^diff / { sub(".*/", ""); print; left = 5; next }
        /^(---|\+\+\+) / { next }
        /^[-+]/ && left > 0 { print "  " $0; left-- }' "$folder/regression.diffs"
}

of_anything() {
    grep -E '^[^ ]+:[0-9]+: |assertion failed|^(cluster )?seed [0-9]+ .*: |(^|[^a-z0-9])(FAIL(ED|URE)?|not ok|no result|exit status|ERROR: |runtime error)|, [1-9][0-9]* failed' "$log" |
        grep -vE 'make(\[[0-9]+\])?: ' | awk '!seen[$0]++'
}

{
    if grep -q '^FAILED ' "$log"; then
        sed -n "s/^FAILED //p" "$log" | sed "s|^$label: ||"
    else
        case $label in
        tap*) of_tap ;;
        regress) of_regress ;;
        *) of_anything | grep . ;;
        esac || tail -n 5 "$log"
    fi
} | head -n "$lines" | cut -c 1-240 | sed "s|^|FAILED $label: |"
