#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""Counts what one transfer costs in system calls, wake-ups and context switches, in the worker and in the sessions.

Run as root, for `perf stat` counts in the kernel, so that what is measured is hardly slower for it:

    PGHOST=... PGUSER=postgres test/bench/syscalls.py [CLIENTS ...]     (1 8 32 64)

It needs a server with the extension and accounts 1 to 10,000 (as test/bench/bench.py makes them), pgbench and psql in
PATH, and nothing else that the server does. SYSCALLS_SECONDS is how long each is counted (3), SYSCALLS_SCRIPT what pgbench
runs (ledger_random.sql beside this file).
"""
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SECONDS = float(os.environ.get("SYSCALLS_SECONDS", "3"))
SCRIPT = os.environ.get("SYSCALLS_SCRIPT", HERE + "/ledger_random.sql")
WARM_SECONDS = 1

# What is counted by itself; the rest is "other". The names of the kernel's events.
CALLS = ("futex", "sched_yield", "io_uring_enter", "pwrite64", "epoll_wait", "kill", "sendto", "recvfrom", "read", "write")
EVENTS = ["raw_syscalls:sys_enter"] + ["syscalls:sys_enter_" + name for name in CALLS] + ["sched:sched_waking"]


def psql(statement):
    done = subprocess.run(["psql", "-qXAtF", " ", "-c", statement], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("syscalls: psql failed: " + done.stderr)
    return done.stdout.strip()


def transfers():
    """How many there are, and at which second."""
    count, at = psql("SELECT transfers_created, extract(epoch FROM published_at) FROM ledger.stats").split()
    return int(count), float(at)


def sessions():
    pids = psql("SELECT pid FROM pg_stat_activity WHERE application_name = 'pgbench'")
    return pids.split()


def switches(pids):
    """Voluntary and other context switches of all of them until now."""
    totals = [0, 0]
    for pid in pids:
        text = open("/proc/%s/status" % pid).read()
        for i, name in enumerate(("voluntary", "nonvoluntary")):
            totals[i] += int(re.search(r"^%s_ctxt_switches:\s*(\d+)" % name, text, re.M)[1])
    return totals


def processor_ms(pids):
    """Milliseconds in user mode and in the kernel until now."""
    tick = 1000 / os.sysconf("SC_CLK_TCK")
    fields = [open("/proc/%s/stat" % pid).read().rsplit(") ", 1)[1].split() for pid in pids]
    return [tick * sum(int(field[n]) for field in fields) for n in (11, 12)]


def perf_start(pids):
    return subprocess.Popen(
        ["perf", "stat", "-x", ";", "-e", ",".join(EVENTS), "-p", ",".join(pids), "sleep", str(SECONDS)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def perf_end(perf):
    text = perf.communicate()[1]
    counts = {}
    for line in text.split("\n"):
        fields = line.split(";")
        if len(fields) > 2 and fields[0].isdigit():
            counts[fields[2]] = int(fields[0])
    if EVENTS[0] not in counts:
        sys.exit("syscalls: perf stat counted nothing (is this root?):\n" + text)
    return counts


class Group:
    """The worker, or all sessions."""

    def __init__(self, name, pids):
        self.name, self.pids = name, pids

    def start(self):
        self.switches, self.processor = switches(self.pids), processor_ms(self.pids)
        self.perf = perf_start(self.pids)

    def end(self):
        self.counts = perf_end(self.perf)
        self.switches = [b - a for a, b in zip(self.switches, switches(self.pids))]
        self.processor = [b - a for a, b in zip(self.processor, processor_ms(self.pids))]

    def row(self, clients, count, rate):
        calls = self.counts[EVENTS[0]]
        named = [self.counts.get("syscalls:sys_enter_" + name, 0) for name in CALLS]
        per = [calls, *named, calls - sum(named), self.counts.get(EVENTS[-1], 0), *self.switches]
        cells = ["%d" % clients, self.name, "%.0f" % rate] + ["%.2f" % (n / count) for n in per]
        return cells + ["%.1f" % (ms * 1000 / count) for ms in self.processor]


HEAD = ("clients", "process", "transfers/s", "calls", *CALLS, "other", "wakes", "sleeps", "preempted", "user µs", "system µs")


def print_row(cells):
    print("| " + " | ".join(cell.rjust(max(5, len(head))) for cell, head in zip(cells, HEAD)) + " |", flush=True)


def measure(clients, worker):
    bench = subprocess.Popen(
        ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)),
         "-T", "600", "-f", SCRIPT],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(sessions()) != clients:
        if bench.poll() is not None:
            sys.exit("syscalls: pgbench has ended")
        time.sleep(0.1)
    time.sleep(WARM_SECONDS)
    groups = (Group("worker", [worker]), Group("sessions", sessions()))
    count, at = transfers()
    for group in groups:
        group.start()
    for group in groups:
        group.end()
    count_end, at_end = transfers()
    bench.terminate()
    bench.wait()
    rate = (count_end - count) / (at_end - at)
    for group in groups:
        print_row(group.row(clients, rate * SECONDS, rate))


def main():
    counts = [int(argument) for argument in sys.argv[1:]] or [1, 8, 32, 64]
    worker = psql("SELECT worker_pid FROM ledger.status")
    print("For each transfer. `wakes`: processes that it told the kernel to wake; `sleeps`, `preempted`: context switches.")
    print_row(HEAD)
    print("|" + "|".join("-" * (max(5, len(head)) + 2) for head in HEAD) + "|")
    for clients in counts:
        measure(clients, worker)


main()
