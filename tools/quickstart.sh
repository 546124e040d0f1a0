#!/usr/bin/env bash
# From nothing to a running ledger: installs what is missing, builds, makes a private copy of the server with the extension
# in it and a throw-away cluster on a free port, and takes a tour (examples/tour.sql). Touches no installed extension and
# no existing cluster. Run again, it starts afresh. Needs neither make nor anything else to be there before; root only
# where packages are missing.
#   tools/quickstart.sh         build, start, tour
#   tools/quickstart.sh stop    stop the cluster and remove it
# LEDGER_QUICKSTART_DIR says where all of it is, by default /var/tmp/ledger-quickstart-<user>.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
home=${LEDGER_QUICKSTART_DIR:-/var/tmp/ledger-quickstart-$(id -un)}
pgdata=$home/pgdata

# The server refuses to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then as_user=(setpriv --reuid=postgres --regid=postgres --init-groups); fi
run() { (cd / && "${as_user[@]}" env HOME="$home" LC_ALL=C.UTF-8 "$@"); }

stop_cluster() {
    if [ -e "$home/bin" ] && [ -e "$pgdata/postmaster.pid" ]; then
        run "$(cat "$home/bin")/pg_ctl" -D "$pgdata" -m fast -w stop > /dev/null 2>&1 || true
    fi
}

remove() {
    case $home in "" | /) echo "LEDGER_QUICKSTART_DIR must be a folder of its own" >&2; exit 1 ;; esac
    if [ -d "$home" ] && [ ! -e "$home/ledger-quickstart" ] && [ -n "$(ls -A "$home")" ]; then
        echo "$home is not a quickstart's: it is left as it is" >&2
        exit 1
    fi
    stop_cluster
    rm -rf "$home"
}

if [ "${1:-}" = stop ]; then
    remove
    echo "stopped, and removed $home"
    exit 0
fi

doing='installing packages'
finished=
# Whatever fails, no server is left running, and what failed is said.
leave() {
    [ -z "$finished" ] || return 0
    echo "quickstart failed while $doing" >&2
    if [ -e "$home/server.log" ]; then
        echo "the end of $home/server.log:" >&2
        tail -n 20 "$home/server.log" >&2
    fi
    stop_cluster
}
trap leave EXIT
trap 'exit 130' INT TERM HUP

tools/deps.sh
pg_config=${PG_CONFIG:-pg_config}
doing="building for $($pg_config --version)"
echo "$doing"
make -s -j2 PG_CONFIG="$pg_config" all

doing="installing into $home"
remove
mkdir -p "$home"
touch "$home/ledger-quickstart"
bin=$(STRICT='' tools/stage.sh "$home/install")
[ "$(id -u)" != 0 ] || chown postgres: "$home"
echo "$bin" > "$home/bin"

doing='starting the server'
port=
for candidate in $(seq 54320 54420); do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then port=$candidate; break; fi
done
[ -n "$port" ] || { echo "no free port between 54320 and 54420" >&2; exit 1; }

run "$bin/initdb" -D "$pgdata" -U postgres -A trust --no-locale -E UTF8 > /dev/null
run tee -a "$pgdata/postgresql.conf" > /dev/null <<CONF
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$home'
shared_preload_libraries = 'ledger'
CONF
start() { run "$bin/pg_ctl" -D "$pgdata" -l "$home/server.log" -w start > /dev/null 2>&1; }
# As a child of this script, which notices its end below also where process 1 does not, as in many containers.
# shellcheck disable=SC2016
run bash -c 'exec "$0" -D "$1" >> "$2" 2>&1' "$bin/postgres" "$pgdata" "$home/server.log" > /dev/null 2>&1 < /dev/null &
for _ in $(seq 1800); do
    run "$bin/pg_isready" -q -h "$home" -p "$port" && break
    kill -0 $! 2>/dev/null || exit 1
    sleep 0.1
done
sql() { run "$bin/psql" -X -q -h "$home" -p "$port" -U postgres -P footer=off "$@"; }

doing='creating the extension'
sql -v ON_ERROR_STOP=1 -c 'CREATE EXTENSION ledger'

doing='taking the tour'
# psql echoes statements, not comments: those become messages of its own. The overdraft's error is a part of the tour.
tour() { sed '1,/^$/d' examples/tour.sql | sql -e -f - 2>&1 | sed 's/^psql:<stdin>:[0-9]*: //'; }
tour() {
    sed '1,/^$/d; s/^-- \(.*\)$/\\echo\n\\echo -- \1\n/' examples/tour.sql | sql -e -f - 2>&1 |
        sed 's/^psql:<stdin>:[0-9]*: //'
}
tour

doing='killing the server and starting it again'
# The server's processes: the postmaster, and whose parent it is. /proc says it where there is no ps.
server_pids() {
    local stat line
    echo "$1"
    for stat in /proc/[0-9]*/stat; do
        read -r line 2>/dev/null < "$stat" || continue
        # "PID (name) state parent …", and a name may have anything in it.
        read -r _ parent _ <<< "${line##*) }"
        [ "$parent" != "$1" ] || echo "${line%% *}"
    done
}
echo
echo '-- kill -9 of every server process, start again: what was acknowledged is there.'
mapfile -t pids < <(server_pids "$(head -n 1 "$pgdata/postmaster.pid")")
kill -9 "${pids[@]}" 2>/dev/null || true
for _ in $(seq 1800); do
    kill -0 "${pids[@]}" 2>/dev/null || break
    sleep 0.1
done
start || exit 1
sql -v ON_ERROR_STOP=1 -c "SELECT ledger.id_numeric(id) AS account, credits_posted - debits_posted AS balance, debits_pending AS held
  FROM ledger.accounts WHERE ledger = 840 ORDER BY timestamp"
sql -x -v ON_ERROR_STOP=1 -c 'SELECT role, op, commit_op, io_method, io_direct, data_directory FROM ledger.status'
finished=1

cat <<END

The ledger runs. Connect:   psql -h 127.0.0.1 -p $port -U postgres
Stop and remove it:         make quickstart-stop
END
