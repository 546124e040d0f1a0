#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""Compares a cluster of three nodes with one node, all on this machine, in one run: run it with `make bench-cluster`.

Both write durably, and take turns, so that what else the machine does hits both; what earlier runs wrote stays. The three
nodes share this machine's processors and its disk, which three machines would not: so it says what replication costs, and not how
fast a cluster is. Prints tables, and whether the targets are reached.
    BENCH_SECONDS         length of one run (3)
    BENCH_RUNS            runs of each case; the median counts (3)
    BENCH_FAILOVERS       how often the primary is lost, and steps down (10)
    BENCH_CLUSTER_PARTS   what is run: "single bulk failover", all by default
"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

import bench

sys.path.insert(0, os.path.join(bench.HERE, "..", "jepsen"))
from servers import make_cluster, make_lone, wait_formed, wait_primary
from wire import Lost, ServerError

FAILOVERS = int(os.environ.get("BENCH_FAILOVERS", "10"))
PARTS = os.environ.get("BENCH_CLUSTER_PARTS", "single bulk failover").split()
NAMES = ("a", "b", "c")
SETTINGS = """
ledger.memory = 2GB
ledger.wal_size = 256MB
max_connections = 100
"""
HEAD = ("case", "one node/s", "cluster/s", "ratio", "one p50", "p50", "p99", "max")
WIDTHS = (50, 11, 11, 7, 9, 9, 9, 9)
# How long clients work before the primary is lost, and until they must work again.
BEFORE_S = 1.0
AGAIN_S = 30
CALLERS_PER_NODE = 2
# Runs differ by a tenth, so this much is still no sign of trouble.
RATIO_MAX = 1.1
UNSOUND = []
# The numbers of bulk clients of one node are so far from those of the next.
CLIENTS_BETWEEN = 20


def environment(server):
    return dict(os.environ, PGHOST=server.folder, PGPORT="5432", PGUSER="postgres", PGDATABASE="postgres")


