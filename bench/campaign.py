"""The campaigns: what the tests sample, in full counts, for an evening.

    python bench/campaign.py                     all of them
    python bench/campaign.py --only kills        one (may be repeated; --list names them)
    python bench/campaign.py --count 40          small counts, to see that it runs

Prints one Markdown table and keeps it in ``docs/campaign.md``, between the markers; rows of
campaigns that did not run stay as they were, each with its date. The exit code is 1 when something
did not hold; the details are on standard error.

To add one: write a function from a count (None: the full one) to rows, and name it in CAMPAIGNS.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import large  # noqa: E402 - the path comes first

from anomaly.fault_injection import FaultLab, memory_folder, unavailable  # noqa: E402 - the path comes first
from anomaly.home_verbs import COMMAND, FAULTS, VERBS, Homes, Prepared, judge, sample  # noqa: E402 - the same
from anomaly.segment_tails import Damage, before_seal, make_segment, open_tails, sealed_tails  # noqa: E402 - the same
from anomaly.serving_home import CALLERS, kill_loop, make_serving_home  # noqa: E402 - the same
from gatewright.checks.intervals import most_by_chance  # noqa: E402 - the same
from gatewright.models.signature import Task  # noqa: E402 - the same
from gatewright.testing.alike import false_alarms  # noqa: E402 - the same

PAGE = ROOT / "docs" / "campaign.md"
BEGIN = "<!-- campaign table: written by bench/campaign.py -->"
END = "<!-- end of the campaign table -->"
HEAD = ("| campaign | tried | result | took | date |", "|---|---|---|---|---|")
INTRODUCTION = f"""# Campaigns

What the tests sample, tried in full by `make campaign`. Each row says when it was last run; a
campaign that found something broken says so here until it is run again.

{BEGIN}
{END}
"""
SEED = 20260303
KILLS = 1_000
RECOVERY_S = 2.0
ALARM_DRAWS = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table; ``broken`` counts what did not hold."""

    name: str
    tried: str
    result: str
    broken: int = 0


Campaign = Callable[[int | None], Iterator[Row]]


def faults(count: int | None) -> Iterator[Row]:
    """Every verb, failed at every write in every way (R2)."""
    if unavailable():
        yield Row(name="faults", tried="0", result=f"not run: {unavailable()}", broken=1)
        return
    paths = [ROOT / "tests"]
    with memory_folder() as folder, FaultLab(folder, preload=["anomaly.home_verbs"], paths=paths) as lab:
        homes = Homes(lab, folder / "homes")
        for verb in VERBS:
            yield _faults_of(lab, homes.prepared(verb.name), count)


def _faults_of(lab: FaultLab, prepared: Prepared, count: int | None) -> Row:
    points = len(prepared.points)
    everything = ((mode, sticky, point) for mode, sticky in FAULTS for point in range(1, points + 1))
    tried = new = orphans = broken = 0
    for mode, sticky, point in everything if count is None else sample(prepared, count, SEED):
        verb = prepared.verb
        outcome = lab.run(COMMAND, prepared.template, point, mode, sticky=sticky, arguments=verb.arguments)
        tried += 1
        try:
            judged = judge(lab, prepared, outcome)
        except Exception as error:  # noqa: BLE001 - one that does not hold is a figure; the others go on
            broken += 1
            sys.stderr.write(f"{verb.name}: {mode.name}{' sticky' * sticky} at {point}: {error}\n")
        else:
            new += judged.new
            orphans += judged.orphan_keys
    return Row(
        name=f"faults: {prepared.verb.name}",
        tried=f"{tried:,} faults at {points} points",
        result=f"{tried - broken - new:,} old, {new:,} new, {broken} broken; {orphans} keys of nobody",
        broken=broken,
    )


