# SPDX-License-Identifier: PostgreSQL
"""Throw-away servers on this machine, alone or as the nodes of a cluster, which can be killed and stopped in every way.

Their programs are those in PATH. They talk over Unix sockets only. Whoever starts them must not be root.
"""
import os
import random
import re
import signal
import subprocess
import time

from wire import Connection, Lost, ServerError

WAIT_S = 180
BASIC = """
shared_preload_libraries = 'ledger'
listen_addresses = ''
port = 5432
log_checkpoints = off
autovacuum = off
"""
# What a server says only if something is wrong with it. A kill -9 is signal 9.
WRONG = re.compile(r"PANIC|internal check failed|terminated by signal (?!9\b)|could not be opened|is damaged|FATAL:  .*ledger")


def wait_for(what, condition, seconds=WAIT_S):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("this did not come within %d s: %s" % (seconds, what))
        time.sleep(0.02)


def stat_of(pid):
    """State and parent of a process; None if there is none."""
    try:
        with open("/proc/%d/stat" % pid) as file:
            words = file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return words[0], int(words[1])


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Server:
    def __init__(self, folder, name):
        self.name, self.folder = name, os.path.join(folder, name)
        self.socket = os.path.join(self.folder, ".s.PGSQL.5432")
        self.data, self.log = os.path.join(self.folder, "data"), os.path.join(self.folder, "log")
        self.process = None

    def make(self, settings):
        os.makedirs(self.folder, mode=0o700)
        subprocess.run(["initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8", "-N"],
                       check=True, stdout=subprocess.DEVNULL)
        with open(self.data + "/postgresql.conf", "a") as conf:
            conf.write(BASIC + "unix_socket_directories = '%s'\n" % self.folder + settings)

    def start(self):
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(["postgres", "-D", self.data], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=subprocess.STDOUT, cwd=self.folder)

    def ready(self):
        try:
            self.once("SELECT 1")
            return True
        except (Lost, ServerError):
            return False

    def wait_ready(self):
        wait_for("connections to " + self.name, self.ready)

    def connect(self, options="", timeout_s=10.0):
        return Connection(self.socket, options, timeout_s)

    def once(self, sql, timeout_s=10.0, options=""):
        connection = self.connect(options, timeout_s)
        try:
            return connection.query(sql)
        finally:
            connection.close()

    def value(self, sql, timeout_s=WAIT_S):
        return self.once(sql, timeout_s)[0][0]

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def children(self):
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in pids if (stat_of(pid) or ("", 0))[1] == self.process.pid]

    def pids(self):
        return [self.process.pid, *self.children()] if self.alive() else []

    def worker(self):
        """The process of the engine; None if there is none right now."""
        for pid in self.children() if self.alive() else []:
            try:
                with open("/proc/%d/cmdline" % pid, "rb") as file:
                    if b"ledger engine" in file.read():
                        return pid
            except OSError:
                pass
        return None

    def kill(self):
        """kill -9 of every process. Ends when they are gone, as then a new one can take the same directory."""
        if not self.alive():
            return
        self.process.send_signal(signal.SIGSTOP)  # So that it makes no new ones meanwhile.
        pids = self.children()
        signal_all([self.process.pid, *pids], signal.SIGKILL)
        self.process.wait()
        wait_for("the end of " + self.name, lambda: all((stat_of(pid) or "Z")[0] == "Z" for pid in pids))

    def stop(self):
        if self.alive():
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def wrong(self):
        """Lines of the server's log that must not be there."""
        with open(self.log, errors="replace") as log:
            return [line.strip() for line in log if WRONG.search(line)]


def formed(server, count):
    try:
        sql = "SELECT count(*) FROM ledger.cluster WHERE role = 'voter' AND state IN ('primary', 'backup')"
        return server.value(sql, 5) == str(count)
    except (Lost, ServerError):
        return False


def wait_formed(servers):
    for server in servers:
        wait_for("all members at " + server.name, lambda server=server: formed(server, len(servers)))


def role(server):
    try:
        return server.value("SELECT role FROM ledger.status", 5)
    except (Lost, ServerError):
        return "none"


def primary_of(servers):
    """A server that says that it is the primary; None."""
    return next((server for server in servers if role(server) == "primary"), None)


def wait_primary(servers):
    wait_for("a primary", lambda: primary_of(servers) is not None)
    return primary_of(servers)


def make_cluster(folder, names, settings):
    """Servers that are started, and are one cluster."""
    servers = [Server(folder, name) for name in names]
    nodes = ", ".join("%s=%s/%s.sock" % (name, folder, name) for name in names)
    for server in servers:
        server.make("ledger.node_name = '%s'\nledger.nodes = '%s'\n%s" % (server.name, nodes, settings))
        server.start()
    for server in servers:
        server.wait_ready()
        server.once("CREATE EXTENSION ledger")
    first = servers[0]
    first.once("SELECT ledger.cluster_create()", WAIT_S)
    for server in servers[1:]:
        wait_for("guest " + server.name, lambda server=server: first.value(
            "SELECT count(*) FROM ledger.cluster WHERE name = '%s'" % server.name) == "1")
        first.once("SELECT ledger.cluster_add('%s')" % server.name, WAIT_S)
    wait_formed(servers)
    return servers


def make_lone(folder, name, settings):
    server = Server(folder, name)
    server.make(settings)
    server.start()
    server.wait_ready()
    server.once("CREATE EXTENSION ledger", WAIT_S)
    return server


def new_seed():
    return random.SystemRandom().randrange(1, 1 << 32)
