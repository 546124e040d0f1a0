#!/usr/bin/env python3
# SPDX-License-Identifier: PostgreSQL
"""The checker's own test: a made-up history that is right, and for each thing that can be wrong one in which it is.

Prints "ok" or "not ok" for each, and ends with 1 if one wasn't.
"""
import copy
import random
import sys

import checker


def create(start, end, transfers, results=("created",), outcome="ok", node="a", client=1, timestamps=None):
    return {"op": "create", "client": client, "node": node, "start": start, "end": end, "outcome": outcome,
            "transfers": transfers, "results": list(results) if outcome == "ok" else None, "timestamps": timestamps}


def read(start, end, accounts, node="b", strict=True):
    return {"op": "read", "client": 2, "node": node, "start": start, "end": end, "outcome": "ok", "strict": strict,
            "accounts": {str(number): list(state) for number, state in accounts.items()}}


def final(transfers, accounts, node):
    return {"op": "final", "node": node, "transfers": transfers,
            "accounts": {str(number): list(state) for number, state in accounts.items()}}


# Account 1 pays in, 2 and 3 may not owe. Transfers 10 to 15; 13 and 14 are a batch. By place:
#   0                1: 10 from 1 to 2   2: 4 from 2 to 3   3: 1 from 1 to 3   4, 5: 2 from 2 to 3, 3 from 3 to 2   6: 1 from 1 to 2
LOG = [[10, 1, 2, 10, 100], [11, 2, 3, 4, 200], [12, 1, 3, 1, 300], [13, 2, 3, 2, 400], [14, 3, 2, 3, 401], [15, 1, 2, 1, 500]]
STATES = [{1: (0, 0), 2: (0, 0), 3: (0, 0)}, {1: (10, 0), 2: (0, 10), 3: (0, 0)}, {1: (10, 0), 2: (4, 10), 3: (0, 4)},
          {1: (11, 0), 2: (4, 10), 3: (0, 5)}, {1: (11, 0), 2: (6, 10), 3: (0, 7)}, {1: (11, 0), 2: (6, 13), 3: (3, 7)},
          {1: (12, 0), 2: (6, 14), 3: (3, 7)}]
ONE = {number: STATES[1][number] for number in (2, 3)}


def good():
    """Each call has a name, so that the tests can change it."""
    return {
        "accounts": {"op": "accounts", "count": 3, "limited": [2, 3]},
        "seed": {"op": "seed", "seed": 1},
        "read0": read(0, 5, STATES[0]),
        "poor": create(1, 4, [[20, 2, 3, 1]], ["exceeds_credits"]),
        "t10": create(6, 20, [[10, 1, 2, 10]]),
        "read10": read(10, 15, STATES[0]),  # Concurrent with it.
        "read1": read(21, 25, STATES[1], "c"),
        "t11": create(30, 35, [[11, 2, 3, 4]], outcome="unknown", node="c"),
        "no11": read(36, 38, ONE),  # Unknown, and it took effect later.
        "again11": create(40, 45, [[11, 2, 3, 4]], ["exists"]),
        "read2": read(46, 48, STATES[2]),
        "t12": create(50, 55, [[12, 1, 3, 1]], outcome="unknown"),
        "refused": create(56, 57, [[21, 1, 2, 5]], outcome="refused"),
        "never": create(56, 58, [[22, 1, 2, 5]], outcome="unknown"),
        "batch": create(60, 70, [[13, 2, 3, 2], [23, 2, 3, 9], [14, 3, 2, 3]], ["created", "exceeds_credits", "created"],
                        timestamps=[400, 400, 401]),
        "read5": read(71, 72, STATES[5]),
        "local": read(73, 75, STATES[2], strict=False),
        "one": read(73, 76, {3: STATES[5][3]}),
        "t15": create(80, 85, [[15, 1, 2, 1]], node="c"),
        "a": final(LOG, STATES[6], "a"),
        "b": final(copy.deepcopy(LOG), STATES[6], "b"),
        "c": final(copy.deepcopy(LOG), STATES[6], "c"),
    }


