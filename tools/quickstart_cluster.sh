#!/usr/bin/env bash
# From nothing to a ledger on three servers: builds, makes a private copy of the server with the extension in it, starts
# three throw-away servers that talk over Unix sockets, forms a cluster of them, and loses one of them. Touches no
# installed extension and no existing cluster. Run again, it starts afresh. Root is needed only where packages are missing.
#   tools/quickstart_cluster.sh         build, start, tour
#   tools/quickstart_cluster.sh stop    stop the servers and remove all of it
# LEDGER_QUICKSTART_CLUSTER_DIR says where all of it is, by default /var/tmp/ledger-quickstart-cluster-<user>.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022
home=${LEDGER_QUICKSTART_CLUSTER_DIR:-/var/tmp/ledger-quickstart-cluster-$(id -un)}
nodes=(a b c)

# A server refuses to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then as_user=(setpriv --reuid=postgres --regid=postgres --init-groups); fi
run() { (cd / && "${as_user[@]}" env HOME="$home" LC_ALL=C.UTF-8 "$@"); }

stop_servers() {
    [ -e "$home/bin" ] || return 0
    for node in "${nodes[@]}"; do
        [ -e "$home/$node/postmaster.pid" ] || continue
        run "$(cat "$home/bin")/pg_ctl" -D "$home/$node" -m fast -w stop > /dev/null 2>&1 || true
    done
}

remove() {
    case $home in "" | /) echo "LEDGER_QUICKSTART_CLUSTER_DIR must be a folder of its own" >&2; exit 1 ;; esac
    if [ -d "$home" ] && [ ! -e "$home/ledger-quickstart" ] && [ -n "$(ls -A "$home")" ]; then
        echo "$home is not a quickstart's: it is left as it is" >&2
        exit 1
    fi
    stop_servers
    rm -rf "$home"
}

if [ "${1:-}" = stop ]; then
    if [ -d "$home" ]; then
        remove
        echo "stopped, and removed $home"
    fi
    exit 0
fi

