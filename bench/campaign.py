"""The campaigns: what the tests sample, in full counts, for an evening.

    python bench/campaign.py                     all of them
    python bench/campaign.py --only kills        one (may be repeated; --list names them)
    python bench/campaign.py --count 40          small counts, to see that it runs
    python bench/campaign.py --count 40 --keep   the same, kept on the page

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
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import large  # noqa: E402 - the path comes first
import long_run  # noqa: E402 - the same
import switching  # noqa: E402 - the same

from anomaly.bit_flips import flip_all, make_home  # noqa: E402 - the path comes first
from anomaly.fault_injection import FaultLab, memory_folder, unavailable  # noqa: E402 - the path comes first
from anomaly.home_verbs import COMMAND, FAULTS, VERBS, Homes, Prepared, judge, sample  # noqa: E402 - the same
from anomaly.lost_writes import distinct, sampled  # noqa: E402 - the same
from anomaly.power_losses import judge_verb, run_verb  # noqa: E402 - the same
from anomaly.segment_tails import Damage, before_seal, make_segment, open_tails, sealed_tails  # noqa: E402 - the same
from anomaly.serving_home import (  # noqa: E402 - the same
    CALLERS,
    Server,
    Tally,
    environment,
    kill_loop,
    make_serving_home,
    program,
    worker_kill_loop,
)
from anomaly.sick_disk import POLICY_MORE, Disk, World  # noqa: E402 - the same
from anomaly.storage_steps import SEQUENCES, judge_steps, prepare, run_steps  # noqa: E402 - the same
from attack.formats.damaged import try_formats, try_proofs  # noqa: E402 - the same
from gatewright.checks.intervals import most_by_chance  # noqa: E402 - the same
from gatewright.models.signature import Task  # noqa: E402 - the same
from gatewright.testing.alike import false_alarms  # noqa: E402 - the same
from scenario.forging import FORGERIES, convicted, honest  # noqa: E402 - the same
from scenario.packs import found_of, made_pack  # noqa: E402 - the same
from unit.ledger.tiled_sizes import SIZES_IN_CAMPAIGN, proven_sizes  # noqa: E402 - the same

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
STARTS, HOLDERS = 50, 20
SICK_ROUNDS = 50
OVERLOAD_SECONDS = 60
LEAST_GOODPUT = 80
SWITCH_S = 0.1
TAMPERED = 3
GROWTH = 64 * 2**20
MIB = 2**20
ALARM_DRAWS = 4_000
BIT_FLIPS = 10_000
LOSSES = 100
DAMAGED = 100_000
FORGED = 100_000


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


def losses(count: int | None) -> Iterator[Row]:
    """The power lost at any moment of every verb, and of every sequence of three steps of the storage (R6)."""
    if unavailable():
        yield Row(name="losses", tried="0", result=f"not run: {unavailable()}", broken=1)
        return
    preload, paths = ["anomaly.home_verbs", "anomaly.storage_steps"], [ROOT / "tests"]
    with memory_folder() as folder, FaultLab(folder, preload=preload, paths=paths) as lab:
        prepare(folder / "store")
        for length in (1, 2, 3):
            yield _losses_of_steps(lab, length, count)
        homes = Homes(lab, folder / "homes")
        for verb in VERBS:
            yield _losses_of(lab, homes.prepared(verb.name), count or LOSSES)


def _losses_of(lab: FaultLab, prepared: Prepared, count: int) -> Row:
    run = run_verb(lab, prepared)
    moments, tried, new, broken = set(), 0, 0, 0
    for loss in sampled(run.changes, count, SEED):
        moments.add(loss.after)
        tried += 1
        try:
            new += judge_verb(lab, prepared, run, loss)
        except AssertionError as error:
            broken += 1
            sys.stderr.write(f"{error}\n")
    return Row(
        name=f"losses: {prepared.verb.name}",
        tried=f"{tried:,} losses at {len(moments)} of {len(run.changes) + 1} moments",
        result=f"{tried - broken - new:,} old, {new:,} new, {broken} broken",
        broken=broken,
    )


def _losses_of_steps(lab: FaultLab, length: int, count: int | None) -> Row:
    sequences = [names for names in SEQUENCES if len(names) == length]
    tried = broken = 0
    for names in sequences[:count]:
        run = run_steps(lab, names, lab.folder / "store")
        for loss in sampled(run.changes, count, SEED) if count else distinct(run.disk, run.changes):
            tried += 1
            try:
                judge_steps(lab.folder / "judged", names, run, loss)
            except AssertionError as error:
                broken += 1
                sys.stderr.write(f"{error}\n")
    return Row(
        name=f"losses: {length} of the storage's steps",
        tried=f"{len(sequences[:count]):,} sequences, {tried:,} different losses",
        result=f"{broken} broken",
        broken=broken,
    )


def kills(count: int | None) -> Iterator[Row]:
    """Server and clerks killed at random moments under callers (R1)."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found, acts = kill_loop(folder, make_serving_home(folder), kills=count or KILLS, seed=SEED)
    for told in set(acts.refused):
        sys.stderr.write(f"a clerk was refused: {told}\n")
    yield Row(
        name="kills: serve, register, approve",
        tried=f"{found.kills:,} kills under {CALLERS} callers and 2 clerks, {found.answered:,} answers, "
        f"{acts.acknowledged:,} acts",
        result=f"{_killed(found)}; acts: {acts.lost} lost, {acts.duplicated} twice, {len(acts.refused)} refused",
        broken=found.lost + found.duplicated + found.other + acts.lost + acts.duplicated + len(acts.refused),
    )


