"""``check`` on a table of 20,000 rows and 30 features, and on the small one: what is fixed, what grows."""

from __future__ import annotations

import io
import statistics
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from prepared import NAME, Prepared, register
from timing import Python, Row, Section

from gatewright.assembly.homes import read_home
from gatewright.operations.check import check

ROWS = 20_000
FEATURES = 30
TRAIN_SHARE = 0.7
SMALL_TIMES = 5


def measure(python: Python, small: Prepared, folder: Path) -> Section:
    """Seconds of the command on both tables, and of each of its steps on the large one."""
    home = folder / "large"
    model = _large(python, home)
    wall = [
        python.run("-m", "gatewright", "check", NAME, folder=small.folder) for _ in range(SMALL_TIMES + 1)
    ]
    large = python.run("-m", "gatewright", "check", NAME, folder=home)
    bare = _bare(home, model)
    rows = [
        Row(
            what="check, 569 rows: nearly all of it fixed cost",
            value=statistics.median(one.wall for one in wall[1:]),
            unit="s",
        ),
        Row(what="  processor time", value=statistics.median(one.cpu for one in wall[1:]), unit="s"),
        Row(
            what=f"check, {ROWS:,} rows of {FEATURES} features",
            value=large.wall,
            unit="s",
            beside="times reading with NumPy and predicting once",
            ratio=large.wall / bare,
        ),
        Row(what="  processor time", value=large.cpu, unit="s"),
    ]
    rows += [Row(what=f"  {step}", value=seconds, unit="s") for step, seconds in _steps(home)]
    return Section(
        title="Checking a model",
        rows=rows,
        note="The steps are from one run inside this process, which has everything imported already.",
    )


def _large(python: Python, home: Path) -> bytes:
    draw = np.random.default_rng(7)
    features = draw.normal(size=(ROWS, FEATURES)).astype(np.float32)
    chance = 1 / (1 + np.exp(-features @ draw.normal(size=FEATURES)))
    classes = np.where(draw.random(ROWS) < chance, "yes", "no")
    return register(python, home, features, classes, int(TRAIN_SHARE * ROWS))


def _bare(home: Path, model: bytes) -> float:
    """Seconds of what nobody can leave out: read each table once, ask the model about the test rows."""
    begun = time.perf_counter()
    tables = [
        np.loadtxt(
            io.StringIO((home / name).read_text("utf-8")),
            delimiter=",",
            skiprows=1,
            usecols=range(FEATURES),
            dtype=np.float32,
        )
        for name in ("train.csv", "test.csv")
    ]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: tables[1]})
    return time.perf_counter() - begun


def _steps(home: Path) -> list[tuple[str, float]]:
    told: list[tuple[str, float]] = []
    with read_home(home) as opened:
        check(opened, NAME, progress=lambda step: told.append((step, time.perf_counter())))
    told.append(("", time.perf_counter()))
    return [(step, after - begun) for (step, begun), (_, after) in pairwise(told)]
