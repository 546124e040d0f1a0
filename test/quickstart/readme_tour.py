#!/usr/bin/env python3
"""README's tour, typed as it is printed: each statement must answer what README says.

Usage: readme_tour.py README PSQL [ARGUMENT ...]     Ends with "readme: N passed, N failed".

What README says of a statement is a comment behind it ("-- created"), or the lines that follow it in the same block, in
which "…" stands for anything. A statement of which it says nothing must not fail, and a write must be "created".
"""
import re
import subprocess
import sys
from pathlib import Path

SECTION = re.compile(r"^## [^\n]*tour[^\n]*\n(.*?)(?=^## )", re.M | re.S)
BLOCK = re.compile(r"^```(?:sql)?\n(.*?)^```$", re.M | re.S)
STATEMENT = re.compile(r"(SELECT|WITH|SET|BEGIN|COMMIT|ROLLBACK|INSERT|DO|CALL|CREATE|VALUES|TABLE)\b")
WRITE = re.compile(r"\b(create_account|create_transfer|post_pending_transfer|void_pending_transfer)\(")


def steps(block):
    """Yields each statement of a block, the comment behind it, and the lines printed after it."""
    statement, comment, printed = [], "", []
    ended = True
    for line in block.splitlines():
        if ended and STATEMENT.match(line):
            if statement:
                yield "\n".join(statement), comment, printed
            statement, comment, printed = [], "", []
            ended = False
        if ended:
            if line.strip() and not line.startswith("-- "):
                printed.append(line.rstrip())
            continue
        code, _, behind = line.partition("--")
        statement.append(code.rstrip())
        if code.rstrip().endswith(";"):
            ended, comment = True, behind.strip()
    if statement:
        yield "\n".join(statement), comment, printed


def pattern(line):
    return ".*".join(re.escape(part) for part in line.split("…"))


def complaint(psql, statement, comment, printed):
    """What is wrong with the answer; nothing, if it is as README says."""
    command = [*psql, "-X", "-q", "-P", "footer=off", "-c", statement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = [line.rstrip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    if printed:
        if re.fullmatch("\n".join(map(pattern, printed)), "\n".join(answer)):
            return ""
        return "README says:\n" + "\n".join(printed) + "\nThe server says:\n" + "\n".join(answer)
    wanted = comment.split(",")[0].split(":")[0].strip() or ("created" if WRITE.search(statement) else "")
    if done.returncode != 0 or (wanted and (len(answer) != 3 or answer[2].strip() != wanted)):
        return f"wanted: {wanted or 'no error'}\nThe server says:\n" + "\n".join(answer)
    return ""


def main():
    section = SECTION.search(Path(sys.argv[1]).read_text(encoding="utf-8"))
    passed = failed = 0
    for block in BLOCK.findall(section.group(1) if section else ""):
        for statement, comment, printed in steps(block):
            wrong = complaint(sys.argv[2:], statement, comment, printed)
            if wrong:
                failed += 1
                print(f"{statement}\n{wrong}\n")
            else:
                passed += 1
    print(f"readme: {passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 5 else 1


sys.exit(main())