doing='installing packages'
finished=
# Whatever fails, no server is left running, and what failed is said.
leave() {
    [ -z "$finished" ] || return 0
    echo "quickstart-cluster failed while $doing" >&2
    for node in "${nodes[@]}"; do
        [ -e "$home/$node.log" ] || continue
        echo "the end of $home/$node.log:" >&2
        tail -n 10 "$home/$node.log" >&2
    done
    stop_servers
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

declare -A port postmaster
free_port() {
    local candidate
    for candidate in $(seq "$1" $(($1 + 100))); do
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then echo "$candidate"; return; fi
    done
    echo "no free port from $1 on" >&2
    return 1
}

# As a child of this script, which notices its end below also where process 1 does not, as in many containers.
start() {
    # shellcheck disable=SC2016
    run bash -c 'exec "$0" -D "$1" >> "$2" 2>&1' "$bin/postgres" "$home/$1" "$home/$1.log" \
        > /dev/null 2>&1 < /dev/null &
    postmaster[$1]=$!
    for _ in $(seq 1800); do
        run "$bin/pg_isready" -q -h "$home" -p "${port[$1]}" && return
        kill -0 "${postmaster[$1]}" 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}
sql() {
    local node=$1
    shift
    run "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$home" -p "${port[$node]}" -U postgres -P footer=off "$@"
}
# Shows a statement and its answer.
show() {
    echo
    echo "$1=# $2;"
    sql "$1" -c "$2"
}
# Waits until the statement answers true.
await() {
    for _ in $(seq 1800); do
        [ "$(sql "$1" -At -c "$2")" != t ] || return 0
        sleep 0.1
    done
    echo "this did not become true at $1: $2" >&2
    return 1
}

doing='starting three servers'
first=54420
for node in "${nodes[@]}"; do
    port[$node]=$(free_port "$first")
    first=$((port[$node] + 1))
    run "$bin/initdb" -D "$home/$node" -U postgres -A trust --no-locale -E UTF8 > /dev/null
    run tee -a "$home/$node/postgresql.conf" > /dev/null <<CONF
port = ${port[$node]}
listen_addresses = '127.0.0.1'
unix_socket_directories = '$home'
cluster_name = '$node'
shared_preload_libraries = 'ledger'
ledger.memory = 256MB
ledger.wal_size = 64MB
ledger.spin = 0
ledger.node_name = '$node'
ledger.nodes = 'a=$home/a.sock, b=$home/b.sock, c=$home/c.sock'
CONF
    start "$node"
    sql "$node" -c "SET client_min_messages = error; CREATE EXTENSION ledger"
done

doing='forming the cluster'
cluster='SELECT name, role, state, is_self, op, lag_ops FROM ledger.cluster ORDER BY name'
echo
echo '-- Three servers, each with ledger.node_name, and the same ledger.nodes. The first node makes the ledger:'
show a "SELECT ledger.cluster_create()"
echo '-- and lets the others in. They are sent all of it, and then vote.'
for node in b c; do
    # They have connected within a second.
    await a "SELECT count(*) = 1 FROM ledger.cluster WHERE name = '$node'"
    show a "SELECT ledger.cluster_add('$node')"
done
await a "SELECT count(*) = 3 FROM ledger.cluster WHERE role = 'voter' AND state IN ('primary', 'backup')"
for node in b c; do await "$node" "SELECT role IN ('primary', 'backup') FROM ledger.status"; done
show a "$cluster"

doing='taking the tour'
balances='SELECT ledger.id_numeric(id) AS account, credits_posted - debits_posted AS balance FROM ledger.accounts ORDER BY timestamp'
echo '-- A call may be made at any node. A transfer at b:'
sql b -c "SELECT ledger.create_account(ledger.id(i), ledger => 978, code => 1) FROM generate_series(1, 2) i" > /dev/null
show b "SELECT ledger.create_transfer(ledger.id(1000), ledger.id(1), ledger.id(2), 100, 978, 1)"
echo '-- is there at c at once:'
show c "$balances"

doing="killing a's server"
# The server's processes: the postmaster, and whose parent it is. /proc says it where there is no ps.
server_pids() {
    local stat line parent
    echo "$1"
    for stat in /proc/[0-9]*/stat; do
        read -r line 2>/dev/null < "$stat" || continue
        # "PID (name) state parent …", and a name may have anything in it.
        read -r _ parent _ <<< "${line##*) }"
        [ "$parent" != "$1" ] || echo "${line%% *}"
    done | sed 's/ .*//'
}
mapfile -t pids < <(server_pids "$(head -n 1 "$home/a/postmaster.pid")")
kill -9 "${pids[@]}" 2>/dev/null || true
wait "${postmaster[a]}" 2>/dev/null || true
for _ in $(seq 1800); do
    kill -0 "${pids[@]}" 2>/dev/null || break
    sleep 0.1
done
echo '-- kill -9 of every process of the server of a, the primary. b and c go on:'
show b "SELECT ledger.create_transfer(ledger.id(1001), ledger.id(1), ledger.id(2), 100, 978, 1)"
show c "$balances"
await c "SELECT state = 'unreachable' FROM ledger.cluster WHERE name = 'a'"
show c "$cluster"

doing='starting a again'
start a
await a "SELECT role IN ('primary', 'backup') FROM ledger.status"
echo '-- a is started again, and has caught up:'
show a "$balances"
await a "SELECT count(*) = 3 FROM ledger.cluster WHERE state IN ('primary', 'backup')"
show a "$cluster"
finished=1

cat <<END

Three servers run. Connect:  psql -h 127.0.0.1 -p ${port[a]} -U postgres      (b: ${port[b]}, c: ${port[c]})
Stop and remove them:        make quickstart-stop
END
