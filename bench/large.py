"""``data add``, ``model add`` and ``check`` on a large generated table: seconds and peak memory of each process.

    python bench/large.py [ROWS]      1,000,000 rows of 50 columns where no number is given

The rows come from a seed: 40 numbers and 10 texts, two classes, seven rows of ten to train on. The command
and every child that it starts are watched through ``/proc`` from outside, each with its own peak.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from gatewright.datasets.limits import CELLS

NUMBERS, TEXTS = 40, 10
ROWS = 1_000_000
TRAIN_SHARE = 0.7
CHUNK = 50_000
WATCH_SECONDS = 0.02
GIB = 1024**3
BOUND = 4 * GIB
"""What no process of the path may need on a million rows of 50 columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One command: seconds, and by process the peak resident size in bytes."""

    what: str
    seconds: float
    peaks: dict[str, int]
    together: int


def write_rows(path: Path, rows: int, seed: int) -> None:
    """A CSV file of the generated rows, written a part at a time."""
    rng = np.random.default_rng(seed)
    words = np.array(
        [f"{kind}-{place}" for kind in ("north", "east", "south", "west") for place in range(25)]
    )
    weights = np.random.default_rng(7).normal(size=NUMBERS) / np.sqrt(NUMBERS) * 3
    heading = ",".join([*(f"x{i}" for i in range(NUMBERS)), *(f"t{i}" for i in range(TEXTS)), "answer"])
    with path.open("w", encoding="utf-8") as file:
        file.write(heading + "\n")
        for begin in range(0, rows, CHUNK):
            size = min(CHUNK, rows - begin)
            numbers = np.round(rng.normal(size=(size, NUMBERS)), 5)
            texts = words[rng.integers(0, len(words), (size, TEXTS))]
            chance = 1 / (1 + np.exp(-numbers @ weights))
            answers = np.where(rng.random(size) < chance, "yes", "no")
            for row, text, answer in zip(numbers.tolist(), texts.tolist(), answers.tolist(), strict=True):
                file.write(",".join([*map(repr, row), *text, answer]) + "\n")


def write_model(path: Path) -> None:
    """The logistic regression that made the answers, over the numbers."""
    weights = np.random.default_rng(7).normal(size=NUMBERS) / np.sqrt(NUMBERS) * 3
    names = [f"x{i}" for i in range(NUMBERS)]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names]
    inputs += [helper.make_tensor_value_info(f"t{i}", TensorProto.STRING, [None, 1]) for i in range(TEXTS)]
    both = np.stack([-weights, weights], axis=1).astype(np.float32) / 2
    parts = [
        helper.make_node("Concat", names, ["joined"], axis=1),
        helper.make_node("MatMul", ["joined", "weights"], ["odds"]),
        helper.make_node("Softmax", ["odds"], ["probabilities"], axis=1),
    ]
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])
    graph = helper.make_graph(parts, "line", inputs, [output], [numpy_helper.from_array(both, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _children(process: int) -> Iterator[int]:
    for listed in Path(f"/proc/{process}/task").glob("*/children"):
        for child in listed.read_text("ascii").split():
            yield int(child)
            yield from _children(int(child))


def _seen(process: int) -> tuple[str, int, int]:
    """What a process is, its peak and its present resident size in bytes."""
    words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    job = next(
        (words[i + 1] for i, word in enumerate(words) if word == b"gatewright.operations.children"), b""
    )
    status = Path(f"/proc/{process}/status").read_text("ascii")
    sizes = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in status.splitlines()
        if line.startswith("Vm")
    }
    return job.decode() or "the command", sizes.get("VmHWM", 0), sizes.get("VmRSS", 0)


def watched(what: str, folder: Path, arguments: Sequence[str]) -> Watched:
    """Run one command of the product and watch it and its children until it ends."""
    peaks: dict[str, int] = {}
    together = [0]
    process = subprocess.Popen(
        [sys.executable, "-m", "gatewright", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )

    def look() -> None:
        while process.poll() is None:
            now = 0
            for each in (process.pid, *_listed(process.pid)):
                try:
                    name, peak, size = _seen(each)
                except (OSError, ValueError):  # it has just ended
                    continue
                peaks[name] = max(peaks.get(name, 0), peak)
                now += size
            together[0] = max(together[0], now)
            time.sleep(WATCH_SECONDS)

    begun = time.perf_counter()
    looking = threading.Thread(target=look)
    looking.start()
    said, complained = process.communicate()
    looking.join()
    if process.returncode not in (0, 1):
        raise RuntimeError((said + complained)[-2000:].decode("utf-8", "replace"))
    return Watched(what=what, seconds=time.perf_counter() - begun, peaks=peaks, together=together[0])


def _listed(process: int) -> list[int]:
    try:
        return list(_children(process))
    except OSError:
        return []


def measure(rows: int, folder: Path) -> Iterator[Watched]:
    """Every step of the path on ``rows`` rows, in a home of its own, as each ends."""
    train = int(rows * TRAIN_SHARE)
    write_rows(folder / "train.csv", train, 1)
    write_rows(folder / "test.csv", rows - train, 2)
    write_model(folder / "model.onnx")
    files = ("--train", "train.csv", "--test", "test.csv", "--target", "answer")
    watched("init", folder, ["init", "--owner", "ada"])
    yield watched("data add", folder, ["data", "add", "big", *files])
    yield watched("model add", folder, ["model", "add", "model.onnx", "--name", "big", "--trained-on", "big"])
    yield watched("check", folder, ["check", "big", "--json"])


def main() -> int:
    """Measure and print a table."""
    rows = min(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS, CELLS // (NUMBERS + TEXTS + 1) * 10 // 7)
    with tempfile.TemporaryDirectory(prefix="gatewright-big-") as place:
        for step in measure(rows, Path(place)):
            peaks = ", ".join(f"{name} {peak / GIB:.2f} GiB" for name, peak in step.peaks.items())
            print(
                f"{step.what}: {step.seconds:.1f} s; together {step.together / GIB:.2f} GiB; {peaks}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
