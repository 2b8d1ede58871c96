"""Predictions by the million from one worker: what it holds and what it costs, as it grows older.

    python bench/long_run.py [COUNT]

The server is the real program with its collector, the load is wrk's. Every so many answers: the
worker's memory (Rss and Pss of proc_pid_smaps(5)), its open files, and its processor time by request
since the mark before. At the end it is started once more, over all the segments it has left.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from anomaly.home_verbs import FOLDER, NAME  # noqa: E402 - the path comes first
from anomaly.serving_home import Server, make_serving_home  # noqa: E402 - the same

COUNT = 10_000_000
MARK = 500_000
MARKS = 20
STRETCH_SECONDS = 2
CONNECTIONS = 16
KIB = 1024
LOOKS, LOOK_SECONDS = 5, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The worker after so many answers: memory in bytes, open files, seconds of processor by request."""

    answers: int
    rss: int
    pss: int
    files: int
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lived:
    """A whole run: its marks, answers other than 200, segments left, and seconds of two starts."""

    marks: tuple[Mark, ...]
    bad: int
    segments: int
    first_start: float
    last_start: float


def live(count: int, folder: Path) -> Lived:
    """Ask ``count`` times, and look at the worker at each mark."""
    key = make_serving_home(folder)
    server = Server(folder, key)
    first = server.start()
    try:
        marks, bad = _marks(count, server)
    finally:
        code = server.stop()
    last = server.start()
    server.stop()
    segments = sum(1 for _ in (folder / FOLDER / "segments").rglob("*.sealed"))
    return Lived(marks=marks, bad=bad + bool(code), segments=segments, first_start=first, last_start=last)


def _marks(count: int, server: Server) -> tuple[tuple[Mark, ...], int]:
    process, answers, bad = server.pid(0), 0, 0
    step = min(MARK, max(1, count // MARKS))
    used, since, marks = _processor_seconds(process), 0, list[Mark]()
    for good, refused in _stretches(server):
        answers, bad = answers + good, bad + refused
        if answers - since >= step or answers >= count:
            now = _processor_seconds(process)
            rss, pss = _memory(process)
            files = _files(process)
            cost = (now - used) / max(1, answers - since)
            marks.append(Mark(answers=answers, rss=rss, pss=pss, files=files, cost=cost))
            sys.stderr.write(f"{marks[-1]}\n")
            used, since = now, answers
        if answers >= count:
            break
    return tuple(marks), bad


def _stretches(server: Server) -> Iterator[tuple[int, int]]:
    """Answers with 200, and others, of a few seconds' load, on and on."""
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0.25, 0.75]}
    script = server.folder / "post.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f"wrk.body = [==[{json.dumps({'inputs': [tensor]})}]==]\n"
        'wrk.headers["Content-Type"] = "application/json"\n'
        f'wrk.headers["Authorization"] = "Bearer {server.key}"\n',
        "utf-8",
    )
    url = f"http://127.0.0.1:{server.port}/v2/models/{NAME}/infer"
    while True:
        words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{STRETCH_SECONDS}s", "-s", str(script), url]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        asked = re.search(r"(\d+) requests in", said)
        bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
        refused = (int(bad[1]) if bad else 0) + (sum(map(int, errors.groups())) if errors else 0)
        yield (int(asked[1]) if asked else 0) - refused, refused


def _processor_seconds(process: int) -> float:
    """User and system time, fields 14 and 15 of proc_pid_stat(5)."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _files(process: int) -> int:
    """Open files; the least of some looks, for the load's connections take a moment to close."""
    found = []
    for _ in range(LOOKS):
        time.sleep(LOOK_SECONDS)
        found.append(len(list(Path(f"/proc/{process}/fd").iterdir())))
    return min(found)


def _memory(process: int) -> tuple[int, int]:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text("ascii").splitlines()[1:]
    found = {line.split()[0]: int(line.split()[1]) * KIB for line in lines}
    return found["Rss:"], found["Pss:"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="gatewright-long-") as place:
        print(live(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT, Path(place)))
