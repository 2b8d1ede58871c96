"""A home with one live release, made by the product's own operations from scikit-learn's data."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from timing import SERVER_CORE, Python, pinned

from gatewright.client.conversion import convert

NAME = "tumours"
TRAIN_ROWS = 400
READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The home's folder, its API key, the model's bytes and one row of shape (1, features)."""

    folder: Path
    api_key: str
    model: bytes
    row: NDArray[np.float32]

    @property
    def body(self) -> bytes:
        """The request of one prediction."""
        tensor = {"name": "input", "shape": list(self.row.shape), "datatype": "FP32"}
        return json.dumps({"inputs": [{**tensor, "data": self.row[0].tolist()}]}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers on ``port``; ``started`` is the seconds from its start to its first answer."""

    port: int
    started: float


def write_csv(path: Path, features: NDArray[np.float32], classes: NDArray[np.str_]) -> None:
    """Rows with their class in the column ``target``."""
    heading = ",".join([*(f"x{i}" for i in range(features.shape[1])), "target"])
    lines = [
        ",".join([*(repr(float(value)) for value in row), str(kind)])
        for row, kind in zip(features, classes, strict=True)
    ]
    path.write_text("\n".join([heading, *lines]) + "\n", "utf-8")


def register(
    python: Python, folder: Path, features: NDArray[np.float32], classes: NDArray[np.str_], train: int
) -> bytes:
    """Make a home in which a dataset and a logistic regression trained on its train rows are added."""
    folder.mkdir(parents=True)
    write_csv(folder / "train.csv", features[:train], classes[:train])
    write_csv(folder / "test.csv", features[train:], classes[train:])
    estimator = make_pipeline(StandardScaler(), LogisticRegression())
    estimator.fit(features[:train], classes[:train])
    model = convert(estimator, features[train : train + 200]).onnx
    (folder / "model.onnx").write_bytes(model)
    product(python, folder, "init", "--owner", "ada")
    policy = folder / "policy.toml"
    policy.write_text(
        policy.read_text("utf-8").replace("asynchronous = false", "asynchronous = true"), "utf-8"
    )
    product(
        python,
        folder,
        "data",
        "add",
        NAME,
        "--train",
        "train.csv",
        "--test",
        "test.csv",
        "--target",
        "target",
    )
    product(python, folder, "model", "add", "model.onnx", "--name", NAME, "--trained-on", NAME)
    return model


def prepare(python: Python, folder: Path) -> Prepared:
    """The breast cancer data and a logistic regression, from files to a live release."""
    source = load_breast_cancer()
    features = source.data.astype(np.float32)
    classes = np.array(["malignant", "benign"])[source.target]
    model = register(python, folder, features, classes, TRAIN_ROWS)
    shipped = product(python, folder, "ship", NAME)
    return Prepared(
        folder=folder, api_key=shipped["api_key"], model=model, row=features[TRAIN_ROWS : TRAIN_ROWS + 1]
    )


def product(python: Python, folder: Path, *arguments: str) -> Any:
    """What one command of the product answers to ``--json``."""
    return json.loads(python.output("-m", "gatewright", *arguments, "--json", folder=folder))


@contextmanager
def started(python: Python, folder: Path, port: int, *arguments: str, path: str) -> Iterator[Running]:
    """A server process on the server's core, from its first answer to ``path`` until the context ends."""
    begun = time.perf_counter()
    with (folder / f"server-{port}.log").open("wb") as log, pinned(SERVER_CORE):
        process = subprocess.Popen(
            python.command(*arguments), cwd=folder, env=python.environment, stdout=log, stderr=log
        )
    try:
        while not _answers(port, path):
            if process.poll() is not None or time.perf_counter() - begun > READY_SECONDS:
                raise RuntimeError((folder / f"server-{port}.log").read_text("utf-8", "replace")[-500:])
            time.sleep(0.005)
        yield Running(port=port, started=time.perf_counter() - begun)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
