#!/usr/bin/env python3
"""Breaks rules of the core on purpose (tools/canaries.txt): the simulator must notice each of them.

Usage: tools/canaries.py [--rare] [NAME ...]    Ends with "canaries: N passed, N failed".

All canaries are compiled into one program, build/canaries/sim: each has a number, and LEDGER_CANARY says
which one is at work. A try is some seeds, which end at the first that fails; a canary is noticed if four of
five tries fail. With none at work nothing fails.
"""
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "canaries"
TRIES = 5
NOTICED_MIN = 4
# A seed that hangs has noticed it, too.
SECONDS_MAX = 120

GLOBAL = """/* Which canary is at work. */
#include <stdlib.h>
extern int canary_at_work;
int canary_at_work;
__attribute__((constructor)) static void
canary_begin(void)
{
    const char *number = getenv("LEDGER_CANARY");
    if (number != NULL) canary_at_work = (int) strtol(number, NULL, 10);
}
"""


class Canary:
    def __init__(self, number, name, kind, seeds=1, rare=""):
        self.number, self.name, self.kind, self.seeds = number, name, kind, int(seeds)
        self.rare = rare == "rare"
        self.edits = []  # (file, old, new)


def parse(text):
    canaries = []
    file = None
    lines = iter(text.split("\n"))
    for line in lines:
        if line.startswith("== "):
            canaries.append(Canary(len(canaries) + 1, *re.split(r"[:\s]+", line[3:].strip())))
        elif line.startswith("-- "):
            file = line[3:].strip()
        elif line == "<<<<":
            old = "\n".join(iter(lambda: next(lines), "===="))
            new = "\n".join(iter(lambda: next(lines), ">>>>"))
            canaries[-1].edits.append((file, old, new))
    return canaries


def mutate(canaries):
    """All edits at once: the files that any of them changes, with all of their changes."""
    edits = {}
    numbers = {canary.name: canary.number for canary in canaries}
    for canary in canaries:
        for file, old, new in canary.edits:
            text = (ROOT / file).read_text()
            if text.count(old) != 1:
                sys.exit(f"tools/canaries.txt: {canary.name}: {file} has this {text.count(old)} times:\n{old}")
            new = re.sub(r"MUTATED(?:\((\w+)\))?",
                         lambda m: f"(canary_at_work == {numbers[m.group(1) or canary.name]})", new)
            edits.setdefault(file, []).append((text.index(old), old, new, canary.name))
    for file, found in edits.items():
        text = (ROOT / file).read_text()
        end = len(text)
        for at, old, new, name in sorted(found, reverse=True):
            if at + len(old) > end:
                sys.exit(f"tools/canaries.txt: {name}: overlaps another canary in {file}")
            text = text[:at] + new + text[at + len(old):]
            end = at
        write(OUT / file, f"extern int canary_at_work;\n#line 1 \"{file}\"\n{text}")
    write(OUT / "canary.c", GLOBAL)
    for path in OUT.glob("src/**/*.[ch]"):
        if str(path.relative_to(OUT)) not in edits:
            path.unlink()
    return edits


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def run(canary, number, first, count):
    """What one try says, or None if nothing was noticed."""
    options = [] if canary.kind == "lone" else [f"--{canary.kind}"]
    command = [OUT / "sim", *options, str(first), str(count)]
    environment = dict(os.environ, LEDGER_CANARY=str(number))
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return "it hangs"
    if done.returncode == 0:
        return None
    said = [line for line in (done.stdout + done.stderr).split("\n") if line and ": trace " not in line]
    return said[0] if said else f"exit status {done.returncode}"


def judge(canary):
    begun = time.monotonic()
    tries = [run(canary, canary.number, 1 + i * canary.seeds, canary.seeds) for i in range(TRIES)]
    noticed = [said for said in tries if said is not None]
    ok = len(noticed) >= NOTICED_MIN
    what = noticed[0] if noticed else ""
    took = time.monotonic() - begun
    return ok, f"{canary.name}: {len(noticed)} of {TRIES} ({took:.1f} s) {what[:150]}"


def main(arguments):
    canaries = parse((ROOT / "tools" / "canaries.txt").read_text())
    names = [argument for argument in arguments if not argument.startswith("--")]
    by_name = {canary.name: canary for canary in canaries}
    rare = "--rare" in arguments
    chosen = [by_name[name] for name in names] or [canary for canary in canaries if canary.rare == rare]
    edits = mutate(canaries)
    files = " ".join(sorted(file for file in edits if file.endswith(".c")))
    subprocess.run(["make", "-s", "-j2", "build/canaries/sim", f"CANARY_SRCS={files}"], cwd=ROOT, check=True)
    passed = failed = 0
    with ThreadPoolExecutor(max_workers=2) as pool:
        for ok, said in pool.map(judge, chosen):
            print(said if ok else f"NOT NOTICED: {said}", flush=True)
            passed, failed = passed + ok, failed + (not ok)
    for kind in sorted({canary.kind for canary in chosen}):
        seeds = max(canary.seeds for canary in chosen if canary.kind == kind)
        said = run(Canary(0, "none", kind, 1), 0, 1, TRIES * min(seeds, 4))
        passed, failed = passed + (said is None), failed + (said is not None)
        if said is not None:
            print(f"without a canary, {kind}: {said}")
    print(f"canaries: {passed} passed, {failed} failed")
    return failed != 0


sys.exit(main(sys.argv[1:]))
