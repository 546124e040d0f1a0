#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""See bench.sh. Cases are run in turns; each number is the median of its runs."""
import csv
import glob
import math
import mmap
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
WORK = os.path.join(os.getcwd(), "bench")
SECONDS = float(os.environ.get("BENCH_SECONDS", "3"))
RUNS = int(os.environ.get("BENCH_RUNS", "3"))
PARTS = os.environ.get("BENCH_PARTS", "single bulk bank io").split()
ACCOUNTS = 10000
BATCH = 8190
CLIENTS = (1, 8, 32, 64)
PORT = "5997"
# A server that was just started gets its memory from the system, which takes a processor; see src/os/populate.h.
REST_SECONDS_MAX = 120
WORKER_PID = "SELECT worker_pid FROM ledger.status"
# Events that one statement creates: below the largest batch.
SETUP_BATCH = 5000

CONFIGURATION = """
shared_preload_libraries = 'ledger'
ledger.memory = 6GB
ledger.wal_size = 256MB
max_connections = 200
listen_addresses = ''
log_checkpoints = off
port = %s
unix_socket_directories = '%s'
"""

# As in plain.sql.
PLAIN_INDEXES = tuple(
    "CREATE INDEX transfers_%s ON plain.transfers (%s_account_id, created_at)" % (side, side)
    for side in ("debit", "credit"))

# Methods of I/O, first the one of all other cases.
IO_METHODS = (
    ("auto, direct", "auto", "on"),
    ("io_uring, direct", "io_uring", "on"),
    ("sync, direct", "sync", "on"),
    ("io_uring, buffered", "io_uring", "off"),
    ("sync, buffered", "sync", "off"),
)


class Run:
    """Rate in transfers per second; latencies of a call in microseconds."""

    def __init__(self, rate, stddev, p50, p99, worst):
        self.rate, self.stddev, self.p50, self.p99, self.worst = rate, stddev, p50, p99, worst


def median(runs):
    """The median of each number, but the worst of the worst."""
    middle = (statistics.median(getattr(run, name) for run in runs) for name in ("rate", "stddev", "p50", "p99"))
    return Run(*middle, max(run.worst for run in runs))


