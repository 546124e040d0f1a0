#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""Is a history of calls at the nodes of a cluster explained by one order, which respects real time?

    checker.py HISTORY       Says what it has found, and ends with 1 if that is anything.

A history is a file of lines of JSON. The first line tells of the accounts:

    {"op": "accounts", "limited": [2, 3]}     all accounts are 1 … n; these may not owe more than they have
    "count": 8

then come the calls, in any order, with times in nanoseconds of one monotonic clock:

    {"op": "create", "client": 3, "node": "b", "start": 17, "end": 25, "outcome": "ok",
     "transfers": [[id, debit, credit, amount], …], "results": ["created", …], "timestamps": [n, …]}
    {"op": "read", "client": 3, "node": "b", "start": 17, "end": 25, "outcome": "ok", "strict": true,
     "accounts": {"1": [debits_posted, credits_posted], …}}

"outcome" is "ok", "refused" (it had no effect, for certain: the server has said so), or "unknown"; "end" is when that was
known to the client. "timestamps" is null where the call doesn't answer them. Last, for each node, what it has when all is over:

    {"op": "final", "node": "b", "transfers": [[id, debit, credit, amount, timestamp], …], "accounts": {…}}

Other lines ("fault", "seed") are for people.

How it is checked. The order is known: it is that of the timestamps in the ledger's end. So each call has a set of places in
it where it may have taken effect, a place being the number of transfers before it. A transfer has one. A read may have been
at any place where the accounts were as it says; as every transfer moves something, that is a run of places. A
transfer that was refused because an account owes too much was where the account did. What has ended before another call
began comes before it: so going through the calls by the time of their start, each takes the first of its places that isn't
before what had ended by then. That choice is the least for all of them, so if one finds no place, there is no order.
"""
import bisect
import collections
import json
import sys

FOREVER = float("inf")
# What a call may answer for one transfer. The second can only be said of a retry.
RESULTS = ("created", "exists", "exceeds_credits", "id_already_failed")
# Of each kind of finding, so many are printed.
SHOWN_MAX = 5


class Account:
    """What one account had, from which place on. Balances ascend, so that each state is one run of places."""

    def __init__(self):
        self.places = [0]
        self.states = [(0, 0)]
        self.index = {(0, 0): 0}

    def move(self, place, debits, credits):
        old = self.states[-1]
        state = (old[0] + debits, old[1] + credits)
        self.places.append(place)
        self.index[state] = len(self.states)
        self.states.append(state)

    def run(self, state):
        """First and last place with this state; None if there is none."""
        i = self.index.get(state)
        if i is None:
            return None
        return self.places[i], self.places[i + 1] - 1 if i + 1 < len(self.places) else FOREVER

    def at(self, place):
        return self.states[bisect.bisect_right(self.places, place) - 1]

    def first_owing(self, place, amount):
        """The first place from this one on where so much can't be taken from it."""
        for i in range(bisect.bisect_right(self.places, place) - 1, len(self.places)):
            debits, credits = self.states[i]
            if debits + amount > credits:
                return max(place, self.places[i])
        return None


