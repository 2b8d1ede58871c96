"""What a person waits for: the demo's acts, the start of commands, and where importing spends it."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from pathlib import Path

from timing import Python, Row, Section

TIMES = 9
TOP = 10
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
_COMMANDS = (
    ("python -c pass", ("-c", "pass")),
    ("gatewright --help", ("-m", "gatewright", "--help")),
    ("gatewright status", ("-m", "gatewright", "status")),
    ("gatewright verify (ledger, plan, release)", ("-m", "gatewright", "verify")),
)


def demo(python: Python, folder: Path) -> Section:
    """Seconds of each act of the demo."""
    python.run("-c", "import gatewright.cli.story", folder=folder)
    told = json.loads(python.output("-m", "gatewright", "demo", "--no-stay", "--json", folder=folder))
    rows = [Row(what=act["title"], value=act["seconds"], unit="s") for act in told["acts"]]
    rows.append(
        Row(
            what="the whole life (issue: under 60 s)",
            value=told["seconds"],
            unit="s",
            beside="of 60 s",
            ratio=told["seconds"] / 60,
        )
    )
    return Section(title="The demo", rows=rows)


def starts(python: Python, home: Path) -> Section:
    """Wall and processor time of short commands; rounds alternate, medians are told."""
    spent = {title: [python.run(*arguments, folder=home)] for title, arguments in _COMMANDS}
    for _ in range(TIMES):
        for title, arguments in _COMMANDS:
            spent[title].append(python.run(*arguments, folder=home))
    rows = []
    bare = statistics.median(one.wall for one in spent["python -c pass"][1:])
    for title, found in spent.items():
        wall = statistics.median(one.wall for one in found[1:])
        rows += [
            Row(
                what=title,
                value=wall * 1e3,
                unit="ms",
                beside="" if wall == bare else "times python -c pass",
                ratio=None if wall == bare else wall / bare,
            ),
            Row(
                what="  processor time",
                value=statistics.median(one.cpu for one in found[1:]) * 1e3,
                unit="ms",
            ),
        ]
    return Section(
        title="Starting a command",
        rows=rows,
        note=f"Medians of {TIMES} alternating runs after one that is not counted; modules {python.compiled}.",
    )


def imports(python: Python, home: Path) -> Section:
    """Milliseconds of importing, by top-level package, of ``--help`` and ``status``."""
    rows = []
    for title, arguments in _COMMANDS[1:3]:
        said = python.output("-X", "importtime", *arguments, folder=home, errors=True)
        spent: Counter[str] = Counter()
        for found in _LINE.finditer(said):
            spent[found[2].partition(".")[0]] += int(found[1])
        whole = sum(spent.values())
        rows.append(Row(what=f"{title}: all imports", value=whole / 1e3, unit="ms"))
        rows += [
            Row(what=f"  {name}", value=us / 1e3, unit="ms", beside="of all", ratio=us / whole)
            for name, us in spent.most_common(TOP)
        ]
    return Section(
        title="Where importing spends its time",
        rows=rows,
        note="One run of python -X importtime, which slows every import; the ten dearest packages.",
    )