def together(commands):
    """commands: (server, words). Runs all of them at the same time; returns what each has printed."""
    running = [subprocess.Popen(words, env=dict(environment(server), BULK_FIRST_CLIENT=str(i * CLIENTS_BETWEEN)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
               for i, (server, words) in enumerate(commands)]
    outputs = [process.communicate() for process in running]
    for process, (out, err) in zip(running, outputs):
        if process.returncode != 0:
            sys.exit("bench: %s failed:\n%s%s" % (" ".join(process.args), out, err))
    return [out for out, _ in outputs]


def single(at):
    """at: server → clients. One transfer a call, through pgbench."""
    for server in at:
        for name in os.listdir(server.folder):
            if name.startswith("calls"):
                os.remove(os.path.join(server.folder, name))
    outputs = together([
        (server, ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)), "-T",
                  str(max(1, round(bench.SECONDS))), "-f", bench.HERE + "/ledger_random.sql", "-l",
                  "--log-prefix=" + server.folder + "/calls"])
        for server, clients in at.items()])
    latencies = []
    for server in at:
        for name in os.listdir(server.folder):
            if name.startswith("calls"):
                with open(os.path.join(server.folder, name)) as log:
                    latencies += [int(line.split(" ", 3)[2]) for line in log]
    latencies.sort()
    failed = [count for output in outputs for count in re.findall(r"number of failed transactions: (\d+)", output)]
    if not latencies or any(count != "0" for count in failed):
        sys.exit("bench: calls failed:\n" + "\n".join(outputs))
    rate = sum(float(re.search(r"tps = ([\d.]+)", output)[1]) for output in outputs)
    return bench.Run(rate, statistics.pstdev(latencies), latencies[len(latencies) // 2],
                     latencies[len(latencies) * 99 // 100], latencies[-1])


def bulk(mode, at):
    """The latencies are the medians, and the worst, of what each node's clients have measured."""
    outputs = together([(server, ["./bulk_client", mode, str(bench.BATCH), str(clients), str(bench.SECONDS), str(bench.ACCOUNTS)])
                        for server, clients in at.items()])
    runs = []
    for output in outputs:
        transfers, seconds, _, stddev, p50, p99, worst = (float(word) for word in output.split())
        runs.append(bench.Run(transfers / seconds, stddev, p50, p99, worst))
    whole = bench.median(runs)
    whole.rate = sum(run.rate for run in runs)
    return whole


def spread(servers, clients):
    """So many clients over all servers, as evenly as can be."""
    return {server: clients // len(servers) + (i < clients % len(servers)) for i, server in enumerate(servers)}


def make_accounts(server):
    created = server.value(
        "SELECT sum(created) FROM (SELECT (SELECT count(*) FROM ledger.create_accounts(events)"
        " WHERE status = 'created') AS created FROM (SELECT array_agg((ledger.id(n), NULL, NULL, NULL, 1, 1,"
        " NULL, NULL)::ledger.account_input) AS events FROM generate_series(1, %d) AS n GROUP BY n / %d) AS batch)"
        " AS batches" % (bench.ACCOUNTS, bench.SETUP_BATCH))
    if created != str(bench.ACCOUNTS):
        sys.exit("bench: %s accounts were created" % created)


def compare(name, one, cluster):
    ratio = cluster.rate / one.rate
    bench.row((name, "%.0f" % one.rate, "%.0f" % cluster.rate, "%.2f" % ratio, bench.microseconds(one.p50),
               bench.microseconds(cluster.p50), bench.microseconds(cluster.p99), bench.microseconds(cluster.worst)), WIDTHS)
    return ratio


def places(lone, servers, clients, run):
    """Sides for take_turns: one node, and the ways in which the clients can be at three."""
    primary = wait_primary(servers)
    backup = next(server for server in servers if server is not primary)
    sides = {"one": {lone: clients}, "all at the primary": {primary: clients}, "all at a backup": {backup: clients}}
    if clients >= len(servers):
        sides["spread over the nodes"] = spread(servers, clients)
    return {name: (lambda: None, lambda at=at: run(at)) for name, at in sides.items()}


def compare_places(lone, servers, clients, name, run, reached, key):
    """Replication makes nothing faster. Where it seems to, something else has held the one node up, and no target is judged by that."""
    result = bench.take_turns(places(lone, servers, clients, run))
    ratios = {side: compare("%s, %s" % (name, side), result["one"], result[side]) for side in list(result)[1:]}
    if max(ratios.values()) > RATIO_MAX:
        UNSOUND.append(name)
        return
    for side, ratio in ratios.items():
        reached[(*key, side)] = ratio


def bench_single(lone, servers, reached):
    bench.head("One transfer a call", HEAD, WIDTHS)
    for server in (lone, *servers):
        single({server: 8})  # Warms caches up.
    for clients in (1, 32):
        compare_places(lone, servers, clients, bench.client_count(clients), single, reached, ("single", clients))


def bench_bulk(lone, servers, reached):
    bench.head("Batches of %d" % bench.BATCH, HEAD, WIDTHS)
    for mode in ("array", "packed"):
        for clients in (1, 3):
            compare_places(lone, servers, clients, "%s, %s" % (mode, bench.client_count(clients)),
                           lambda at, mode=mode: bulk(mode, at), reached, (mode, clients))


# Failover ----------------------------------------------------------------------------------------

class Caller(threading.Thread):
    """Makes one transfer after the other, and notes when each was acknowledged."""

    def __init__(self, server, stop):
        super().__init__(daemon=True)
        self.server, self.stop_event, self.acknowledged, self.wrong = server, stop, [], None

    def run(self):
        try:
            connection = self.server.connect(timeout_s=AGAIN_S)
            while not self.stop_event.is_set():
                connection.query("SELECT ledger.create_transfer(ledger.uuidv7(), ledger.id(1), ledger.id(2), 1, 1, 1)")
                self.acknowledged.append(time.monotonic())
        except (Lost, ServerError) as error:
            self.wrong = error


def gap(servers, act):
    """The longest time without an acknowledgement, in ms, at each of these servers' worst, around what `act` does."""
    stop = threading.Event()
    callers = [Caller(server, stop) for server in servers for _ in range(CALLERS_PER_NODE)]
    for caller in callers:
        caller.start()
    time.sleep(BEFORE_S)
    begun = time.monotonic()
    act()
    end = time.monotonic() + AGAIN_S
    while time.monotonic() < end and any(len([t for t in caller.acknowledged[-20:] if t > begun + 0.2]) < 20 for caller in callers):
        time.sleep(0.05)
    stop.set()
    for caller in callers:
        caller.join(AGAIN_S)
        if caller.wrong is not None or not caller.acknowledged or caller.acknowledged[-1] < begun:
            sys.exit("bench: a call at %s failed or did not go on: %s" % (caller.server.name, caller.wrong))
    worst = 0.0
    for server in servers:
        times = sorted(t for caller in callers if caller.server is server for t in caller.acknowledged if t > begun - 0.2)
        worst = max(worst, *(later - earlier for earlier, later in zip(times, times[1:])))
    return worst * 1000


def bench_failover(servers, reached):
    timeout = servers[0].value("SELECT setting FROM pg_settings WHERE name = 'ledger.failover_timeout'")
    cells = ("what", "runs", "median", "max")
    widths = (60, 5, 9, 9)
    bench.head("Longest time without an acknowledgement (ledger.failover_timeout = %s ms, drawn anew ± 25 %%)" % timeout, cells, widths)
    lost, planned = [], []
    for _ in range(FAILOVERS):
        primary = wait_primary(servers)
        others = [server for server in servers if server is not primary]
        lost.append(gap(others, primary.kill))
        primary.start()
        primary.wait_ready()
        wait_formed(servers)
        primary = wait_primary(servers)
        planned.append(gap(servers, lambda primary=primary: primary.once("SELECT ledger.cluster_step_down()")))
        wait_formed(servers)
    for name, gaps in (("kill -9 of the primary's server, callers at the others", lost), ("the primary steps down, callers at all", planned)):
        bench.row((name, str(len(gaps)), "%.0f ms" % statistics.median(gaps), "%.0f ms" % max(gaps)), widths)
    for name, gaps in (("lost", lost), ("steps down", planned)):
        print("\nThe primary %s, each in ms: %s" % (name, " ".join("%.0f" % ms for ms in gaps)))
    reached["failover"] = statistics.median(lost) / float(timeout)


TARGETS = (
    *(("one a call, %s, %s" % (bench.client_count(clients), side), ("single", clients, side), 0.5, "least")
      for clients in (1, 32) for side in ("all at the primary", "all at a backup", "spread over the nodes") if clients > 1 or side[0] == "a"),
    *(("bulk, %s, 1 client, %s" % (mode, side), (mode, 1, side), 0.4, "least")
      for mode in ("array", "packed") for side in ("all at the primary", "all at a backup")),
    ("failover, of ledger.failover_timeout", "failover", 1.25, "most"),
)


def main():
    start = time.monotonic()
    shutil.rmtree(bench.WORK, ignore_errors=True)
    os.mkdir(bench.WORK, 0o700)
    servers = []
    try:
        lone = make_lone(bench.WORK, "one", SETTINGS)
        servers.append(lone)
        nodes = make_cluster(bench.WORK, NAMES, SETTINGS)
        servers += nodes
        bench.machine()
        make_accounts(lone)
        make_accounts(nodes[0])
        bench.wait_for_memory([server.value(bench.WORKER_PID) for server in servers])
        reached = {}
        if "single" in PARTS:
            bench_single(lone, nodes, reached)
        if "bulk" in PARTS:
            bench_bulk(lone, nodes, reached)
        if "failover" in PARTS:
            bench_failover(nodes, reached)
        bench.report(reached, TARGETS)
        for name in UNSOUND:
            print("\nNO RESULT for %s: the cluster was faster than one node, so that was held up. Repeat it on a quiet machine." % name)
        print("\n%.0f s; load after: %.2f" % (time.monotonic() - start, os.getloadavg()[0]))
    finally:
        for server in servers:
            server.stop()


main()