def log_with(history, log, states=None):
    for node in ("a", "b", "c"):
        history[node] = final(copy.deepcopy(log), states or STATES[6], node)


CASES = []


def case(kind):
    """The kind of finding that this change of the good history must lead to; None: nothing must be found."""
    def add(function):
        CASES.append((kind, function))
        return function
    return add


@case(None)
def the_good_history_is_good(history):
    pass


@case("a read is stale")
def a_read_after_an_acknowledgement(history):
    history["read1"]["accounts"] = history["read0"]["accounts"]


@case("a read is stale")
def a_read_after_a_newer_read(history):
    history["late"] = read(74, 79, STATES[2])
    history["late"]["accounts"].pop("1")


@case("a read is stale")
def a_read_of_one_account(history):
    history["one"]["accounts"] = {"3": [0, 5]}


@case("a read is stale")
def a_read_behind_a_failed_transfer(history):
    history["poor2"] = create(86, 87, [[24, 3, 2, 5]], ["exceeds_credits"])
    history["late"] = read(88, 89, STATES[5])


@case(None)
def a_local_read_may_be_stale(history):
    history["local"] = read(90, 95, STATES[0], strict=False)


@case("a read has seen what never was")
def a_local_read_of_what_never_was(history):
    history["local"]["accounts"]["2"] = [4, 9]


@case("a read has seen what never was")
def a_balance_that_never_was(history):
    history["read2"]["accounts"]["2"] = [3, 10]


@case("a read has seen no state of any instant")
def accounts_of_two_instants(history):
    history["read2"]["accounts"]["2"] = [0, 10]


@case("a read has seen no state of any instant")
def money_that_is_on_its_way(history):
    history["read2"]["accounts"]["3"] = [0, 0]


@case("a read has seen no state of any instant")
def half_a_batch_with_all_else_new(history):
    history["read5"]["accounts"] = {"2": [6, 10], "3": [3, 7]}


@case("a read has seen half of a batch")
def half_a_batch(history):
    history["read5"]["accounts"] = {str(number): list(state) for number, state in STATES[4].items()}


@case("a read has seen nothing")
def no_accounts(history):
    history["read5"]["accounts"] = {}


@case("a read has seen what nobody had asked for yet")
def a_read_of_the_future(history):
    history["read0"]["accounts"] = history["read1"]["accounts"]


@case("a read has seen what nobody had asked for yet")
def a_local_read_of_the_future(history):
    history["local"] = read(2, 3, STATES[1], strict=False)


@case("an acknowledged transfer is lost")
def a_lost_transfer(history):
    log_with(history, LOG[:5], STATES[5])


@case("an acknowledged transfer is lost")
def a_lost_transfer_that_a_retry_had_found(history):
    log = [LOG[0], *LOG[2:]]
    history["read2"] = history["read5"] = history["one"] = history["local"] = history["seed"]
    log_with(history, log, {1: (12, 0), 2: (2, 14), 3: (3, 3)})


@case("an id is twice in the log")
def a_doubled_transfer(history):
    log_with(history, LOG + [[15, 1, 2, 1, 600]], {1: (13, 0), 2: (6, 15), 3: (3, 7)})


@case("nobody has asked for a transfer")
def an_invented_transfer(history):
    log_with(history, LOG + [[99, 1, 2, 1, 600]], {1: (13, 0), 2: (6, 15), 3: (3, 7)})


@case("a transfer is not the one that was asked for")
def another_amount(history):
    history["t15"]["transfers"][0][3] = 2


@case("a transfer was refused, and is there")
def a_refused_transfer_that_is_there(history):
    log_with(history, LOG + [[21, 1, 2, 5, 600]], {1: (17, 0), 2: (6, 19), 3: (3, 7)})


@case(None)
def an_unknown_transfer_that_is_there_late(history):
    log_with(history, LOG + [[22, 1, 2, 5, 600]], {1: (17, 0), 2: (6, 19), 3: (3, 7)})