def kills(count: int | None) -> Iterator[Row]:
    """The server killed at random moments under callers (R1)."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = kill_loop(folder, make_serving_home(folder), kills=count or KILLS, seed=SEED)
    times = sorted(found.restarts)
    p99 = times[min(len(times) - 1, round(0.99 * len(times)))]
    slow = sum(1 for each in times if each > RECOVERY_S)
    yield Row(
        name="kills: serve",
        tried=f"{found.kills:,} kills under {CALLERS} callers, {found.answered:,} answers",
        result=f"{found.lost} lost, {found.duplicated} twice, {found.unasked} recorded without an answer, "
        f"{found.torn} torn tails cut, {found.other} refusals; answering again after "
        f"{statistics.median(times):.2f} s (p99 {p99:.2f} s, {slow} above {RECOVERY_S:g} s), the program's start included",
        broken=found.lost + found.duplicated + found.other,
    )


def tails(count: int | None) -> Iterator[Row]:
    """The end of a segment, cut off and garbled at each byte (R4)."""
    with memory_folder() as folder:
        content = make_segment(folder / "whole")
        yield _tails_of("open", open_tails(folder / "damaged", before_seal(content), count=count, seed=SEED))
        yield _tails_of("sealed", sealed_tails(content, count=count, seed=SEED))


def _tails_of(name: str, found: Damage) -> Row:
    return Row(
        name=f"tails: {name} segment",
        tried=f"{found.tried:,} damaged ends",
        result=f"{found.shorter} kept less than they could, {found.silent} unnoticed",
        broken=found.shorter + found.silent,
    )


def coverage(count: int | None) -> Iterator[Row]:
    """How often the intervals of the checks hold the truth (the table itself: bench/coverage.py)."""
    script = ROOT / "bench" / "coverage.py"
    if not script.exists():
        return
    words = [str(count)] if count else []
    done = subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)
    sys.stderr.write(done.stdout + done.stderr)
    rows = [line.split("|") for line in done.stdout.splitlines()[2:]]
    held = [float(cells[5]) for cells in rows if len(cells) > 5]
    yield Row(
        name="coverage: 95 % intervals",
        tried=f"{len(held)} metrics in known worlds",
        result=f"{min(held, default=0):.3f} to {max(held, default=0):.3f} hold the truth",
        broken=done.returncode,
    )


def alarms(count: int | None) -> Iterator[Row]:
    """How often the search for weak slices names one where all rows are alike."""
    draws = count or ALARM_DRAWS
    for task in (Task.BINARY, Task.REGRESSION):
        for rows in (200, 1_000):
            found = false_alarms(draws, task, rows)
            yield Row(
                name=f"alarms: weak slices, {task}, {rows:,} rows",
                tried=f"{draws:,} worlds without one",
                result=f"{found} named ({found / draws:.1%}; promised: at most 5 %)",
                broken=int(found > most_by_chance(draws, 0.05, 0.001)),
            )


def big(count: int | None) -> Iterator[Row]:
    """A million rows of 50 columns added and checked, each process within its bound of memory."""
    rows = count or large.ROWS
    with tempfile.TemporaryDirectory(prefix="gatewright-big-") as place:
        for step in large.measure(rows, Path(place)):
            peaks = ", ".join(f"{name} {peak / large.GIB:.2f}" for name, peak in step.peaks.items())
            yield Row(
                name=f"big: {step.what}",
                tried=f"{rows:,} rows of {large.NUMBERS + large.TEXTS} columns",
                result=f"{step.seconds:.0f} s; peak GiB {peaks}; at most {large.BOUND / large.GIB:g} each",
                broken=sum(peak > large.BOUND for peak in step.peaks.values()),
            )


CAMPAIGNS: Mapping[str, Campaign] = {
    "faults": faults,
    "kills": kills,
    "tails": tails,
    "coverage": coverage,
    "alarms": alarms,
    "big": big,
}


def _kept() -> dict[str, str]:
    """The rows that stand on the page, by campaign."""
    if not PAGE.exists():
        PAGE.write_text(INTRODUCTION, "utf-8")
    text = PAGE.read_text("utf-8")
    table = text[text.index(BEGIN) : text.index(END)]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    return {line.split("|")[1].strip(): line for line in rows}


def _write(rows: Mapping[str, str]) -> None:
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    order = list(CAMPAIGNS)
    ordered = sorted(rows.items(), key=lambda item: order.index(item[0].partition(":")[0]))
    table = "\n".join([*HEAD, *(line for _, line in ordered)])
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", "utf-8")


def main() -> int:
    """Run what is asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description="Run the campaigns; see the head of this file.")
    parser.add_argument(
        "--only", action="append", choices=list(CAMPAIGNS), help="one campaign; may be repeated"
    )
    parser.add_argument(
        "--count", type=int, help="a small count instead of the full one; nothing is kept then"
    )
    parser.add_argument("--list", action="store_true", help="name the campaigns")
    asked = parser.parse_args()
    if asked.list:
        for name, campaign in CAMPAIGNS.items():
            print(f"{name:10} {campaign.__doc__}")
        return 0
    today = dt.datetime.now(dt.UTC).date()
    print(f"{today}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("\n".join(HEAD), flush=True)
    rows = {} if asked.count else _kept()
    broken = 0
    for name in asked.only or CAMPAIGNS:
        begun = time.monotonic()
        for row in CAMPAIGNS[name](asked.count):
            took = time.monotonic() - begun
            line = f"| {row.name} | {row.tried} | {row.result} | {took:.0f} s | {today} |"
            print(line, flush=True)
            rows[row.name] = line
            broken += row.broken
            begun = time.monotonic()
    if not asked.count:
        _write(rows)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