class Checker:
    def __init__(self, lines):
        self.findings = collections.defaultdict(list)
        self.calls, self.finals = [], []
        self.limited, self.count = set(), 0
        for line in lines:
            if line["op"] == "accounts":
                self.limited, self.count = set(line["limited"]), line["count"]
            elif line["op"] in ("create", "read"):
                self.calls.append(line)
            elif line["op"] == "final":
                self.finals.append(line)

    def found(self, kind, *words):
        self.findings[kind].append(" ".join(str(word) for word in words))

    def run(self):
        """What was found: kind → list of sentences."""
        if not self.finals or self.count == 0:
            self.found("the history has no beginning or no end")
            return self.findings
        self.read_log()
        self.read_attempts()
        self.check_ids()
        self.check_batches()
        self.check_order()
        return self.findings

    # The log: what the ledger has in the end ----------------------------------------------------------

    def read_log(self):
        """Where each transfer is in the log, and what each account had when."""
        first = self.finals[0]
        for other in self.finals[1:]:
            for what in ("transfers", "accounts"):
                if other[what] != first[what]:
                    self.found("nodes differ in the end", first["node"], "and", other["node"], "in", what)
        self.log = sorted(first["transfers"], key=lambda transfer: transfer[4])
        self.place = {}
        self.accounts = {number: Account() for number in range(1, self.count + 1)}
        for i, (id, debit, credit, amount, timestamp) in enumerate(self.log):
            if id in self.place:
                self.found("an id is twice in the log", id)
            if i > 0 and self.log[i - 1][4] == timestamp:
                self.found("two transfers have one timestamp", timestamp)
            self.place[id] = i
            self.accounts[debit].move(i + 1, amount, 0)
            self.accounts[credit].move(i + 1, 0, amount)
            debits, credits = self.accounts[debit].states[-1]
            if debit in self.limited and debits > credits:
                self.found("an account owes more than it may", "account", debit, "after transfer", id)
        for number, account in self.accounts.items():
            if tuple(first["accounts"].get(str(number), ())) != account.states[-1]:
                self.found("balances in the end are not those of the transfers", "account", number)

    # Ids: each asked for once, and retried under the same number --------------------------------------

    def read_attempts(self):
        """By id: the calls that asked for it, in the order of their starts, each with the answer for this id."""
        self.attempts = collections.defaultdict(list)
        for call in sorted(self.calls, key=lambda call: call["start"]):
            if call["op"] != "create":
                continue
            if call["outcome"] == "ok" and len(call["results"]) != len(call["transfers"]):
                self.found("a call has not answered all of its transfers", call["node"], call["start"])
                call["outcome"] = "unknown"
            for i, transfer in enumerate(call["transfers"]):
                self.attempts[transfer[0]].append((call, transfer, call["results"][i] if call["outcome"] == "ok" else None))

    def check_ids(self):
        for id, _, _, _, _ in self.log:
            if id not in self.attempts:
                self.found("nobody has asked for a transfer", id)
        for id, attempts in self.attempts.items():
            place = self.place.get(id)
            if place is not None and self.log[place][:4] != attempts[0][1]:
                self.found("a transfer is not the one that was asked for", id)
            if place is not None and all(call["outcome"] == "refused" for call, _, _ in attempts):
                self.found("a transfer was refused, and is there", id)
            for i, (call, _, result) in enumerate(attempts):
                self.check_answer(id, place, call, result, [a for a in attempts if a[0] is not call])
                if result is not None and call["timestamps"] and result in ("created", "exists") and place is not None:
                    answered = call["timestamps"][call["transfers"].index(attempts[i][1])]
                    if answered != self.log[place][4]:
                        self.found("a transfer was answered with another timestamp", id)

    def check_answer(self, id, place, call, result, others):
        if result is None:
            return
        if result not in RESULTS:
            self.found("an answer that can't be", "transfer", id, "at", call["node"] + ":", result)
            return
        there = result in ("created", "exists")
        if there and place is None:
            self.found("an acknowledged transfer is lost", id, "acknowledged at", call["node"], "as", result)
        if not there and place is not None:
            self.found("a transfer has failed, and is there", id)
        if result == "created" and any(answer == "created" for _, _, answer in others):
            self.found("a transfer was created twice", id)
        # Only an earlier attempt that may have taken effect explains these.
        before = [other for other, _, answer in others if other["outcome"] != "refused" and other["start"] < call["end"]]
        if result in ("exists", "id_already_failed") and not before:
            self.found("an id was used before anybody asked for it", id, "at", call["node"] + ":", result)

    # Batches: seen whole or not at all ----------------------------------------------------------------

    def check_batches(self):
        """All of a batch is next to each other in the log, in its order. `whole`: the next place from each on that isn't in one."""
        self.whole = list(range(len(self.log) + 1))
        for call in self.calls:
            if call["op"] != "create":
                continue
            places = [self.place[transfer[0]] for transfer in call["transfers"] if transfer[0] in self.place]
            if places and places != list(range(places[0], places[0] + len(places))):
                self.found("a batch is torn", "the one of transfer", call["transfers"][0][0])
                continue
            for place in places[1:]:
                self.whole[place] = places[-1] + 1

    # One order ----------------------------------------------------------------------------------------

    def check_order(self):
        """Goes through starts and ends by time. `bound`: how far the order has come by what has ended."""
        events = []
        for i, call in enumerate(self.calls):
            events.append((call["start"], 0, i))
            if call["outcome"] == "ok":
                events.append((call["end"], 1, i))
        events.sort()  # Of one instant, the starts come first: such calls are at the same time.
        bound = 0
        self.why = None
        takes = {}
        self.bound_first = {}  # By id: the bound when it was first asked for, and not refused.
        self.begun = [-1]  # By place: when the last of the transfers before it was first asked for.
        for transfer in self.log:
            first = self.attempts[transfer[0]][0][0]["start"] if transfer[0] in self.attempts else -1
            self.begun.append(max(self.begun[-1], first))
        for _, is_end, i in events:
            call = self.calls[i]
            if not is_end:
                takes[i] = self.take(call, bound)
            elif takes[i] is not None and takes[i] > bound:
                bound, self.why = takes[i], call

    def take(self, call, bound):
        """The first place that this call may have had, which is not before `bound`; None: it says nothing."""
        if call["op"] == "read":
            return self.take_read(call, bound) if call["outcome"] == "ok" else None
        return self.take_create(call, bound)

    def describe(self, call):
        return "%s at %s of client %s [%d, %d]" % (call["op"], call["node"], call["client"], call["start"], call["end"])

    def take_read(self, call, bound):
        low, high = 0, FOREVER
        if not call["accounts"]:
            self.found("a read has seen nothing", self.describe(call))
            return None
        for number, state in call["accounts"].items():
            run = self.accounts[int(number)].run(tuple(state))
            if run is None:
                self.found("a read has seen what never was", self.describe(call), "account", number, state)
                return None
            low, high = max(low, run[0]), min(high, run[1])
        if low > high:
            self.found("a read has seen no state of any instant", self.describe(call), call["accounts"])
            return None
        low = self.whole[low]
        if low > high:
            self.found("a read has seen half of a batch", self.describe(call), call["accounts"])
            return None
        if self.begun[low] > call["end"]:
            self.found("a read has seen what nobody had asked for yet", self.describe(call), "is at", low)
        if not call["strict"]:
            return None
        place = max(low, bound)
        if place <= high and place < len(self.whole):
            place = self.whole[place]
        if place > high:
            self.found("a read is stale", self.describe(call), "is at", high, "and", self.describe(self.why), "was at", bound)
            return None
        return place

    def take_create(self, call, bound):
        for id, _, _, _ in call["transfers"]:
            place = self.place.get(id)
            if call["outcome"] != "refused" and id not in self.bound_first:
                self.bound_first[id] = bound
                # Whatever the outcome was: what is in the log is behind what had ended before it was asked for.
                if place is not None and place < bound:
                    self.found("a transfer is before what had ended when it was asked for", id, "is at", place, "and",
                               self.describe(self.why), "was at", bound)
        if call["outcome"] != "ok":
            return None
        places = [self.place.get(transfer[0]) for transfer in call["transfers"]]
        known = [place for place in places if place is not None]
        self.check_limits(call, places, bound)
        if known:
            return max(known) + 1
        return self.take_failed(call, bound)

    def check_limits(self, call, places, bound):
        """Where something of a batch is in the log, the place of each of its transfers is known."""
        place = next((place for place in places if place is not None), None)
        if place is None:
            return
        for (id, debit, _, amount), own, result in zip(call["transfers"], places, call["results"]):
            if own is not None:
                place = own + 1
            elif result == "exceeds_credits" and not self.owes(debit, place, amount):
                self.found("a transfer was refused for no reason", id, "at place", place)

    def owes(self, debit, place, amount):
        debits, credits = self.accounts[debit].at(place)
        return debit in self.limited and debits + amount > credits

    def take_failed(self, call, bound):
        """All have failed, at one place."""
        failed = [t for t, result in zip(call["transfers"], call["results"]) if result == "exceeds_credits"]
        place = self.whole[bound] if bound < len(self.whole) else bound
        while failed:
            later = place
            for id, debit, _, amount in failed:
                first = self.accounts[debit].first_owing(later, amount) if debit in self.limited else None
                if first is None:
                    self.found("a transfer was refused for no reason", id, self.describe(call))
                    return None
                later = self.whole[first] if first < len(self.whole) else first
            if later == place:
                break
            place = later
        return place


def check(lines):
    return Checker(lines).run()


def read_history(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def summary(lines):
    """How many calls of each kind had which outcome, at each node."""
    counts = collections.Counter()
    for line in lines:
        if line["op"] in ("create", "read"):
            kind = line["op"] if line.get("strict", True) else "local read"
            counts[line["node"], kind, line["outcome"]] += 1
    return ["%s: %s %s %d" % (*key, count) for key, count in sorted(counts.items())]


def report(findings):
    for kind, sentences in sorted(findings.items()):
        print("VIOLATION: %s (%d times)" % (kind, len(sentences)))
        for sentence in sentences[:SHOWN_MAX]:
            print("    " + sentence[:400])
    return not findings


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    history = read_history(sys.argv[1])
    print("\n".join(summary(history)))
    sys.exit(0 if report(check(history)) else 1)
