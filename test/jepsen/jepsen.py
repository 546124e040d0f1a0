#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""Clients at all three nodes of a cluster while anything happens to its servers; then the history is checked.

    jepsen.py [--seconds 120] [--seed N] [--folder FOLDER] [--keep]

The faults and the calls follow from the seed; what comes of them doesn't, as it is a matter of time. The history stays in
the folder if something was found, and with --keep; checker.py says how to read it. Ends with "jepsen: passed" or "jepsen: FAILED".
"""
import argparse
import json
import os
import shutil
import signal
import sys
import threading
import time

import checker
from clients import ACCOUNTS, LIMITED, Client, accounts_of, read_sql
from nemesis import Nemesis
from servers import WAIT_S, make_cluster, new_seed, role, wait_for, wait_formed
from wire import Lost, ServerError

NAMES = ("a", "b", "c")
CLIENTS_PER_NODE = 4
SETTINGS = """
ledger.memory = 256MB
ledger.wal_size = 64MB
ledger.spin = 0
ledger.failover_timeout = 500ms
"""


class History:
    """A file of lines, which several threads write."""

    def __init__(self, path):
        self.lines, self.lock, self.file = [], threading.Lock(), open(path, "w")

    def add(self, line):
        with self.lock:
            self.lines.append(line)
            self.file.write(json.dumps(line) + "\n")

    def close(self):
        self.file.close()


def make_accounts(server):
    for number in range(1, ACCOUNTS + 1):
        flags = "'{debits_must_not_exceed_credits}'" if number in LIMITED else "'{}'"
        server.once("SELECT ledger.create_account(ledger.id(%d), 1, 1, %s)" % (number, flags))


def final(server):
    """All that a node has, by reads that must see everything."""
    patient = "-c ledger.quorum_wait=%ds" % WAIT_S
    transfers = server.once(
        'SELECT ledger.id_numeric(id), ledger.id_numeric(debit_account_id), ledger.id_numeric(credit_account_id), amount,'
        ' "timestamp" FROM ledger.transfers ORDER BY "timestamp"', WAIT_S, patient)
    accounts = accounts_of(server.once(read_sql(range(1, ACCOUNTS + 1)), WAIT_S, patient))
    return {"op": "final", "node": server.name, "transfers": [[int(cell) for cell in row] for row in transfers],
            "accounts": accounts}


def in_vain(lines):
    """What has not succeeded anywhere, although it was tried. A run in which nothing happened has proved nothing."""
    done = {(line["node"], line["op"]) for line in list(lines) if line.get("outcome") == "ok"}
    return ["no %s at %s has succeeded" % (op, name) for name in NAMES for op in ("create", "read") if (name, op) not in done]


def trouble(servers, history, seconds, seed):
    """Clients and faults for so long. Returns what the clients found wrong by themselves."""
    stop = threading.Event()
    clients = [Client(i + 1, servers[i % len(servers)], history, stop, seed) for i in range(CLIENTS_PER_NODE * len(servers))]
    began = time.monotonic()

    def note(text):
        print("%6.1f s: %s" % (time.monotonic() - began, text), flush=True)
        history.add({"op": "fault", "at": time.monotonic_ns(), "what": text})

    nemesis = Nemesis(servers, note, seed)
    wrong = []
    for client in clients:
        client.start()
    try:
        while time.monotonic() - began < seconds:
            nemesis.calm()
            nemesis.act()
        note("healed")
        wait_formed(servers)
        nemesis.calm()
        # On a slow machine the time may have been too short for anything to succeed.
        wait_for("a call at each node that succeeds", lambda: not in_vain(history.lines))
    except TimeoutError as error:
        # What is there may tell why.
        wrong.append("the cluster does not work: %s" % error)
    finally:
        stop.set()
        for client in clients:
            client.join(WAIT_S)
    wrong += [text for client in clients for text in client.wrong]
    return wrong + ["client %d has not ended" % client.number for client in clients if client.is_alive()]


def run(options, folder):
    history = History(folder + "/history")
    history.add({"op": "seed", "seed": options.seed})
    history.add({"op": "accounts", "count": ACCOUNTS, "limited": list(LIMITED)})
    servers = []
    try:
        servers = make_cluster(folder, NAMES, SETTINGS)
        make_accounts(servers[0])
        wrong = trouble(servers, history, options.seconds, options.seed)
        for server in servers:
            try:
                history.add(final(server))
            except (Lost, ServerError) as error:
                wrong.append("%s can't be read in the end: %s" % (server.name, error))
        print("in the end: " + ", ".join("%s is %s" % (server.name, role(server)) for server in servers))
    finally:
        for server in servers:
            server.stop()
        history.close()
    for server in servers:
        wrong += ["log of %s: %s" % (server.name, line) for line in server.wrong()]
    began = time.monotonic()
    findings = checker.check(history.lines)
    print("\n".join(checker.summary(history.lines)))
    count = max((len(line["transfers"]) for line in history.lines if line["op"] == "final"), default=0)
    print("%d transfers in the log; checked in %.1f s" % (count, time.monotonic() - began))
    missing = [] if any(line["op"] == "fault" for line in history.lines) else ["there was no fault"]
    for text in wrong + in_vain(history.lines) + missing:
        findings["something else is wrong"].append(text)
    return checker.report(findings)


def terminate(number, frame):
    sys.exit("jepsen: ended by signal %d" % number)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=new_seed())
    parser.add_argument("--folder", default="jepsen")
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, terminate)
    folder = os.path.abspath(options.folder)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, mode=0o700)
    print("seed %d, %g s" % (options.seed, options.seconds), flush=True)
    good = False
    try:
        good = run(options, folder)
    except (TimeoutError, Lost, ServerError) as error:
        print("VIOLATION: the cluster does not work: %s" % error)
        for name in NAMES:
            if os.path.exists(folder + "/%s/log" % name):
                with open(folder + "/%s/log" % name, errors="replace") as log:
                    print("the end of the log of %s:\n%s" % (name, "".join(log.readlines()[-15:])))
    if good and not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print("history and servers' logs: %s" % folder)
    print("jepsen: passed" if good else "jepsen: FAILED, seed %d" % options.seed)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
