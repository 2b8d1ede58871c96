"""The primitives of every measurement: processes timed from outside, rounds, quantiles, pinning."""

from __future__ import annotations

import importlib.util
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SERVER_CORE = 0
CLIENT_CORE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table. ``ratio`` is to the yardstick named in ``beside``; None where there is none."""

    what: str
    value: float
    unit: str
    beside: str = ""
    ratio: float | None = None


@dataclass(slots=True, kw_only=True)
class Section:
    """One table; ``skipped`` says why there are no rows, ``note`` how to read them."""

    title: str
    rows: list[Row] = field(default_factory=list)
    note: str = ""
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one process took, in seconds; ``cpu`` counts its children that it waited for."""

    wall: float
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Python:
    """The interpreter with an environment in which compiled modules are kept, as after an installation."""

    environment: Mapping[str, str]
    compiled: str

    def command(self, *arguments: str) -> list[str]:
        """A command line of this interpreter."""
        return [sys.executable, *arguments]

    def run(self, *arguments: str, folder: Path) -> Spent:
        """Run to the end and take the time; raises CalledProcessError with what was said when it fails."""
        command = self.command(*arguments)
        with (folder / "bench-said.txt").open("w+b") as said:
            begun = time.perf_counter()
            process = subprocess.Popen(
                command, cwd=folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - begun
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                said.seek(0)
                text = said.read().decode("utf-8", "replace")[-1000:]
                raise subprocess.CalledProcessError(process.returncode, command, text)
        return Spent(wall=wall, cpu=usage.ru_utime + usage.ru_stime)

    def output(self, *arguments: str, folder: Path, errors: bool = False) -> str:
        """Run to the end and return its standard output, or its standard error."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stderr if errors else done.stdout


def python(cache: Path) -> Python:
    """An interpreter that finds compiled modules.

    An ordinary installation compiles what it installs. Where that was switched off, everything
    would be compiled again at every start, which nobody who installs the product pays; the modules
    are then compiled once, into ``cache``.
    """
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["NO_COLOR"] = "1"
    spec = importlib.util.find_spec("numpy")
    origin = spec.origin if spec is not None else None
    if origin is not None and Path(importlib.util.cache_from_source(origin)).exists():
        return Python(environment=environment, compiled="as installed")
    environment["PYTHONPYCACHEPREFIX"] = str(cache)
    return Python(environment=environment, compiled="compiled once for this run")


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that ``share`` of all samples do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, int(share * len(ordered) + 0.999999) - 1))]


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of ``times`` calls."""
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return found


def per_call(call: Callable[[], object], times: int) -> float:
    """Median seconds of one call."""
    return statistics.median(timed(call, times))


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Run this thread on one core, where there is more than one."""
    before = os.sched_getaffinity(0)
    if core in before and len(before) > 1:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def pin(process: int, core: int) -> None:
    """Keep a process on one core, where there is more than one."""
    if core in os.sched_getaffinity(0) and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(process, {core})