def workers(count: int | None) -> Iterator[Row]:
    """One worker of two killed at random moments under callers (R1)."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = worker_kill_loop(folder, make_serving_home(folder), kills=count or KILLS, seed=SEED)
    yield Row(
        name="workers: one of two killed",
        tried=f"{found.kills:,} kills under {CALLERS} callers, {found.answered:,} answers",
        result=_killed(found),
        broken=found.lost + found.duplicated + found.other,
    )


def _killed(found: Tally) -> str:
    times = sorted(found.restarts)
    slow = sum(1 for each in times if each > RECOVERY_S)
    return (
        f"{found.lost} lost, {found.duplicated} twice, {found.unasked} recorded without an answer, "
        f"{found.torn} torn tails cut, {found.other} refusals; answering again after "
        f"{statistics.median(times):.2f} s (p99 {_p99(times):.2f} s, {slow} above {RECOVERY_S:g} s), "
        "the program's start included"
    )


def _p99(times: Sequence[float]) -> float:
    return sorted(times)[min(len(times) - 1, round(0.99 * len(times)))]


def sinks(count: int | None) -> Iterator[Row]:
    """The disk of the records full, read-only, without sync, again and again (R3)."""
    if unavailable():
        yield Row(name="sinks", tried="0", result=f"not run: {unavailable()}", broken=1)
        return
    rounds = count or SICK_ROUNDS
    for ill in (Disk.FULL, Disk.READ_ONLY, Disk.NO_SYNC):
        with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
            key = make_serving_home(Path(place), more_policy=POLICY_MORE)
            yield _sick(World(Path(place), key, stack), ill, rounds)


def _sick(world: World, ill: Disk, rounds: int) -> Row:
    answered = unready = dead = 0
    back = []
    for _ in range(rounds):
        answered += world.ask() != {200}
        world.disk.be(ill)
        answered += world.ask() != {503}
        dead += world.server.probe("live") != 200
        world.wait_until_ready_is(503)
        unready += world.ask() != {503}
        world.disk.be(Disk.FINE)
        begun = time.monotonic()
        world.wait_until_ready_is(200)
        back.append(time.monotonic() - begun)
    world.ask()
    code = world.server.stop()
    differ = len(set(world.held().items()) ^ world.disk.recorded())
    again = len(world.disk.written_after_a_failed_sync())
    return Row(
        name=f"sinks: {ill.name.lower().replace('_', ' ')}",
        tried=f"{rounds:,} times, {sum(asker.asked for asker in world.askers):,} requests by REST and gRPC",
        result=f"{answered + unready} rounds with a wrong answer, {differ} answers and records that do not match, "
        f"{again} files written after a failed sync, {dead} times not alive; ready again after "
        f"{statistics.median(back):.2f} s (at most {max(back):.2f} s)",
        broken=answered + unready + dead + differ + again + code,
    )


def instances(count: int | None) -> Iterator[Row]:
    """A second server on the same home, and holders that are killed (R14)."""
    starts, holders = count or STARTS, count or HOLDERS
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        server = Server(folder, make_serving_home(folder))
        server.start()
        second = program("serve", "--port", "0")
        refused, took, followed = 0, [], []
        try:
            for _ in range(starts):
                begun = time.monotonic()
                done = subprocess.run(
                    second, cwd=folder, env=environment(), capture_output=True, text=True, check=False
                )
                took.append(time.monotonic() - begun)
                refused += done.returncode == 2 and f"by process {server.pid(0)}" in done.stderr
            for _ in range(holders):
                server.kill()
                followed.append(server.start())
        finally:
            server.stop()
    yield Row(
        name="instances: a second server",
        tried=f"{starts} starts beside a server, {holders} kills of the server",
        result=f"{refused} refused by name, after {statistics.median(took):.2f} s (p99 {_p99(took):.2f} s, the "
        f"program's start included); {len(followed)} followed, answering after {statistics.median(followed):.2f} s",
        broken=starts - refused + holders - len(followed),
    )


def overload(count: int | None) -> Iterator[Row]:
    """Five times what one worker can do, for a minute (R9; by itself: bench/overload.py)."""
    seconds = count or OVERLOAD_SECONDS
    words = [sys.executable, str(ROOT / "bench" / "overload.py"), "--seconds", str(seconds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    sys.stderr.write(done.stdout + done.stderr)
    told = {line[:26].strip(): line[26:].strip() for line in done.stdout.splitlines()}
    share = re.search(r"(\d+)% of the capacity", told.get("goodput", ""))
    other = told.get("other answers", "not told")
    yield Row(
        name="overload: 5 times the capacity",
        tried=f"{seconds} s, {told.get('asked for 5 times that', '0')} of {told.get('capacity', '0')}",
        result=f"goodput {told.get('goodput', 'not told')}; refusals {told.get('refusals took', 'not told')}; "
        f"other answers {other}; after it {told.get('capacity, after', 'not told')}",
        broken=done.returncode + (share is None or int(share[1]) < LEAST_GOODPUT) + (other != "none"),
    )


def rollback(count: int | None) -> Iterator[Row]:
    """The champion switches every second under load."""
    with tempfile.TemporaryDirectory() as place:
        found = switching.switch_under_load(count or switching.COUNT, Path(place))
    times = found.switches
    late = sum(1 for each in times if each > SWITCH_S)
    yield Row(
        name="rollback: under load",
        tried=f"{found.answers:,} requests, {len(times)} switches",
        result=f"{found.failed} failed; from the record to the last answer of the old version "
        f"{statistics.median(times) * 1e3:.0f} ms (p99 {_p99(times) * 1e3:.0f} ms, at most "
        f"{max(times) * 1e3:.0f} ms, {late} above {SWITCH_S * 1e3:g} ms); from the end of the rollback "
        f"{statistics.median(found.after) * 1e3:.0f} ms (p99 {_p99(found.after) * 1e3:.0f} ms)",
        broken=found.failed,
    )


def long(count: int | None) -> Iterator[Row]:
    """Ten million predictions from one worker (by itself: bench/long_run.py)."""
    with tempfile.TemporaryDirectory() as place:
        found = long_run.live(count or long_run.COUNT, Path(place))
    first, last = found.marks[0], found.marks[-1]
    most = max(mark.files for mark in found.marks)
    yield Row(
        name="long: one worker",
        tried=f"{last.answers:,} predictions, {found.segments:,} segments",
        result=f"{found.bad} others than 200; after {first.answers:,} and at the end: Rss "
        f"{first.rss / MIB:.0f} and {last.rss / MIB:.0f} MiB, Pss {first.pss / MIB:.0f} and "
        f"{last.pss / MIB:.0f} MiB, processor {first.cost * 1e6:.0f} and {last.cost * 1e6:.0f} µs a request, "
        f"open files {first.files} and {last.files} (at most {most}); start {found.first_start:.2f} s, "
        f"over all segments {found.last_start:.2f} s",
        broken=found.bad + (last.rss > first.rss + GROWTH) + (last.files > first.files),
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


def flips(count: int | None) -> Iterator[Row]:
    """Single bits flipped over all stored files, each judged by the verifier (R5)."""
    with memory_folder() as folder:
        found = flip_all(make_home(folder / "home"), count or BIT_FLIPS, SEED)
    for place in (*found.unseen, *found.unnamed):
        sys.stderr.write(f"flips: {place}\n")
    yield Row(
        name="flips: one bit anywhere in a home",
        tried=f"{found.tried:,} flips",
        result=f"{found.seen:,} found, {found.harmless:,} in bytes that nothing reads, {len(found.unseen)} unseen, "
        f"{len(found.unnamed)} without a place",
        broken=len(found.unseen) + len(found.unnamed),
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


def trees(count: int | None) -> Iterator[Row]:
    """Every size of a log: each leaf and each earlier size proven from its tiles."""
    most = count or SIZES_IN_CAMPAIGN
    try:
        proofs, broken = proven_sizes(most), 0
    except AssertionError as error:
        sys.stderr.write(f"trees: {error}\n")
        proofs, broken = 0, 1
    yield Row(
        name="trees: proofs of every size",
        tried=f"every leaf and every earlier size of all logs up to {most:,} records",
        result=f"{proofs:,} proofs made and verified" if proofs else "a law does not hold",
        broken=broken,
    )


def formats(count: int | None) -> Iterator[Row]:
    """Every format that evidence comes in, damaged in structured ways (fuzzing)."""
    each = count or DAMAGED
    for name, found in try_formats(each, SEED).items():
        for fault in found.faults:
            sys.stderr.write(f"{fault}\n")
        yield Row(
            name=f"formats: {name}",
            tried=f"{each:,} damaged ones",
            result=f"{found.refused:,} refused, {found.other:,} other values in their one spelling, "
            f"{len(found.faults)} faults",
            broken=len(found.faults),
        )
    verified = try_proofs(each, SEED)
    yield Row(
        name="formats: proofs",
        tried=f"{2 * each:,} damaged inclusion and consistency proofs",
        result=f"{verified} verified",
        broken=verified,
    )


def forgeries(count: int | None) -> Iterator[Row]:
    """An operator with every key but the witness's forges the log in ten ways."""
    records = (count or FORGED) // 5 * 5
    with tempfile.TemporaryDirectory(prefix="gatewright-forging-") as place:
        world = honest(Path(place), records)
        for each in FORGERIES:
            found = convicted(world, *each)
            yield Row(
                name=f"forgeries: {each[1].__name__.replace('_', ' ')}",
                tried=f"{records:,} records",
                result=f"exit code {found.code} at {found.where}, the first bad one is record {found.expected}",
                broken=not found.convicted,
            )


