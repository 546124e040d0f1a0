#!/usr/bin/env python3
"""House lint: what compilers and clang-tidy don't know about this project (see doc/style.md).

Usage: tools/tidy.py [check ...]     Ends with "tidy: N passed, N failed".
"""
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "lint"
CORE = ("base", "config", "io", "store", "lsm", "forest", "ledger", "vsr", "engine")
CHECKS = []

COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 6
# A message is one literal, for grep to find, and may be longer than a line.
MESSAGE = re.compile(r'\s*[\w\s(?:]*"(?:\\.|[^"\\])*"[\w\s,);]*')
FILE_LINES_WARN = 800
FILE_LINES_MAX = 1000
SERVER_SIGNATURES = ("fdw_get_plan", "lifecycle_process_utility")  # The server says what they take.

BANNED = {
    "everywhere": {
        "strcpy strcat strncpy strncat sprintf vsprintf gets strtok": "memcpy with a checked size, or snprintf",
        "atoi atol atoll": "strtoul, and look at its end",
        "alloca": "a member of a struct, or the arena",
        "rand srand random drand48": "base/prng.h",
        "setjmp longjmp signal": "a state",
    },
    "core": {
        "malloc calloc realloc free aligned_alloc posix_memalign strdup": "base/arena.h",
        "time clock gettimeofday clock_gettime": "io/clock.h, and only outside of ledger/",
        "printf fprintf snprintf puts putchar perror": "an enum, which the caller turns into words",
        "strlen strcmp strncmp strchr": "sizes and memcmp",
        "exit abort getenv qsort bsearch sleep usleep": "nothing: the core has no process around it",
    },
    "pg": {
        "malloc calloc realloc free strdup": "palloc, pfree, pstrdup",
        "printf fprintf puts perror": "ereport",
        "exit": "proc_exit",
        "sleep usleep": "WaitLatch, so that interrupts are seen",
    },
}
USES = {
    "stdint.h": r"\bu?int\d+_t\b|\bu?intptr_t\b|\bU?INT\d+_(MAX|MIN|C)\b|\bSIZE_MAX\b",
    "stdbool.h": r"\b(bool|true|false)\b",
    "stddef.h": r"\b(NULL|size_t|offsetof|ptrdiff_t|max_align_t)\b",
    "string.h": r"\b(mem(cpy|move|set|cmp|chr)|str\w+)\b",
}


def check(function):
    CHECKS.append(function)
    return function


def shell(*command, ok=(0,)):
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in ok:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def blank(text):
    """Comments, strings and character constants become spaces; lines and columns stay."""
    pattern = r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group()), text, flags=re.S)


class Source:
    def __init__(self, path):
        self.path = path
        self.name = str(path.relative_to(ROOT))
        self.text = path.read_text()
        self.lines = self.text.split("\n")
        self.code = blank(self.text)
        self.code_lines = self.code.split("\n")
        parts = path.relative_to(ROOT).parts
        self.in_src = parts[0] == "src"
        self.key = "/".join(parts[1:])
        self.area = (parts[1] if len(parts) > 2 else path.stem) if self.in_src else parts[0]
        self.part = "/".join(parts[1:-1]) if self.in_src and len(parts) > 3 else self.area
        self.includes = [
            (n, m.group(1), m.group(1).strip('<>"'))
            for n, line in enumerate(self.lines, 1)
            if (m := re.match(r'\s*#\s*include\s*(<[^>]+>|"[^"]+")', line))
        ]

    def at(self, line):
        return f"{self.name}:{line}"

    def functions(self):
        """(name, first line, last line, parameters): a definition has its braces in column 0."""
        for start, line in enumerate(self.code_lines):
            if line.rstrip() != "{":
                continue
            first = start
            while first > 0 and re.search(r"[^\s;}]\s*$", self.code_lines[first - 1]):
                first -= 1
                if re.match(r"\w+\(", self.code_lines[first]):
                    break
            head = " ".join(self.code_lines[first:start])
            match = re.search(r"(\w+)\s*\((.*)\)", head)
            end = next(n for n in range(start, len(self.code_lines)) if self.code_lines[n][:1] == "}")
            if match:
                parameters = re.sub(r"\([^()]*\)", "", match.group(2))
                yield match.group(1), first + 1, end + 1, parameters.count(",") + 1


