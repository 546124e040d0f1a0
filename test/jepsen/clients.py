# SPDX-License-Identifier: PostgreSQL
"""Clients that call at one node each, and write down every call: when it began and ended, and what came of it."""
import random
import threading
import time

from wire import Lost, ServerError

ACCOUNTS = 8
# Accounts from the third on may not owe more than they have; the first two pay in.
LIMITED = range(3, ACCOUNTS + 1)
BATCH_MAX = 6
# What an unlucky call may end with: its outcome is unknown. Cancelled, the primary or the engine was lost, the server ends.
UNKNOWN = ("57014", "08007", "57P01", "57P02")
# It had no effect, for certain.
REFUSED = ("57P03",)
# The error of a single call for one transfer, in the words of a batch's status.
STATUSES = ("exceeds_credits", "id_already_failed")


def single_sql(transfer):
    return "SELECT ledger.create_transfer(ledger.id(%d), ledger.id(%d), ledger.id(%d), %d, 1, 1)" % tuple(transfer)


def batch_sql(transfers):
    rows = ", ".join("ROW(ledger.id(%d), ledger.id(%d), ledger.id(%d), %d, NULL, NULL, 0, 0, 0, 1, 1, NULL, NULL)"
                     "::ledger.transfer_input" % tuple(transfer) for transfer in transfers)
    return 'SELECT status, "timestamp" FROM ledger.create_transfers(ARRAY[%s])' % rows


def read_sql(numbers):
    where = "" if len(numbers) == ACCOUNTS else " WHERE id IN (%s)" % ", ".join("ledger.id(%d)" % n for n in numbers)
    return "SELECT ledger.id_numeric(id), debits_posted, credits_posted FROM ledger.accounts" + where


def accounts_of(rows):
    return {row[0]: [int(row[1]), int(row[2])] for row in rows}


class Client(threading.Thread):
    def __init__(self, number, server, history, stop, seed):
        super().__init__(daemon=True)
        self.number, self.server, self.history, self.stop_event = number, server, history, stop
        self.random = random.Random("%d client %d" % (seed, number))
        self.connection, self.sequence, self.retries = None, 0, []
        self.wrong = []

    def run(self):
        try:
            while not self.stop_event.is_set():
                if self.connection is None and not self.connect():
                    time.sleep(0.05)
                    continue
                self.step()
                time.sleep(self.random.expovariate(1 / 0.004))
        except Exception as error:  # Whatever it is, it must not go unnoticed in a thread.
            self.wrong.append("client %d: %r" % (self.number, error))
            raise

    def connect(self):
        options = "-c ledger.quorum_wait=%dms" % self.random.choice((300, 2000, 10000))
        if self.random.random() < 0.5:
            options += " -c statement_timeout=%d" % self.random.randrange(200, 3000)
        try:
            self.connection = self.server.connect(options, timeout_s=self.random.choice((1.0, 3.0, 8.0)))
        except (Lost, ServerError):
            return False
        return True

    def step(self):
        kind = self.random.random()
        if self.retries and self.random.random() < 0.3:
            # Some time later, as the first attempt may still be on its way.
            self.create(self.retries.pop(self.random.randrange(len(self.retries))))
        elif kind < 0.35:
            self.create([self.transfer()])
        elif kind < 0.5:
            self.create([self.transfer() for _ in range(self.random.randint(2, BATCH_MAX))])
        elif kind < 0.7:
            self.read(range(1, ACCOUNTS + 1), True)
        elif kind < 0.95:
            self.read(sorted(self.random.sample(range(1, ACCOUNTS + 1), self.random.randint(1, 2))), True)
        else:
            self.read(range(1, ACCOUNTS + 1), False)

    def transfer(self):
        self.sequence += 1
        debit, credit = self.random.sample(range(1, ACCOUNTS + 1), 2)
        return [self.number * 10**9 + self.sequence, debit, credit, self.random.randint(1, 100)]

    # Calls --------------------------------------------------------------------------------------------

    def call(self, line, sql):
        """Fills in times and outcome; returns the rows, or the error."""
        line.update(client=self.number, node=self.server.name, start=time.monotonic_ns())
        answer = None
        try:
            answer = self.connection.query(sql)
            line["outcome"] = "ok"
        except ServerError as error:
            answer = error
            line.update(error=str(error), outcome="refused" if error.sqlstate in REFUSED else "unknown")
        except Lost as error:
            line.update(error=str(error), outcome="unknown")
            self.connection.close()
            self.connection = None
        line["end"] = time.monotonic_ns()
        return answer

    def unexpected(self, error):
        if error.sqlstate not in UNKNOWN + REFUSED:
            self.wrong.append("client %d at %s: %s" % (self.number, self.server.name, error))
        if error.sqlstate in ("57P01", "57P02") and self.connection is not None:
            self.connection.close()
            self.connection = None

    def create(self, transfers):
        line = {"op": "create", "transfers": transfers, "results": None, "timestamps": None}
        single = len(transfers) == 1
        answer = self.call(line, single_sql(transfers[0]) if single else batch_sql(transfers))
        if isinstance(answer, ServerError):
            status = next((status for status in STATUSES if single and status in answer.message), None)
            if status is not None:
                line.update(outcome="ok", results=[status])
            else:
                self.unexpected(answer)
        elif answer is not None:
            line["results"] = [row[0] for row in answer]
            if not single:
                line["timestamps"] = [int(row[1]) for row in answer]
        if line["outcome"] != "ok" and self.random.random() < 0.7:
            self.retries.append(transfers)
        self.history.add(line)

    def read(self, numbers, strict):
        line = {"op": "read", "strict": strict, "accounts": None}
        sql = read_sql(numbers)
        if not strict:
            sql = "SET ledger.read_consistency = local; %s; RESET ledger.read_consistency" % sql
        answer = self.call(line, sql)
        if isinstance(answer, ServerError):
            self.unexpected(answer)
            if not strict and self.connection is not None:
                # Its settings may be whatever they were when it failed.
                self.connection.close()
                self.connection = None
        elif answer is not None:
            line["accounts"] = accounts_of(answer)
        self.history.add(line)