@case("a transfer has failed, and is there")
def a_failed_transfer_that_is_there(history):
    log_with(history, LOG + [[20, 2, 3, 1, 600]], {1: (12, 0), 2: (7, 14), 3: (3, 8)})


@case("a transfer was created twice")
def created_twice(history):
    history["t11"].update(outcome="ok", results=["created"])
    history["no11"] = history["seed"]
    history["again11"]["results"] = ["created"]


@case("an id was used before anybody asked for it")
def exists_at_first(history):
    history["t15"]["results"] = ["exists"]


@case("an id was used before anybody asked for it")
def exists_after_a_refusal(history):
    history["t11"]["outcome"] = "refused"


@case("an id was used before anybody asked for it")
def already_failed_at_first(history):
    history["poor"]["results"] = ["id_already_failed"]


@case("an answer that can't be")
def a_strange_answer(history):
    history["t15"]["results"] = ["linked_event_failed"]


@case("a call has not answered all of its transfers")
def an_answer_too_few(history):
    history["batch"]["results"].pop()


@case("a transfer was answered with another timestamp")
def another_timestamp(history):
    history["batch"]["timestamps"][2] = 402


@case("a transfer is before what had ended when it was asked for")
def timestamps_against_real_time(history):
    history["t15"].update(start=20, end=22)
    history["t10"].update(start=50, end=51)
    for name in ("read1", "no11", "read2", "again11", "t11", "batch", "t12"):
        history[name] = history["seed"]
    log_with(history, [LOG[0], LOG[5]], {1: (11, 0), 2: (0, 11), 3: (0, 0)})
    for name in ("read5", "local", "one"):
        history[name] = history["seed"]


@case("a transfer is before what had ended when it was asked for")
def an_unknown_transfer_before_it_was_asked_for(history):
    history["t12"].update(start=71, end=72)


@case("two transfers have one timestamp")
def equal_timestamps(history):
    log_with(history, [*LOG[:5], [*LOG[5][:4], 401]])


@case("nodes differ in the end")
def a_node_that_lacks_one(history):
    history["b"]["transfers"].pop()


@case("nodes differ in the end")
def a_node_with_another_balance(history):
    history["c"]["accounts"]["3"] = [3, 8]


@case("balances in the end are not those of the transfers")
def balances_of_nothing(history):
    states = dict(STATES[6])
    states[3] = (3, 8)
    log_with(history, LOG, states)


@case("an account owes more than it may")
def too_much_was_taken(history):
    history["t15"]["transfers"] = [[15, 2, 1, 50]]
    log_with(history, [*LOG[:5], [15, 2, 1, 50, 500]], {1: (11, 50), 2: (56, 13), 3: (3, 7)})


@case("a transfer was refused for no reason")
def refused_with_money(history):
    history["poor2"] = create(86, 87, [[24, 3, 2, 1]], ["exceeds_credits"])


@case("a transfer was refused for no reason")
def refused_with_money_in_a_batch(history):
    history["batch"]["transfers"][1][3] = 4


@case("a transfer was refused for no reason")
def refused_where_nothing_limits(history):
    history["poor"]["transfers"][0][1:3] = [1, 2]


@case("a batch is torn")
def another_transfer_within_a_batch(history):
    log_with(history, [*LOG[:4], [*LOG[5][:4], 400.5], LOG[4]])


@case("a batch is torn")
def a_batch_in_another_order(history):
    history["batch"]["transfers"].reverse()


@case("the history has no beginning or no end")
def no_end(history):
    for node in ("a", "b", "c"):
        history.pop(node)


# Random histories ---------------------------------------------------------------------------------------