def sources(*folders):
    return [Source(p) for f in folders for p in sorted((ROOT / f).rglob("*.[ch]"))]


SRC = sources("src")
TEST = sources("test")
ALL = SRC + TEST


def layers():
    allowed = {}
    for line in (ROOT / "tools/layers.txt").read_text().split("\n"):
        line = line.split("#")[0].strip()
        if line:
            name, _, edges = line.partition(":")
            allowed[name] = edges.split()
    return allowed


@check
def text():
    """Columns, tabs, trailing space, end of file, comments, unfinished business, licence."""
    unfinished = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX|HA" r"CK)\b")
    for s in ALL:
        if s.lines[0] != "/* SPDX-License-Identifier: PostgreSQL */":
            yield s.at(1), "the first line is not the SPDX line"
        for n, line in enumerate(s.lines, 1):
            if len(line) > COLUMNS_MAX and not (s.area == "pg" and MESSAGE.fullmatch(line)):
                yield s.at(n), f"{len(line)} columns, at most {COLUMNS_MAX}"
            if "//" in s.code_lines[n - 1]:
                yield s.at(n), "a // comment: write /* */"
    others = [p for f in ("sql", "doc", "tools", "test", "src", ".ci") for p in (ROOT / f).rglob("*")]
    others += [p for p in ROOT.iterdir() if p.suffix in (".md", ".sql", ".json", ".control")]
    for path in others:
        if path.suffix in (".o", ".d", ".pyc") or not path.is_file():
            continue
        try:
            content = path.read_text()
        except UnicodeDecodeError:
            continue
        name = path.relative_to(ROOT)
        for n, line in enumerate(content.split("\n"), 1):
            if line != line.rstrip():
                yield f"{name}:{n}", "trailing space"
            if "\t" in line and path.suffix not in (".mk", ".out"):
                yield f"{name}:{n}", "a tab"
            if unfinished.search(line):
                yield f"{name}:{n}", "unfinished: finish it, or leave it out"
        if content and not content.endswith("\n") or content.endswith("\n\n"):
            yield name, "does not end with exactly one end of line"


@check
def paths():
    """No path of anybody's machine."""
    machine = re.compile(r"(?<![\w.})$])(?<!\w\")/(" + "|".join(("work", "home", "root", "farm")) + r")\b")
    anywhere = re.compile(r"(?<![\w.})$])/" + r"tmp\b")
    files = [p for f in ("src", "doc", "sql", "test", "tools") for p in (ROOT / f).rglob("*")]
    files += [ROOT / "Makefile", *ROOT.glob("*.md"), *ROOT.glob("*.sql")]
    for path in files:
        if not path.is_file() or path.suffix in (".o", ".d", ".pyc"):
            continue
        name = path.relative_to(ROOT)
        for n, line in enumerate(path.read_text(errors="replace").split("\n"), 1):
            if machine.search(line) or (name.parts[0] in ("src", "doc") and anywhere.search(line)):
                yield f"{name}:{n}", "an absolute path of one machine"


@check
def banned():
    """Calls that have a better way here."""
    for s in SRC:
        areas = ["everywhere"] + (["core"] if s.area in CORE else [s.area])
        for names, instead in ((k, v) for a in areas for k, v in BANNED.get(a, {}).items()):
            call = re.compile(r"(?<![\w.>])(" + "|".join(names.split()) + r")\s*\(")
            for n, line in enumerate(s.code_lines, 1):
                if match := call.search(line):
                    yield s.at(n), f"{match.group(1)}: use {instead}"
        for n, _, name in s.includes:
            if name == "assert.h":
                yield s.at(n), "<assert.h>: use base/assert.h"


