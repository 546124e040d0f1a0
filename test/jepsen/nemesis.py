# SPDX-License-Identifier: PostgreSQL
"""What happens to the servers: all that a machine may do to processes, drawn at random from one seed."""
import random
import signal
import time

from servers import primary_of, signal_all
from wire import Lost, ServerError

PRIMARY_WAIT_S = 5


class Nemesis:
    """`note` is told of each fault. `act` does one, and ends when its processes run again, or are starting."""

    def __init__(self, servers, note, seed):
        self.servers, self.note = servers, note
        self.random = random.Random("%d nemesis" % seed)
        # Each is done once before any is done twice, so that a short run has all of them.
        self.faults = [self.kill_worker, self.kill_server, self.stop_worker, self.stop_server, self.kill_all,
                       self.kill_two, self.step_down, self.stop_one_kill_one, self.kill_primary, self.lose_who_is_ahead]
        self.next = []

    def act(self):
        if not self.next:
            self.next = self.random.sample(self.faults, len(self.faults))
        self.next.pop()()

    def calm(self):
        time.sleep(self.random.uniform(0.3, 2.0))

    def primary(self):
        """None where there is none for some seconds."""
        end = time.monotonic() + PRIMARY_WAIT_S
        primary = primary_of(self.servers)
        while primary is None and time.monotonic() < end:
            time.sleep(0.1)
            primary = primary_of(self.servers)
        return primary

    def targets(self, count):
        return self.random.sample(self.servers, count)

    def kill_worker(self):
        """The postmaster then restarts the whole server, as after any crash."""
        server, = self.targets(1)
        pid = server.worker()
        if pid is not None:
            self.note("kill -9 of the worker of " + server.name)
            signal_all([pid], signal.SIGKILL)

    def kill(self, servers, seconds):
        self.note("kill -9 of " + " ".join(server.name for server in servers))
        for server in servers:
            server.kill()
        time.sleep(self.random.uniform(0, seconds))
        for server in self.random.sample(servers, len(servers)):
            server.start()
            time.sleep(self.random.uniform(0, 0.3))

    def kill_server(self):
        self.kill(self.targets(1), 2)

    def kill_two(self):
        self.kill(self.targets(2), 2)

    def kill_all(self):
        self.kill(self.targets(len(self.servers)), 0.5)

    def kill_primary(self):
        primary = self.primary()
        if primary is not None:
            self.kill([primary], 2)

    def stop(self, server, pids, seconds):
        self.note("SIGSTOP of %s for %.1f s" % (server.name, seconds))
        try:
            signal_all(pids, signal.SIGSTOP)
            time.sleep(seconds)
        finally:
            signal_all(pids, signal.SIGCONT)

    def stop_worker(self):
        server, = self.targets(1)
        pid = server.worker()
        if pid is not None:
            self.stop(server, [pid], self.random.uniform(0.2, 5))

    def stop_server(self):
        server, = self.targets(1)
        self.stop(server, server.pids(), self.random.uniform(0.2, 5))

    def stop_one_kill_one(self):
        """Who comes back knows only of the past, and so does, perhaps, who meets it."""
        stopped, killed = self.targets(2)
        pids = stopped.pids()
        self.note("SIGSTOP of %s, and kill -9 of %s" % (stopped.name, killed.name))
        try:
            signal_all(pids, signal.SIGSTOP)
            time.sleep(self.random.uniform(0.2, 1.5))
            killed.kill()
            killed.start()
            time.sleep(self.random.uniform(0, 2))
        finally:
            signal_all(pids, signal.SIGCONT)

    def lose_who_is_ahead(self):
        """The others stand still, and then go on without the primary. What it alone has was acknowledged to nobody."""
        primary = self.primary()
        if primary is None:
            return
        others = [server for server in self.servers if server is not primary]
        kills = self.random.random() < 0.5
        self.note("SIGSTOP of %s, then %s of %s" % (" ".join(s.name for s in others), "kill -9" if kills else "SIGSTOP", primary.name))
        stopped = [pid for server in others for pid in server.pids()]
        primary_pids = primary.pids()
        try:
            signal_all(stopped, signal.SIGSTOP)
            time.sleep(self.random.uniform(0.3, 1.5))
            if kills:
                primary.kill()
            else:
                signal_all(primary_pids, signal.SIGSTOP)
            signal_all(stopped, signal.SIGCONT)
            time.sleep(self.random.uniform(1.5, 3))
        finally:
            signal_all(stopped, signal.SIGCONT)
            if not kills:
                signal_all(primary_pids, signal.SIGCONT)
        if kills:
            primary.start()

    def step_down(self):
        primary = self.primary()
        if primary is None:
            return
        self.note("%s steps down" % primary.name)
        try:
            primary.once("SELECT ledger.cluster_step_down()", 5)
        except (Lost, ServerError) as error:
            self.note("which failed: %s" % error)
