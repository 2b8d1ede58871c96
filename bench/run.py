"""Measure what the project promises, each figure beside a yardstick of the same run.

``python bench/run.py [--json FILE] [--only PART]... [--page]``. The parts: demo, starts, imports, endpoint,
processes, budget, ledger, proof, check. ``--page`` puts the tables into docs/performance.md; with ``--only proof``
into its section on proof. ``--full`` takes the sizes of the promises where the part is small by default.
Nothing here is a test: a slow figure is a figure. The exit code is 1 only when a part could not be measured at all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import appending
import budget
import checking
import commands
import endpoint
import processes
import records
import signing
import time_machine
from prepared import Prepared, prepare
from timing import Python, Section, python

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PROOF_BEGIN, PROOF_END = "<!-- figures of proof: begin -->", "<!-- figures of proof: end -->"
PROOF = "proof"

Part = Callable[[], list[Section]]


def main() -> int:
    """Measure, print, keep; returns the exit code."""
    options = _options()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="gatewright-bench-", dir=options.folder) as place:
        folder = Path(place)
        interpreter = python(folder / "compiled")
        machine = _machine(interpreter)
        print("\n".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
        home = prepare(interpreter, folder / "home")
        parts = _parts(interpreter, home, folder, full=options.full)
        sections: list[Section] = []
        for name in (each for each in parts if not options.only or each in options.only):
            for section in _measured(name, parts[name]):
                sections.append(section)
                print(_plain(section), flush=True)
    machine["load"] = f"{before:.1f} before and {os.getloadavg()[0]:.1f} after, on {os.cpu_count()} cores"
    if max(before, os.getloadavg()[0] - 1) > (os.cpu_count() or 1):
        machine["load"] += ": the machine was busy with other work, so trust ratios and processor time only"
    print(f"\nload: {machine['load']}")
    if options.json:
        found = {"machine": machine, "sections": [asdict(section) for section in sections]}
        options.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if options.page:
        _write_page(machine, sections, (PROOF_BEGIN, PROOF_END) if options.only == [PROOF] else (BEGIN, END))
    return 1 if any(section.skipped.startswith("broken") for section in sections) else 0


def _options() -> argparse.Namespace:
    reader = argparse.ArgumentParser(description="Measure Gatewright beside its yardsticks.")
    reader.add_argument("--json", type=Path, help="Also write the figures to this file.")
    reader.add_argument("--page", action="store_true", help="Also put the tables into docs/performance.md.")
    reader.add_argument("--folder", type=Path, help="Where the temporary homes are made: the disk measured.")
    reader.add_argument(
        "--only",
        action="append",
        choices=("demo", "starts", "imports", "endpoint", "processes", "budget", "ledger", PROOF, "check"),
        help="Measure this part only; may be repeated.",
    )
    reader.add_argument("--full", action="store_true", help="The part on proof in its full sizes; minutes.")
    return reader.parse_args()


def _parts(interpreter: Python, home: Prepared, folder: Path, *, full: bool) -> dict[str, Part]:
    return {
        "starts": lambda: [commands.starts(interpreter, home.folder)],
        "imports": lambda: [commands.imports(interpreter, home.folder)],
        "endpoint": lambda: endpoint.measure(interpreter, home),
        "processes": lambda: processes.measure(interpreter, home),
        "budget": lambda: [budget.measure(home)],
        "ledger": lambda: [records.measure(folder / "ledger")],
        PROOF: lambda: _proof(interpreter, folder, full=full),
        "check": lambda: [checking.measure(interpreter, home, folder)],
        "demo": lambda: [commands.demo(interpreter, folder)],
    }


def _proof(interpreter: Python, folder: Path, *, full: bool) -> list[Section]:
    """Looking back, signing, appending: small by default, in the sizes of the promises where ``full``."""
    looked = time_machine.measure(
        interpreter, folder / "past", records=1_000_000 if full else 20_000, changes=1_000 if full else 100
    )
    return [
        looked,
        signing.measure(folder / "signing", mib=2_048 if full else 256),
        appending.measure(folder / "appending", appends=200 if full else 40),
    ]


def _measured(name: str, part: Part) -> list[Section]:
    try:
        return part()
    except subprocess.CalledProcessError as error:
        why = f"{error} {str(error.output or error.stderr or '')[-500:]}"
    except Exception as error:  # noqa: BLE001 - one part that breaks must not hide the others
        why = f"{type(error).__name__}: {error}"
    return [Section(title=name, skipped=f"broken: {why}")]


def _machine(interpreter: Python) -> dict[str, str]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "when": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores of {model}, {platform.system()} {platform.release()}",
        "python": platform.python_version() + f", modules {interpreter.compiled}",
    }


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _lines(section: Section) -> list[tuple[str, str, str]]:
    return [
        (
            row.what,
            f"{_number(row.value)} {row.unit}".strip(),
            "" if row.ratio is None else _ratio(row.ratio, row.beside),
        )
        for row in section.rows
    ]


def _ratio(ratio: float, beside: str) -> str:
    if beside.startswith("of "):
        return f"{ratio:.0%} {beside}"
    if beside.startswith("times "):
        return f"{ratio:.1f} {beside}"
    return f"{beside} {ratio:.1f} times it"


def _plain(section: Section) -> str:
    lines = ["", section.title]
    if section.skipped:
        return "\n".join([*lines, f"  not measured: {section.skipped}"])
    width = max(len(what) for what, _, _ in _lines(section))
    lines += [f"  {what:<{width}}  {value:>18}  {ratio}".rstrip() for what, value, ratio in _lines(section)]
    return "\n".join([*lines, f"  ({section.note})"] if section.note else lines)


def _markdown(section: Section) -> str:
    lines = [f"### {section.title}", ""]
    if section.skipped:
        return "\n".join([*lines, f"Not measured: {section.skipped}", ""])
    lines += ["| what | figure | beside |", "|---|---:|---|"]
    for what, value, ratio in _lines(section):
        shown = what if what == what.lstrip() else f"… {what.lstrip()}"
        lines.append(f"| {shown} | {value} | {ratio} |")
    return "\n".join([*lines, "", *([section.note, ""] if section.note else [])])


def _write_page(machine: dict[str, str], sections: list[Section], markers: tuple[str, str]) -> None:
    text = PAGE.read_text("utf-8")
    before, begin, rest = text.partition(markers[0])
    _, end, after = rest.partition(markers[1])
    if not begin or not end:
        raise SystemExit(f"{PAGE} has lost its markers {' and '.join(markers)}.")
    about = "; ".join(f"{key} {value}" for key, value in machine.items() if key != "when")
    tables = "\n".join(_markdown(section) for section in sections)
    PAGE.write_text(
        f"{before}{begin}\n\nMeasured {machine['when']}: {about}.\n\n{tables}\n{end}{after}", "utf-8"
    )


if __name__ == "__main__":
    begun = time.perf_counter()
    code = main()
    print(f"\nMeasured in {time.perf_counter() - begun:.0f} s.")
    sys.exit(code)