@check
def layering():
    """Includes follow tools/layers.txt; files have headers; folders don't shadow the server's."""
    allowed = layers()
    own = {s.key for s in SRC}
    parts = {s.part for s in SRC}
    for s in SRC:
        edges = set(allowed.get(s.area, [])) | set(allowed.get(s.part, [])) | set(allowed.get(s.key, []))
        edges |= set(allowed["core"]) if s.part in CORE else set()
        if s.part not in allowed:
            yield s.name, f"part {s.part} is not in tools/layers.txt"
        for n, written, name in s.includes:
            system = written[0] == "<"
            target = (name.rpartition("/")[0] or name).removesuffix(".h")
            if system and ("<system>" in edges or written in edges):
                continue
            if not system and name in own and (target == s.part or target in edges or name in edges):
                continue
            if not system and name not in own and target.split("/")[0] not in parts and "<postgres>" in edges:
                continue
            yield s.at(n), f"{s.part} may not include {written}"
        quoted = [name for _, written, name in s.includes if written[0] == '"']
        if s.area == "pg":
            if "postgres.h" in quoted[1:]:
                yield s.name, "postgres.h is not included first"
            if s.path.suffix == ".c" and "postgres.h" in quoted and quoted[1:2] != ["pg/compat.h"]:
                yield s.name, "pg/compat.h is not included second, right after postgres.h"
        elif s.path.suffix == ".c":
            modules = [q[:-2].removesuffix("_internal") for q in quoted if q.startswith(s.part)]
            internal = any(q.startswith(s.part) and re.search(r"[/_]internal\.h$", q) for q in quoted)
            if not internal and not any(s.key.startswith(m) for m in modules):
                yield s.name, "no header of its own, nor of the module that it is a part of"
    server = Path(shell("pg_config", "--includedir-server").strip())
    for part in sorted(parts):
        if (server / part).is_dir() or (server / (part + ".h")).exists():
            yield f"src/{part}", "has the name of one of the server's include folders"


@check
def unused():
    """Each file uses something of each header that it includes, or of what that one includes.

    But a header may show another one of its folder to whoever includes it.
    """
    declared, through = {}, {s.key: [i[2] for i in s.includes] for s in ALL}
    for s in ALL:
        names = re.findall(r"#\s*define\s+(\w+)|\b(?:struct|enum|union)\s+(\w+)\s*\{", s.code)
        names += re.findall(r"^(?:[\w\s]*\s)?\*?(\w+)\s*(\()", s.code, flags=re.M)
        names += re.findall(r"typedef[^;]*?(\w+)\s*(;|\(|__attribute__)", s.code)
        names += re.findall(r"^extern[^;(]*?(\w+)(;)", s.code, flags=re.M)
        for body in re.findall(r"\benum\s*\w*\s*\{(.*?)\}", s.code, flags=re.S):
            names += re.findall(r"(?:^|[,{])\s*([A-Z]\w+)(\b)", body)
        names += re.findall(r"^struct\s+(\w+)(;)", s.code, flags=re.M)
        declared[s.key] = {
            n for pair in names for n in pair if n.isidentifier() and not re.match(r"LEDGER_\w+_H$", n)
        }
    for s in ALL:
        words = set(re.findall(r"\w+", s.code))
        for n, written, name in s.includes:
            if name in USES and not re.search(USES[name], s.code):
                yield s.at(n), f"nothing of {written} is used"
            shows = s.path.suffix == ".h" and name.startswith(s.area + "/")
            if written[0] == '"' and name in declared and name != "pg/compat.h" and not shows:
                reached = [name]
                for header in reached:
                    reached += [h for h in through[header] if h in declared and h not in reached]
                if not words & set().union(*(declared[header] for header in reached)):
                    yield s.at(n), f"nothing of {written} is used"


