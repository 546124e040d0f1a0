#!/usr/bin/env bash
# Compares the ledger with a ledger of plain tables, on this machine, in one run: run it with `make bench`.
# Both write durably, and take turns, so that what else the machine does hits both. Prints tables, and whether the
# targets are reached. Needs the server's programs in PATH, and a user that is not root.
#   bench.sh [bench|bench_cluster]     bench_cluster: three nodes against one, with `make bench-cluster`
#   BENCH_SECONDS   length of one run (3)
#   BENCH_RUNS      runs of each case; the median counts (3)
#   BENCH_PARTS     what is run: "single bulk bank io", all by default
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

include=
while read -r config; do
    directory=$("$config" --includedir)
    if [ -e "$directory/libpq-fe.h" ]; then include=$directory; fi
done < <(type -ap pg_config)
if [ -z "$include" ]; then
    echo "bench: libpq-fe.h is missing; tools/deps.sh test installs it" >&2
    exit 1
fi
"${CC:-gcc}" -std=gnu11 -O2 -Wall -Wextra -Werror -I"$include" "$here/bulk_client.c" -o bulk_client -lpq -lm
exec python3 -B "$here/${1:-bench}.py"
