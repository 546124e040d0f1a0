#!/usr/bin/env bash
# Installs what building and testing need, where it is missing. Needs Debian or Ubuntu, and root to install.
#   tools/deps.sh           build and run
#   tools/deps.sh server    also what the tests need that run a server
#   tools/deps.sh test      also what all other tests and the lint need
# LEDGER_PG_MAJOR=17 asks for that major of PostgreSQL; by default it is the installed one, else the newest there is.
set -euo pipefail
what=${1:-build}
export DEBIAN_FRONTEND=noninteractive

# What apt says is shown only when it fails.
quiet_apt_get() {
    local log
    log=$(mktemp)
    if ! apt-get "$@" > "$log" 2>&1 < /dev/null; then
        cat "$log" >&2
        rm -f "$log"
        echo "apt-get $* failed, see above" >&2
        exit 1
    fi
    rm -f "$log"
}

updated=
update_once() {
    if [ "$(id -u)" != 0 ] || [ -n "$updated" ]; then return 0; fi
    quiet_apt_get update
    updated=1
}

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

newest_major() {
    apt-cache search --names-only '^postgresql-[0-9]+$' 2>/dev/null |
        sed -n 's/^postgresql-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1
}

major=${LEDGER_PG_MAJOR:-}
[ -n "$major" ] || major=$(pg_config --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p' || true)
[ -n "$major" ] || major=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort -n | tail -n 1 || true)
if [ -z "$major" ]; then
    update_once
    major=$(newest_major || true)
fi
[ -n "$major" ] || major=15

wanted=(gcc make libc6-dev "postgresql-$major" "postgresql-server-dev-$major" liburing-dev libxxhash-dev libssl-dev)
case $what in
build) ;;
server) wanted+=(perl libipc-run-perl python3) ;;
test) wanted+=(perl libipc-run-perl python3 git libpq-dev clang-tidy cppcheck shellcheck debootstrap debian-archive-keyring) ;;
*) echo "usage: tools/deps.sh [build|server|test]" >&2; exit 2 ;;
esac

missing=()
for package in "${wanted[@]}"; do
    installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "missing packages: ${missing[*]}" >&2
    echo "install them as root: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "installing: ${missing[*]}"
update_once

# A new PostgreSQL package makes and starts a cluster of its own, unless this file says otherwise while it is installed.
# The file is given back as it was: a cluster made later is nothing of ours.
config=/etc/postgresql-common/createcluster.conf
saved=
give_back() {
    [ -n "$saved" ] || return 0
    cat "$saved" > "$config"
    rm -f "$saved"
}
trap give_back EXIT
if ! installed "postgresql-$major"; then
    quiet_apt_get install -y --no-install-recommends postgresql-common
    if [ -e "$config" ]; then
        saved=$(mktemp)
        cat "$config" > "$saved"
        echo 'create_main_cluster = false' >> "$config"
    fi
fi
quiet_apt_get install -y --no-install-recommends "${missing[@]}"