# One meaning a word (doc/words.md): identifiers that had another one, and what to say. Folder, pattern, word.
# A file after a minus sign, without its ending, may say it.
WORDS = [
    ("src", r"forest_tree\w*|tree_schema|burnt_tree|FOREST_TREES_MAX|TREE_(ACCOUNT|TRANSFER|BURNT)\w*", "groove"),
    ("src/forest src/ledger", r"(?<=[.>])trees|tree_count", "groove"),
    ("src/forest", r"\w*commit\w*", "compact: ops are committed by the replica"),
    ("src/lsm", r"\w*commit\w*", "a beat, or compaction"),
    ("src/base src/config.h src/io src/store src/lsm src/forest src/ledger -src/store/members -src/store/superblock -src/store/superblock_state",
     r"slots?|\w+_slots?|slots?_\w+", "an entry, an object, a bucket, a number or a timestamp: a slot is of shared memory"),
    ("src/lsm", r"\w*promise\w*", "checked: only room is promised"),
    ("src/vsr src/engine src/engine/engine.h src/engine/engine.c", r"held|replica_hold\w*", "paused: a hold is a pending transfer"),
    ("src/pg", r"held(_\w+)?", "owned: a hold is a pending transfer"),
    ("src/lsm src/store", r"\w*_part|part_\w+|parts?", "an extract of a block: a part is of the forest"),
    ("src/store src/vsr src/engine src/engine/engine.h src/engine/engine.c", r"(?<=checkpoint[.>])manifest", "root"),
]


@check
def words():
    """One meaning a word, in the identifiers of each folder: see WORDS, and doc/words.md."""
    for s in SRC:
        for folders, pattern, instead in WORDS:
            if not any(s.name == f or s.name.startswith(f + "/") for f in folders.split()):
                continue
            if f"-{s.name.rpartition('.')[0]}" in folders.split():
                continue
            banned_word = re.compile(rf"(?<!\w)({pattern})(?!\w)")
            for n, line in enumerate(s.code_lines, 1):
                if match := banned_word.search(line):
                    yield s.at(n), f"{match.group(1)}: say {instead}"


@check
def sizes():
    """Lengths of files and functions, numbers of parameters."""
    for s in ALL:
        if len(s.lines) - 1 > FILE_LINES_MAX:
            yield s.name, f"{len(s.lines) - 1} lines, at most {FILE_LINES_MAX}"
        elif len(s.lines) - 1 > FILE_LINES_WARN:
            print(f"  note: {s.name} has {len(s.lines) - 1} lines: is it two modules?")
        for name, first, last, parameters in s.functions():
            if last - first + 1 > FUNCTION_LINES_MAX:
                yield s.at(first), f"{name}: {last - first + 1} lines, at most {FUNCTION_LINES_MAX}"
            if parameters > PARAMETERS_MAX and name not in SERVER_SIGNATURES:
                yield s.at(first), f"{name}: {parameters} parameters, at most {PARAMETERS_MAX}"


ASSERTION = re.compile(r"^    assert\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\);", flags=re.M)


def parameters_of(head):
    """Name → type of each parameter of a definition's head."""
    listed = re.search(r"\w\((.*)\)", head, flags=re.S)
    split = re.split(r",(?![^()]*\))", listed.group(1)) if listed else []
    found = [re.fullmatch(r"\s*(.*?)(\w+)\s*(\[\w*\])?\s*", p, flags=re.S) for p in split]
    return {m.group(2): m.group(1) + (m.group(3) or "") for m in found if m}


def late_contracts(head, body):
    """(offset, parameter, assertion): it is about arguments alone, and one of them was used before.

    To copy an argument in a declaration is no use of it yet, nor is to return in a case that has its own
    way. What a call may have changed, or the function itself, is no contract but a result.
    """
    parameters = parameters_of(head)
    for match in ASSERTION.finditer(body):
        said = match.group(1)
        members = set(re.findall(r"(?:->|\.)\s*(\w+)", said))
        names = set(re.findall(r"\b[A-Za-z_]\w*", said)) - members
        if re.search(r"\w\(", said) or any(n not in parameters and not n.isupper() for n in names):
            continue
        before = ASSERTION.sub("", body[: match.start()])
        before = re.sub(r"^    if \([^;{]*\)\s*return\b[^;]*;", "", before, flags=re.M)
        if any(re.search(rf"(->|\.){m}(\[[^]]*\])?\s*[-+*/|&]?=[^=]", before) for m in members):
            continue
        whole = re.sub(r"(?<![&*\w])\w+(->|\.)[\w.>-]*", "", said)
        for name in set(re.findall(r"\b[A-Za-z_]\w*", whole)) & set(parameters):
            this = rf"(?<![\w>.]){name}\b"
            uses = re.sub(rf"= {name}(?=[,;}}])", "", before)
            written = rf"{this}(\[[^]]*\])?\s*([-+*/|&]|<<|>>)?=[^=]|{this}(\+\+|--)|&{name}\b(?!->|\[)"
            owners = [o for o in re.findall(r"(\w+)(?:->|\.)", said) if "const" not in parameters.get(o, "const")]
            passed = any(re.search(rf"\((?:[^();]*, )?{o}[,)]", before) for o in owners)
            if re.search(this, uses) and not re.search(written, before) and not passed:
                yield match.start(), name, said


