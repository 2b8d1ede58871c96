"""What a server's processes take: start to the first answer, and memory of parent, workers and collector."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

from prepared import NAME, Prepared, product, started
from timing import Python, Row, Section

PORT = 18_690
TIMES = 5
REQUESTS = 300
MIB = 1024.0
SECOND_PLAN = 2
START_PASS, START_STRETCH = 1.0, 0.7
MEMORY_PASS, MEMORY_STRETCH = 110, 90
SERVE = ("-m", "gatewright", "serve", "--port", str(PORT))


def measure(python: Python, home: Prepared) -> list[Section]:
    """Two tables: starts and memory; the home gets a second release, so that two are warm."""
    if product(python, home.folder, "status")["plan_number"] < SECOND_PLAN:
        model = ("model", "add", "model.onnx", "--name", NAME, "--trained-on", NAME)
        product(python, home.folder, *model)
        product(python, home.folder, "ship", NAME)
    return [_starts(python, home), _memory(python, home)]


def _starts(python: Python, home: Prepared) -> Section:
    """Seconds from the command to the first prediction, verified and recorded; medians."""
    rows = []
    floor = (
        "import numpy, onnxruntime, uvloop, msgspec; from cryptography.hazmat.primitives import serialization"
    )
    least = statistics.median(python.run("-c", floor, folder=home.folder).wall for _ in range(TIMES))
    rows.append(Row(what="python that only imports the libraries of a worker", value=least, unit="s"))
    for workers in (1, 2):
        found = [_first_answer(python, home, workers) for _ in range(TIMES)]
        middle = statistics.median(found)
        rows.append(
            Row(
                what=f"serve --workers {workers}: command to first prediction",
                value=middle,
                unit="s",
                beside="times the imports alone",
                ratio=middle / least,
            )
        )
    note = f"Bound: at most {START_PASS} s, stretch {START_STRETCH} s. Medians of {TIMES}."
    return Section(title="Start to the first answer, verified", rows=rows, note=note)


def _first_answer(python: Python, home: Prepared, workers: int) -> float:
    begun = time.perf_counter()
    with started(python, home.folder, PORT, *SERVE, "--workers", str(workers), path="/v2/health/live"):
        _predict(home)
        return time.perf_counter() - begun


def _predict(home: Prepared) -> None:
    connection = HTTPConnection("127.0.0.1", PORT, timeout=30)
    headers = {"Authorization": f"Bearer {home.api_key}", "Content-Type": "application/json"}
    try:
        connection.request("POST", f"/v2/models/{NAME}/infer", home.body, headers)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"The server answered {answer.status}.")
    finally:
        connection.close()


def _memory(python: Python, home: Prepared) -> Section:
    """Resident and proportional memory of each process of ``serve --workers 2``, after some requests."""
    rows = []
    with started(python, home.folder, PORT, *SERVE, "--workers", "2", path="/v2/health/live"):
        for _ in range(REQUESTS):
            _predict(home)
        time.sleep(2)
        for name, pid in _processes():
            resident, proportional = _memory_of(pid)
            worker = name.startswith("worker")
            rows += [
                Row(
                    what=f"{name}: resident",
                    value=resident,
                    unit="MiB",
                    beside=f"of {MEMORY_PASS} MiB" if worker else "",
                    ratio=resident / MEMORY_PASS if worker else None,
                ),
                Row(what="  its share, shared pages divided", value=proportional, unit="MiB"),
            ]
    note = (
        f"After {REQUESTS} predictions, two releases warm. Bound: at most {MEMORY_PASS} MiB a worker, stretch "
        f"{MEMORY_STRETCH}. The second figure is Pss of the kernel's proc filesystem: what a further worker adds."
    )
    return Section(title="Memory of each process", rows=rows, note=note)


def _processes() -> Iterator[tuple[str, int]]:
    """The server's processes by what they are: the parent first, whose children the others are."""
    command = ["ps", "-eo", "pid=,ppid=,args=", "--sort=pid"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [(int(pid), int(above), words) for pid, above, words in map(_columns, listed.splitlines())]
    (parent,) = (pid for pid, _, words in found if f"gatewright serve --port {PORT}" in words)
    yield "parent", parent
    number = 0
    for pid, above, words in found:
        if above == parent and "gatewright.cli.worker" in words:
            yield f"worker {number}", pid
            number += 1
        elif above == parent:
            yield "collector", pid


def _columns(line: str) -> tuple[str, str, str]:
    pid, above, words = line.split(None, 2)
    return pid, above, words


def _memory_of(pid: int) -> tuple[float, float]:
    """Rss and Pss in MiB (proc_pid_smaps(5))."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]:
        name, amount, *_ = line.split()
        found[name] = int(amount) / MIB
    return found["Rss:"], found["Pss:"]