class Simulated:
    """A ledger that takes calls one after another, each at an instant between its start and its end."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.states = {number: [0, 0] for number in range(1, 5)}
        self.log, self.lines, self.created = [], [], {}
        for i in range(300):
            self.call(1000 * i + 500)
        self.lines.append({"op": "accounts", "count": 4, "limited": [3, 4]})
        for node in ("a", "b", "c"):
            self.lines.append(final(copy.deepcopy(self.log), copy.deepcopy(self.states), node))

    def call(self, instant):
        start, end = instant - self.random.randrange(20000), instant + self.random.randrange(20000)
        if self.random.random() < 0.5:
            numbers = self.random.sample(range(1, 5), self.random.choice((1, 2, 4)))
            self.lines.append(read(start, end, {n: self.states[n] for n in numbers}, self.random.choice("abc")))
            return
        ids = [instant * 10 + i for i in range(self.random.choice((1, 1, 3)))]
        transfers = [[id, *self.random.sample(range(1, 5), 2), self.random.randint(1, 9)] for id in ids]
        outcome = self.random.choice(("ok", "ok", "ok", "unknown", "refused"))
        results = []
        if outcome == "ok" or (outcome == "unknown" and self.random.random() < 0.5):
            results = [self.execute(transfer, instant) for transfer in transfers]
        self.lines.append(create(start, end, transfers, results, outcome, self.random.choice("abc")))
        if outcome == "unknown":
            # Again, after it has ended, and executed whenever that is.
            again = [("exists" if result == "created" else "id_already_failed") for result in results]
            if results:
                self.lines.append(create(end + 1, end + self.random.randrange(2, 9000), transfers, again))

    def execute(self, transfer, instant):
        id, debit, credit, amount = transfer
        if debit >= 3 and self.states[debit][0] + amount > self.states[debit][1]:
            return "exceeds_credits"
        self.states[debit][0] += amount
        self.states[credit][1] += amount
        self.log.append([*transfer, instant + id % 10])
        return "created"


def make_stale(lines, randomness):
    """Lets a read of all accounts see what they were before something that had ended when it began. None: there is no such read."""
    reads = [line for line in lines if line["op"] == "read" and len(line["accounts"]) == 4]
    randomness.shuffle(reads)
    for late in reads:
        old = [early for early in reads if early["accounts"] != late["accounts"] and early["end"] < late["start"]]
        newer = [line["accounts"] for line in reads if line is not late and line["end"] < late["start"]]
        for early in old:
            if any(sum(state[0] for state in accounts.values()) > sum(state[0] for state in early["accounts"].values())
                   for accounts in newer):
                late["accounts"] = copy.deepcopy(early["accounts"])
                return late
    return None


def random_histories():
    """Yields a name and what is wrong with the checker, if anything."""
    for seed in range(1, 61):
        lines = Simulated(seed).lines
        findings = checker.check(copy.deepcopy(lines))
        yield "random history %d has an order" % seed, detail(findings) if findings else None
        stale = make_stale(lines, random.Random(seed))
        kinds = checker.check(copy.deepcopy(lines)) if stale else {"a read is stale": []}
        yield "random history %d with an old read has none" % seed, None if "a read is stale" in kinds else "wanted: a read is stale"


def detail(findings):
    return "; ".join("%s: %s" % (kind, sentences[0]) for kind, sentences in findings.items()) or "nothing"


def made_up_histories():
    for kind, change in CASES:
        history = good()
        change(history)
        lines = list(history.values())
        # The order of the lines is that of the ends of calls, and says nothing.
        random.Random(len(history)).shuffle(lines)
        findings = checker.check(copy.deepcopy(lines))
        fine = not findings if kind is None else kind in findings
        yield change.__name__.replace("_", " "), None if fine else "wanted: %s. found: %s" % (kind, detail(findings))


def main():
    number = failed = 0
    for name, wrong in (*made_up_histories(), *random_histories()):
        number += 1
        failed += wrong is not None
        print("%s %d - %s" % ("ok" if wrong is None else "not ok", number, name))
        if wrong is not None:
            print("# " + wrong)
    print("1..%d" % number)
    sys.exit(1 if failed else 0)


main()