@check
def increments():
    """One dialect: `i++` in the head of a `for` and inside an expression; as a statement `count += 1`."""
    for s in ALL:
        for n, line in enumerate(s.code_lines, 1):
            if re.search(r"(^|[;{)]|else) *[A-Za-z_(][\w.>\[\]()*-]*(\+\+|(?<!-)--);", line):
                yield s.at(n), "a statement that increments: write += 1"
            if re.search(r"\bfor \(.*; [^*; ][^; ]* [+-]= 1\) ", line):
                yield s.at(n), "a for that counts: write ++"


@check
def asserts():
    """What an assertion says of an argument or of an index is said before either is used."""
    for s in SRC:
        for name, first, last, _ in s.functions():
            head, brace, body = "\n".join(s.code_lines[first - 1 : last]).partition("\n{")
            for offset, parameter, said in late_contracts(head, body):
                line = first + (head + brace + body[:offset]).count("\n")
                yield s.at(line), f"{name}: {parameter} is asserted after it was used: {said}"
    for s in SRC:
        if s.path.suffix != ".c" or s.area not in CORE:
            continue
        for name, first, last, _ in s.functions():
            body = s.code_lines[first - 1 : last]
            for n, line in enumerate(body):
                match = re.match(r"\s*assert\((\w+) <=? [^;]*\);$", line)
                if not match:
                    continue
                index = match.group(1)
                used = next((u for u in range(n) if f"[{index}]" in body[u]), n)
                between = " ".join(body[used:n])
                changes = rf"\b{index} (=|\+=|-=) |\b{index}(\+\+|--)|&{index}\b|\bfor \("
                block = len(line) - len(line.lstrip())
                outside = any(b.strip() and len(b) - len(b.lstrip()) < block for b in body[used:n])
                start = used
                while start > 0 and not re.search(r"[;{}:]\s*$", body[start - 1]):
                    start -= 1
                tested = re.match(r"\s*(assert|while|for|if|case|return)\b", body[start])
                if used < n and not outside and not tested and not re.search(changes, between):
                    yield s.at(first + n), f"{name}: {index} is asserted after it was an index"


@check
def invariants():
    """Numbered invariants are defined once, and known by number to some code and to some test.

    A definition is an item ` *  (X9) …` of a header's first comments. A mention is `X9` in another
    comment, or x9_ at the start of a test's name. What only a server can run is tested by test/tap.
    """
    number = r"[A-Z]\d+"

    def mentions(s):
        for n, (line, code) in enumerate(zip(s.lines, s.code_lines), 1):
            for name in re.findall(rf"\b{number}\b", line):
                if name not in code and (s, n) != defined.get(name):
                    yield name
        for names in re.findall(r"\bUNIT_TEST\(((?:[a-z]\d+_)+)", s.code):
            yield from names.upper().rstrip("_").split("_")

    defined = {}
    for s in ALL:
        for n, line in enumerate(s.lines, 1):
            match = re.match(rf" \*  \(({number})\) ", line)
            if not match or s.path.suffix != ".h":
                continue
            name = match.group(1)
            if name in defined:
                yield s.at(n), f"({name}) is defined in {defined[name][0].name} too"
            defined.setdefault(name, (s, n))
    in_code = {name for s in SRC for name in mentions(s)}
    in_tests = {name for s in TEST for name in mentions(s)}
    taps = "".join(p.read_text() for p in (ROOT / "test/tap").glob("*.pl"))
    in_taps = set(re.findall(rf"\(({number})\)", taps))
    for name, (s, n) in defined.items():
        if s.in_src and name not in in_code:
            yield s.at(n), f"({name}) is not mentioned where it is kept"
        if s.in_src and name not in (in_taps if s.area == "pg" else in_tests):
            yield s.at(n), f"({name}) is not tested by its number"