def packs(count: int | None) -> Iterator[Row]:
    """Every single change of an evidence pack, by a stranger and by the owner with every key."""
    with tempfile.TemporaryDirectory(prefix="gatewright-packs-") as place:
        pack, home, fingerprint = made_pack(Path(place))
        tried = missed = 0
        for what, code in islice(found_of(pack, home, fingerprint, Path(place)), count):
            tried += 1
            if code != TAMPERED:
                missed += 1
                sys.stderr.write(f"packs: {what}: exit code {code}\n")
        yield Row(
            name="packs: each file and each record changed or taken away",
            tried=f"{tried:,} packs",
            result=f"{tried - missed:,} refused with exit code 3",
            broken=missed > 0,
        )


CAMPAIGNS: Mapping[str, Campaign] = {
    "faults": faults,
    "losses": losses,
    "kills": kills,
    "workers": workers,
    "sinks": sinks,
    "instances": instances,
    "overload": overload,
    "rollback": rollback,
    "long": long,
    "tails": tails,
    "flips": flips,
    "coverage": coverage,
    "alarms": alarms,
    "big": big,
    "trees": trees,
    "formats": formats,
    "forgeries": forgeries,
    "packs": packs,
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
    parser.add_argument("--keep", action="store_true", help="keep the rows of a small count, too")
    parser.add_argument("--list", action="store_true", help="name the campaigns")
    asked = parser.parse_args()
    if asked.list:
        for name, campaign in CAMPAIGNS.items():
            print(f"{name:10} {campaign.__doc__}")
        return 0
    today = dt.datetime.now(dt.UTC).date()
    print(f"{today}, {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("\n".join(HEAD), flush=True)
    keep = asked.keep or not asked.count
    rows = _kept() if keep else {}
    broken = 0
    for name in asked.only or CAMPAIGNS:
        begun = time.monotonic()
        for row in CAMPAIGNS[name](asked.count):
            took = time.monotonic() - begun
            line = f"| {row.name} | {row.tried} | {row.result} | {took:.0f} s | {today} |"
            print(line, flush=True)
            rows[row.name] = line
            broken += row.broken
            if keep:
                _write(rows)
            begun = time.monotonic()
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
