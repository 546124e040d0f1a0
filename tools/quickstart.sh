#!/usr/bin/env bash
# From nothing to a running ledger: installs what is missing, builds, installs, makes a throw-away PostgreSQL cluster on a
# free port, and takes a tour. Touches no existing cluster. Run again, it starts afresh.
#   tools/quickstart.sh         build, start, tour
#   tools/quickstart.sh stop    stop the cluster and remove it
set -euo pipefail
cd "$(dirname "$0")/.."
home=${LEDGER_QUICKSTART_DIR:-/var/tmp/ledger-quickstart-$(id -un)}
pgdata=$home/pgdata

as_user=()
if [ "$(id -u)" = 0 ]; then as_user=(setpriv --reuid=postgres --regid=postgres --init-groups); fi
run() { (cd / && "${as_user[@]}" env HOME="$home" LC_ALL=C.UTF-8 "$@"); }

stop_cluster() {
    [ -e "$home/bin" ] || return 0
    run "$(cat "$home/bin")/pg_ctl" -D "$pgdata" -m fast -w stop >/dev/null 2>&1 || true
}

if [ "${1:-}" = stop ]; then
    stop_cluster
    rm -rf "$home"
    echo "stopped, and removed $home"
    exit 0
fi

tools/deps.sh
pg_config=${PG_CONFIG:-pg_config}
echo "building for $($pg_config --version)"
make -s -j2 PG_CONFIG="$pg_config" all
stop_cluster
rm -rf "$home"
mkdir -p "$home"
if [ "$(id -u)" = 0 ]; then
    make -s PG_CONFIG="$pg_config" install
    bin=$($pg_config --bindir)
    chown postgres: "$home"
else
    # Without root, the extension goes into a private copy of the server.
    bin=$(tools/stage.sh "$home/install")
fi
echo "$bin" > "$home/bin"

port=
for candidate in $(seq 54320 54420); do
    if ! (exec 3<>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null; then port=$candidate; break; fi
done
[ -n "$port" ] || { echo "no free port between 54320 and 54420" >&2; exit 1; }

run "$bin/initdb" -D "$pgdata" -U postgres -A trust --no-locale -E UTF8 >/dev/null
run tee -a "$pgdata/postgresql.conf" >/dev/null <<CONF
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$home'
shared_preload_libraries = 'ledger'
CONF
start() { run "$bin/pg_ctl" -D "$pgdata" -l "$home/server.log" -w start >/dev/null 2>&1; }
start
sql() { run "$bin/psql" -X -q -h "$home" -p "$port" -U postgres -v ON_ERROR_STOP=1 "$@"; }
tour() {
    echo
    echo "-- $1"
    shift
    printf '%s\n' "$1" | sed 's/^/   /'
    printf '%s\n' "$1" | sql -P footer=off -f - 2>&1 | sed 's/^psql:<stdin>:[0-9]*: //' || true
}

sql -c 'CREATE EXTENSION ledger'
tour 'Open accounts: a bank that hands out money, and two customers who cannot overdraw.' \
"SELECT ledger.create_account(ledger.id(1), ledger => 978, code => 1);
SELECT ledger.create_account(ledger.id(10), ledger => 978, code => 10,
       flags => '{debits_must_not_exceed_credits, history}');
SELECT ledger.create_account(ledger.id(11), ledger => 978, code => 10,
       flags => '{debits_must_not_exceed_credits, history}');"
tour 'Money comes in: 100.00, in cents.' \
"SELECT ledger.create_transfer(ledger.id(1000), debit_account_id => ledger.id(1),
       credit_account_id => ledger.id(10), amount => 10000, ledger => 978, code => 1);"
tour 'A payment of 30.00. Sent again with the same id, it happens once.' \
"SELECT ledger.create_transfer(ledger.id(1001), ledger.id(10), ledger.id(11), 3000, 978, 2);
SELECT ledger.create_transfer(ledger.id(1001), ledger.id(10), ledger.id(11), 3000, 978, 2);"
tour 'An overdraft is refused.' \
"SELECT ledger.create_transfer(ledger.id(1002), ledger.id(10), ledger.id(11), 999999, 978, 2);"
tour 'Hold 20.00, then capture 15.00 of it: the rest is released.' \
"SELECT ledger.create_transfer(ledger.id(1003), ledger.id(10), ledger.id(11), 2000, 978, 3,
       flags => '{pending}', timeout => '1 hour');
SELECT ledger.post_pending_transfer(ledger.id(1004), pending_id => ledger.id(1003), amount => 1500);"
tour 'Hold 5.00, then release it.' \
"SELECT ledger.create_transfer(ledger.id(1005), ledger.id(10), ledger.id(11), 500, 978, 3,
       flags => '{pending}');
SELECT ledger.void_pending_transfer(ledger.id(1006), pending_id => ledger.id(1005));"
balances="SELECT ledger.id_numeric(id) AS account, credits_posted - debits_posted AS balance, debits_pending AS held
  FROM ledger.accounts WHERE ledger = 978 ORDER BY timestamp;"
tour 'Balances are rows.' "$balances"
tour 'So is a statement.' \
"SELECT ledger.id_numeric(t.id) AS transfer, t.amount, t.flags,
       b.credits_posted - b.debits_posted AS balance_after
  FROM ledger.account_balances b JOIN ledger.transfers t USING (timestamp)
 WHERE b.account_id = ledger.id(10) AND ledger.id(10) IN (t.debit_account_id, t.credit_account_id)
 ORDER BY t.timestamp;"

echo
echo '-- kill -9 of every server process, start again: what was acknowledged is there.'
postmaster=$(head -n 1 "$pgdata/postmaster.pid")
children=$(ps -o pid= --ppid "$postmaster" | tr '\n' ' ')
# shellcheck disable=SC2086
run kill -9 "$postmaster" $children 2>/dev/null || true
for _ in $(seq 100); do run kill -0 "$postmaster" 2>/dev/null || break; sleep 0.1; done
start
sql -P footer=off -c "$balances"
sql -x -P footer=off -c 'SELECT role, op, commit_op, io_method, io_direct, data_directory FROM ledger.status'

cat <<END

The ledger runs. Connect:   psql -h 127.0.0.1 -p $port -U postgres
Stop and remove it:         make quickstart-stop
END