@check
def limits():
    """Each limit of config.h is in a section that says whether it is format; the fingerprint has those that are."""
    path = ROOT / "src/config.h"
    text = path.read_text()
    section, format_limits, free = "", set(), set()
    for line in text.split("\n"):
        if match := re.match(r"/\* ---- (.*?) -+ \*/", line):
            section = match.group(1).lower()
        match = re.match(r"#define (\w+)[ (]", line)
        if match and "format" in section:
            format_limits.add(match.group(1))
        elif match and "freely" in section:
            free.add(match.group(1))
    listed = re.search(r"#define CONFIG_FORMAT\b(.*?)\n\n", text, flags=re.S)
    listed = set(re.findall(r"\w+", listed.group(1))) if listed else set()
    for name in sorted(format_limits ^ listed):
        yield "src/config.h", f"{name} is format, and not in CONFIG_FORMAT, or the other way round"
    for name in sorted(format_limits & free):
        yield "src/config.h", f"{name} is format in one build, and may change freely in the other"


@check
def alive():
    """Each file is built, included, run or linked to by something; links lead somewhere."""
    make = (ROOT / "Makefile").read_text() + (ROOT / "test/test.mk").read_text()
    included = {name for s in ALL for _, _, name in s.includes}
    scripts = make + "".join(p.read_text() for f in ("tools", "test") for p in (ROOT / f).rglob("*.sh"))
    for s in ALL:
        if s.path.suffix == ".c" and f"{Path(s.name).parent}/*.c" not in make and "/" + s.path.name not in scripts:
            yield s.name, "no makefile builds it"
        if s.path.suffix == ".h" and s.key not in included and s.path.name not in included:
            yield s.name, "nobody includes it"
    for path in (ROOT / "sql").glob("*.sql"):
        if not (ROOT / "expected" / (path.stem + ".out")).exists():
            yield path.relative_to(ROOT), "has no expected output"
    for path in [*ROOT.glob("*.md"), *(ROOT / "doc").glob("*.md"), *(ROOT / "src").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            if not (path.parent / link).exists():
                yield path.relative_to(ROOT), f"links to {link}, which does not exist"


# Names of others, and invented ones, that documents and comments may speak of.
FOREIGN = {
    "drivers and frameworks": "register_enum register_uuid isolation_level execution_options ATOMIC_REQUESTS "
    "max_digits decimal_places getArray text pipeline save prepare_threshold track_extra_parameters "
    "PRISMA_SCHEMA_ENGINE_BINARY",
    "the server and its tools": "jsonb_populate_recordset to_jsonb pg_reload_conf pg_terminate_backend pg_control "
    "data_sync_elevel ExecutorRun postgres.h instr_time.h fd.c delete_old_cluster delete_old_cluster.sh dT",
    "the kernel and other tools": "IORING_SETUP_IOPOLL IORING_SETUP_HYBRID_IOPOLL IORING_SETUP_SQPOLL poll_queues "
    "O_NONBLOCK NOLINT perf",
    "an example": "payment_id seconds_ahead OLD_BINDIR NEW_BINDIR head_is_cut_when_torn",
}


@check
def mentions():
    """What documents and comments name exists: functions, files, identifiers with an underscore or in backticks.

    A name may be a prefix (`exists_with_different_…`, `mem*`), or the end of one (`…not_pending`, `_internal.h`,
    FREE_SET of CHECKPOINT_FREE_SET). In pages for users, words in backticks without an underscore may be of anything.
    """
    files = [p for p in (ROOT / f for f in shell("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()) if p.is_file()]
    paths_all = ["/" + str(p.relative_to(ROOT)) for p in files]
    texts = [re.sub(r"/\*.*?\*/", " ", s.text, flags=re.S) for s in ALL]
    texts += [
        p.read_text(errors="replace")
        for p in files
        if p.suffix not in (".c", ".h", ".md") and p.name != "tidy.py"
    ]
    known = {word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}
    called = {word for text in texts for word in re.findall(r"([A-Za-z_]\w*)\s*\(", text)}
    foreign = {word for group in FOREIGN.values() for word in group.split()}
    known |= {part for p in files for part in (p.name, p.stem, *p.relative_to(ROOT).parts)} | foreign
    known |= {word for area in BANNED.values() for names in area for word in names.split()}
    known |= set(CORE) | {function.__name__ for function in CHECKS}
    once = f" {' '.join(sorted(known))} "

    def there(before, word, after):
        starts = [" "] + (["_"] if before == "…" or word.isupper() else []) + ([""] if word[0] == "_" else [])
        end = "" if word.endswith("_") or after in ("*", "…") else " "
        return any(f"{start}{word}{end}" in once for start in starts) or re.fullmatch(r"[A-Z]\d+", word)

    def unknown(text, users):
        for word in re.findall(r"(?<![\w./$@-])([A-Za-z]\w*)\(\)", text):
            if word not in called | foreign:
                yield f"{word}()"
        for path in re.findall(r"(?<![\w/.<])([\w/-]+\.(?:c|h|py|sh|pl|md|sql|txt|mk))\b", text):
            end = path if path[0] == "_" else "/" + path
            if path.split("/")[-1] not in foreign and not any(p.endswith(end) for p in paths_all):
                yield path
        spans = [(r"[A-Za-z]\w*_\w*", text)]
        spans += [(r"[A-Za-z_]\w*", span) for span in ([] if users else re.findall(r"`([^`]+)`", text))]
        for pattern, span in spans:
            for word in re.findall(rf"(…?)(?<![\w./$@{{-])({pattern})(?!\w)([*…]?)(?!\.\w)", span):
                if not there(*word):
                    yield word[1]

    for path in (p for p in files if p.suffix == ".md" and p.name != "CHANGELOG.md"):
        name = path.relative_to(ROOT)
        users = str(name) in ("README.md", "doc/operations.md")
        for n, line in enumerate(path.read_text().split("\n"), 1):
            for word in sorted(set(unknown(line, users))):
                yield f"{name}:{n}", f"{word}: there is no such thing"
    for s in ALL:
        for match in re.finditer(r"/\*.*?\*/", s.text, flags=re.S):
            for word in sorted(set(unknown(match.group(), False))):
                line = s.text[: match.start()].count("\n") + 1
                yield s.at(line), f"{word}: there is no such thing"


@check
def sections():
    """Where the title of a header's section names files, they define what the section declares."""
    title = re.compile(r"^/\* ---- (?:[^*\n]*: )?((?:\w+\.c(?:, )?)*)[^*\n]*-+ \*/$", flags=re.M)
    declared = re.compile(r"^(?!static|typedef|extern|return)[a-z][\w \n*]*?\b(\w+)\([^;{}]*\);", flags=re.M)
    for s in SRC:
        titles = [(m.start(), re.findall(r"\w+\.c", m.group(1))) for m in title.finditer(s.text)]
        for match in declared.finditer(s.code) if titles else []:
            files = next((f for at, f in reversed(titles) if at < match.start()), [])
            texts = [p.read_text() for f in files if (p := s.path.parent / f).exists()]
            if files and not any(re.search(rf"^{match.group(1)}\(", text, flags=re.M) for text in texts):
                line = s.code[: match.start()].count("\n") + 1
                yield s.at(line), f"{match.group(1)} is not defined in {', '.join(files)}"


@check
def headers():
    """Guards are named after the path; each header compiles alone."""
    headers_all = [s for s in ALL if s.path.suffix == ".h"]
    for s in headers_all:
        stem = s.name.removeprefix("src/").removesuffix(".h")
        guard = "LEDGER_" + re.sub(r"\W", "_", stem).upper() + "_H"
        if not re.search(rf"^#ifndef {guard}\n#define {guard}$", s.text, flags=re.M):
            yield s.name, f"its guard is not {guard}"
    server = shell("pg_config", "--includedir-server").strip()

    def alone(s):
        flags = ["-std=gnu11", "-Wall", "-Werror", "-Isrc", "-Itest", "-fsyntax-only", "-x", "c"]
        if s.area == "pg":
            flags += [f"-I{server}", "-D_GNU_SOURCE", "-include", "postgres.h"]
        if not s.in_src:
            flags += ["-DLEDGER_CONFIG_TEST_MIN", "-Wno-unused-function"]
        command = ["gcc", *flags, "-include", s.name, "-"]
        done = subprocess.run(command, cwd=ROOT, input="", capture_output=True, text=True)
        return s.name, done.returncode, done.stderr

    with ThreadPoolExecutor(2) as pool:
        for name, status, errors in pool.map(alone, headers_all):
            if status:
                yield name, "does not compile alone\n" + errors


def objects(files, flags):
    """Compiles what is out of date into build/lint; returns the objects."""
    newest_header = max(s.path.stat().st_mtime for s in SRC if s.path.suffix == ".h")

    def build(s):
        target = OUT / s.key.replace(".c", ".o")
        source = max(s.path.stat().st_mtime, newest_header)
        if not target.exists() or target.stat().st_mtime < source:
            target.parent.mkdir(parents=True, exist_ok=True)
            shell("gcc", *flags, "-Isrc", "-c", s.name, "-o", target)
        return target

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(build, files))


@check
def symbols():
    """What objects define and ask for: no clash with the server, no world, no mutable globals."""
    core = [s for s in SRC if s.part in CORE and s.path.suffix == ".c"]
    glue = [s for s in SRC if s.part not in CORE and s.path.suffix == ".c"]
    flags = ["-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden"]
    server_flags = ["-I" + shell("pg_config", "--includedir-server").strip(), "-D_GNU_SOURCE"]
    core_objects = objects(core, flags)
    glue_objects = objects(glue, ["-std=gnu11", "-O0", "-fPIC", *server_flags])
    postgres = shell("nm", "-D", "--defined-only", shell("pg_config", "--bindir").strip() + "/postgres")
    postgres = {line.split()[-1].split("@")[0] for line in postgres.splitlines()}
    for target in core_objects + glue_objects:
        for line in shell("nm", "-g", "--defined-only", target).splitlines():
            if line.split()[-1] in postgres and line.split()[-1] not in ("_PG_init", "Pg_magic_func"):
                yield target.relative_to(OUT), f"{line.split()[-1]} is also a symbol of postgres"
    defined, asked = set(), {}
    for target in core_objects:
        for line in shell("nm", "-g", target).splitlines():
            kind, name = line.split()[-2:]
            if kind in "Uw":
                asked.setdefault(name, target.relative_to(OUT))
            else:
                defined.add(name)
        for line in shell("nm", "-f", "sysv", "--defined-only", target).splitlines():
            fields = [f.strip() for f in line.split("|")]
            if len(fields) == 7 and re.match(r"\.(data|bss|tbss|tdata)(?!\.rel\.ro)|\*COM\*", fields[6]):
                yield target.relative_to(OUT), f"{fields[0]} is a mutable global"
    permitted = defined | set(layers()["symbols"]) | {"_GLOBAL_OFFSET_TABLE_"}
    for name in sorted(set(asked) - permitted):
        yield asked[name], f"the core asks for {name}, which tools/layers.txt does not allow"


def main():
    chosen = sys.argv[1:]
    passed = failed = 0
    os.chdir(ROOT)
    for function in CHECKS:
        if chosen and function.__name__ not in chosen:
            continue
        try:
            problems = [f"  {place}: {message}" for place, message in function()]
        except RuntimeError as error:
            problems = [f"  {error}"]
        print(f"{function.__name__}: {'FAILED' if problems else 'ok'}", *problems, sep="\n")
        passed, failed = passed + (not problems), failed + bool(problems)
    print(f"tidy: {passed} passed, {failed} failed")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