def command(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("bench: %s failed:\n%s%s" % (" ".join(arguments), done.stdout, done.stderr))
    return done.stdout


# The server --------------------------------------------------------------------------------------

def psql(*statements):
    arguments = ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1"]
    for statement in statements:
        arguments += ["-c", statement]
    return command(*arguments).strip()


def server(action):
    command("pg_ctl", "-D", WORK + "/data", "-l", WORK + "/log", "-m", "fast", "-w", action)


def make_server():
    shutil.rmtree(WORK, ignore_errors=True)
    os.mkdir(WORK, 0o700)
    os.environ.update(PGHOST=WORK, PGPORT=PORT, PGUSER="postgres", PGDATABASE="postgres")
    command("initdb", "-D", WORK + "/data", "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8")
    with open(WORK + "/data/postgresql.conf", "a") as conf:
        conf.write(CONFIGURATION % (PORT, WORK))
    server("start")
    psql("CREATE EXTENSION ledger")
    command("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", HERE + "/plain.sql")


def fresh_ledger(settings=()):
    """An empty ledger, with the accounts, in the same server: each run starts from the same state."""
    server("stop")
    shutil.rmtree(WORK + "/data-ledger")
    os.remove(WORK + "/data/ledger.identity")
    with open(WORK + "/data/postgresql.auto.conf", "w") as conf:
        for name, value in settings:
            conf.write("%s = '%s'\n" % (name, value))
    server("start")
    psql("SELECT ledger.create_ledger()")
    created = psql(
        "SELECT sum(created) FROM (SELECT (SELECT count(*) FROM ledger.create_accounts(events)"
        " WHERE status = 'created') AS created FROM (SELECT array_agg((ledger.id(n), NULL, NULL, NULL, 1, 1,"
        " NULL, NULL)::ledger.account_input) AS events FROM generate_series(1, %d) AS n GROUP BY n / %d) AS batch)"
        " AS batches" % (ACCOUNTS, SETUP_BATCH))
    if created != str(ACCOUNTS):
        sys.exit("bench: %s accounts were created" % created)


def memory_of(pid):
    """Bytes of memory that a process has got from the system."""
    with open("/proc/%s/statm" % pid) as statm:
        return int(statm.read().split()[1]) * mmap.PAGESIZE


def wait_for_memory(pids):
    """Waits until these workers get no more memory from the system."""
    before = 0
    for _ in range(REST_SECONDS_MAX):
        now = sum(memory_of(pid) for pid in pids)
        if now - before < 2**20:
            return
        before = now
        time.sleep(1)
    sys.exit("bench: a worker gets memory from the system and doesn't end")


def rested_ledger(settings=()):
    """Like fresh_ledger, and the worker has its memory."""
    fresh_ledger(settings)
    wait_for_memory([psql(WORKER_PID)])


def fresh_plain():
    psql("TRUNCATE plain.transfers", "UPDATE plain.accounts SET debits = 0, credits = 0",
         "VACUUM ANALYZE plain.accounts", "CHECKPOINT")


def money_is_conserved():
    for table, debits, credits in (("ledger.accounts", "debits_posted", "credits_posted"),
                                   ("plain.accounts", "debits", "credits")):
        sums = psql("SELECT sum(%s) = sum(%s) FROM %s" % (debits, credits, table))
        if sums != "t":
            sys.exit("bench: the sums of debits and of credits of %s differ" % table)


# The disk ----------------------------------------------------------------------------------------

DISK_SECTOR = 4096
DISK_FILE_SECTORS = 4096
DISK_WRITES = 1000


def disk_latencies(count):
    """Microseconds that `count` durable writes of 4 KiB in sequence take on the ledger's file system: median, p99."""
    path = WORK + "/disk"
    sector = mmap.mmap(-1, DISK_SECTOR)
    with open(path, "wb") as file:
        file.write(bytes(DISK_SECTOR * DISK_FILE_SECTORS))
        os.fsync(file.fileno())
    fd = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_DSYNC)
    try:
        took = []
        for i in range(DISK_WRITES):
            sector[0:8] = i.to_bytes(8, "little")
            start = time.perf_counter_ns()
            for j in range(count):
                # As the two logs: each has its own place, and goes on from sector to sector.
                place = (i + j * DISK_FILE_SECTORS // 2) % DISK_FILE_SECTORS
                os.pwrite(fd, sector, place * DISK_SECTOR)
            took.append((time.perf_counter_ns() - start) / 1000)
    finally:
        os.close(fd)
        os.remove(path)
    took.sort()
    return took[len(took) // 2], took[len(took) * 99 // 100]


class Disk:
    """Durable writes of 4 KiB, measured now and then during the run: one (F), and two in sequence."""

    def __init__(self):
        self.one, self.two = [], []

    def measure(self):
        self.one.append(disk_latencies(1))
        self.two.append(disk_latencies(2))

    def latency(self):
        return statistics.median(p50 for p50, _ in self.one)

    def report(self):
        for name, runs in (("one", self.one), ("two in sequence", self.two)):
            print("Durable write of 4 KiB, %s: p50 %.0f µs, p99 %.0f µs (medians of %d times during this run)" % (
                name, statistics.median(p50 for p50, _ in runs), statistics.median(p99 for _, p99 in runs), len(runs)))


# Runs --------------------------------------------------------------------------------------------

def single(script, clients):
    """One transfer a call, through pgbench."""
    for old in glob.glob(WORK + "/calls*"):
        os.remove(old)
    output = command(
        "pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(clients, 2)),
        "-T", str(math.ceil(SECONDS)), "-f", "%s/%s.sql" % (HERE, script),
        "-l", "--log-prefix=" + WORK + "/calls")
    latencies = []
    for path in glob.glob(WORK + "/calls*"):
        with open(path) as log:
            latencies += [int(line.split(" ", 3)[2]) for line in log]
    latencies.sort()
    failed = re.search(r"number of failed transactions: (\d+)", output)
    if not latencies or (failed and failed[1] != "0"):
        sys.exit("bench: calls failed:\n" + output)
    rate = float(re.search(r"tps = ([\d.]+)", output)[1])
    return Run(rate, statistics.pstdev(latencies), latencies[len(latencies) // 2],
               latencies[len(latencies) * 99 // 100], latencies[-1])


def bulk(mode, batch, clients, file=None):
    arguments = ["./bulk_client", mode, str(batch), str(clients), str(SECONDS), str(ACCOUNTS)]
    transfers, seconds, _, stddev, p50, p99, worst = (
        float(word) for word in command(*arguments + ([file] if file else [])).split())
    return Run(transfers / seconds, stddev, p50, p99, worst)


def bulk_plain(batch, clients, file=None):
    return bulk("sql" if clients == 1 else "sql_locked", batch, clients, file)


def take_turns(sides):
    """sides: name → (prepare, run). Returns the median of each, from runs that took turns."""
    runs = {name: [] for name in sides}
    for _ in range(RUNS):
        for name, (prepare, run) in sides.items():
            prepare()
            runs[name].append(run())
    return {name: median(results) for name, results in runs.items()}


# The bank file -----------------------------------------------------------------------------------

def bank_file():
    """The transactions of a real bank's year as transfers between an account and the bank (account 1)."""
    path = os.path.join(os.environ.get("LEDGER_TEST_DATA", ""), "bank_1993.csv")
    if not os.path.exists(path):
        return None
    numbers = {}
    converted = WORK + "/bank"
    with open(path, newline="") as source, open(converted, "w") as target:
        for row in csv.DictReader(source):
            amount = int(row["amount_hellers"])
            account = numbers.setdefault(row["account_id"], len(numbers) + 2)
            pair = (1, account) if row["side"] == "credit" else (account, 1)
            if amount > 0:
                target.write("%d %d %d\n" % (*pair, amount))
    if len(numbers) >= ACCOUNTS:
        sys.exit("bench: %s has too many accounts" % path)
    return converted


# Tables ------------------------------------------------------------------------------------------

def microseconds(value):
    return "%.0f µs" % value if value < 10000 else "%.1f ms" % (value / 1000)


def client_count(clients):
    return "1 client" if clients == 1 else "%d clients" % clients


def row(cells, widths):
    print("| " + " | ".join(
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths))) + " |", flush=True)


def head(title, cells, widths):
    print("\n## " + title + "\n")
    row(cells, widths)
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


COMPARE_HEAD = ("case", "plain SQL/s", "ledger/s", "ratio", "plain p50", "p50", "p99", "max")
COMPARE_WIDTHS = (46, 11, 11, 7, 9, 9, 9, 9)


def compare(case, plain, ledger):
    ratio = ledger.rate / plain.rate
    row((case, "%.0f" % plain.rate, "%.0f" % ledger.rate, "%.2f" % ratio, microseconds(plain.p50),
         microseconds(ledger.p50), microseconds(ledger.p99), microseconds(ledger.worst)), COMPARE_WIDTHS)
    return ratio


def machine():
    model = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read())[1])
    file_system = command("df", "--output=fstype", WORK).split()[-1]
    print("%s, %d processors, %d GB; Linux %s; %s; file system %s" % (
        model[1] if model else platform.machine(), os.cpu_count(), round(memory / 2**20), platform.release(),
        command("postgres", "--version").strip(), file_system))
    print("Runs of each case: %d of %g s, in turns; medians. Load before: %.2f" % (RUNS, SECONDS, os.getloadavg()[0]))
    print("Latencies are of a call; where not said otherwise, of the ledger.", flush=True)


# The benchmark -----------------------------------------------------------------------------------

def bench_single(reached, disk):
    head("One transfer a call", COMPARE_HEAD, COMPARE_WIDTHS)
    rested_ledger()
    fresh_plain()
    for script in ("plain_random", "ledger_random"):
        single(script, 8)  # Warms caches up.
    for accounts in ("random", "hot"):
        for clients in CLIENTS:
            disk.measure()
            result = take_turns({
                "plain": (fresh_plain, lambda: single("plain_" + accounts, clients)),
                "ledger": (lambda: None, lambda: single("ledger_" + accounts, clients)),
            })
            name = "%s, %s" % (
                client_count(clients), "10,000 random accounts" if accounts == "random" else "one hot account")
            reached["single", accounts, clients] = compare(name, result["plain"], result["ledger"])
            reached["tail", accounts, clients] = result["ledger"].p50 / result["ledger"].p99
            over = result["ledger"].p50 - result["plain"].p50
            reached["writes", accounts, clients] = over / disk.latency()
    money_is_conserved()


def bench_bulk(reached):
    head("Batches", COMPARE_HEAD, COMPARE_WIDTHS)
    best = {"plain": 0.0, "array": 0.0, "packed": 0.0}
    for batch in (100, BATCH):
        for clients in (1, 2):
            result = take_turns({
                "plain": (fresh_plain, lambda: bulk_plain(batch, clients)),
                "array": (rested_ledger, lambda: bulk("array", batch, clients)),
                "packed": (rested_ledger, lambda: bulk("packed", batch, clients)),
            })
            for form in ("array", "packed"):
                name = "%d a call, %s, %s" % (batch, client_count(clients), form)
                compare(name, result["plain"], result[form])
            for side in best:
                best[side] = max(best[side], result[side].rate)
    money_is_conserved()
    for form in ("array", "packed"):
        reached["bulk", form] = best[form] / best["plain"]
    psql("DROP INDEX plain.transfers_debit, plain.transfers_credit")
    lean = take_turns({"plain": (fresh_plain, lambda: bulk_plain(BATCH, 1))})["plain"]
    psql("TRUNCATE plain.transfers", *PLAIN_INDEXES)
    print("\nPlain SQL that cannot list an account's transfers (no index of them), %d a call, 1 client: %.0f/s" % (
        BATCH, lean.rate))
    print("Best of all: plain SQL %.0f/s, array %.0f/s, packed %.0f/s" % (
        best["plain"], best["array"], best["packed"]))


def bench_bank():
    file = bank_file()
    if file is None:
        print("\nNo bank file: LEDGER_TEST_DATA names no directory with bank_1993.csv.")
        return
    head("The year of a bank, over and over, %d a call" % BATCH, COMPARE_HEAD, COMPARE_WIDTHS)
    result = take_turns({
        "plain": (fresh_plain, lambda: bulk_plain(BATCH, 1, file)),
        "array": (rested_ledger, lambda: bulk("array", BATCH, 1, file)),
        "packed": (rested_ledger, lambda: bulk("packed", BATCH, 1, file)),
    })
    for form in ("array", "packed"):
        compare("1 client, " + form, result["plain"], result[form])


def bench_io(reached):
    cells = ("method", "clients", "transfers/s", "ratio", "stddev", "p50", "p99", "max")
    widths = (20, 7, 11, 7, 9, 9, 9, 9)
    head("Methods of I/O, one transfer a call, random accounts", cells, widths)
    for clients in (1, 32):
        result = take_turns({
            name: (
                lambda method=method, direct=direct: rested_ledger(
                    (("ledger.io_method", method), ("ledger.io_direct", direct))),
                lambda: single("ledger_random", clients))
            for name, method, direct in IO_METHODS
        })
        first = result[IO_METHODS[0][0]]
        direct = [result[name].rate for name, _, direct in IO_METHODS[1:] if direct == "on"]
        reached["auto", clients] = first.rate / max(direct)
        for name, run in result.items():
            row((name, str(clients), "%.0f" % run.rate, "%.2f" % (run.rate / first.rate),
                 microseconds(run.stddev), microseconds(run.p50), microseconds(run.p99),
                 microseconds(run.worst)), widths)


# What is reached is at least the target; where the last field is "most", at most.
TARGETS = (
    ("one a call, 1 client: p50 beyond plain SQL's, in F", ("writes", "random", 1), 1.15, "most"),
    ("one a call, 8 clients", ("single", "random", 8), 1.3, "least"),
    ("one a call, 32 clients", ("single", "random", 32), 3, "least"),
    ("one a call, 64 clients", ("single", "random", 64), 3.5, "least"),
    ("one a call, 32 clients, hot account", ("single", "hot", 32), 16, "least"),
    ("one a call, 64 clients, hot account", ("single", "hot", 64), 25, "least"),
    ("one a call, 32 clients: p50 / p99", ("tail", "random", 32), 0.33, "least"),
    ("auto against the better of io_uring and sync, 1 client", ("auto", 1), 0.97, "least"),
    ("auto against the better, 32 clients", ("auto", 32), 0.97, "least"),
    ("bulk, arrays, against the best bulk SQL", ("bulk", "array"), 4, "least"),
    ("bulk, packed, against the best bulk SQL", ("bulk", "packed"), 8, "least"),
)


def report(reached, targets):
    widths = (54, 10, 7, 8)
    head("Targets", ("against the other side", "target", "ratio", ""), widths)
    for name, key, target, bound in targets:
        if key not in reached:
            continue
        good = reached[key] >= target if bound == "least" else reached[key] <= target
        row((name, "%s %g" % ("≥" if bound == "least" else "≤", target), "%.2f" % reached[key],
             "reached" if good else "MISSED"), widths)


def main():
    start = time.monotonic()
    make_server()
    try:
        machine()
        reached = {}
        disk = Disk()
        disk.measure()
        if "single" in PARTS:
            bench_single(reached, disk)
        if "bulk" in PARTS:
            bench_bulk(reached)
        if "bank" in PARTS:
            bench_bank()
        if "io" in PARTS:
            bench_io(reached)
        disk.report()
        report(reached, TARGETS)
        print("\n%.0f s; load after: %.2f" % (time.monotonic() - start, os.getloadavg()[0]))
    finally:
        server("stop")


if __name__ == "__main__":
    main()
