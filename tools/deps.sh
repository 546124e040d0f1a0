#!/usr/bin/env bash
# Installs what building and testing need, where it is missing. Needs Debian or Ubuntu, and root to install.
#   tools/deps.sh         build and run
#   tools/deps.sh test    also what the tests and the lint need
set -euo pipefail

major=$(pg_config --version 2>/dev/null | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p' || true)
if [ -z "$major" ]; then
    major=$(ls /usr/lib/postgresql 2>/dev/null | sort -n | tail -n 1 || true)
fi
[ -n "$major" ] || major=$(apt-cache search --names-only '^postgresql-[0-9]+$' 2>/dev/null |
    sed -n 's/^postgresql-\([0-9]*\) .*/\1/p' | sort -n | tail -n 1 || true)
[ -n "$major" ] || major=15

wanted="gcc make libc6-dev postgresql-$major postgresql-server-dev-$major liburing-dev libxxhash-dev"
if [ "${1:-}" = test ]; then
    wanted="$wanted python3 perl libpq-dev libipc-run-perl clang-tidy cppcheck shellcheck"
fi

missing=
for package in $wanted; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "missing packages:$missing" >&2
    echo "install them as root: apt-get install$missing" >&2
    exit 1
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# A new PostgreSQL package would otherwise make and start a cluster of its own.
if ! dpkg-query -W "postgresql-$major" >/dev/null 2>&1 && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
fi
# shellcheck disable=SC2086
apt-get install -y -qq $missing >/dev/null
